"""The budget of a run: no request is sent that might overdraw it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from curation.teacher.calls import Account
from sprint_sgl.errors import SprintError


class BudgetReached(SprintError):
    pass


class Purse:
    """Keeps what is paid, and what may have to be paid for requests under way, within a budget in dollars."""

    def __init__(self, budget: float | None, account: Account) -> None:
        self._budget, self._account = budget, account
        self._held: list[float] = []
        self._change = asyncio.Condition()

    @asynccontextmanager
    async def holding(self, dollars: float) -> AsyncIterator[None]:
        """For a request that may cost so much: waits while only others under way forbid it. Raises BudgetReached."""
        async with self._change:
            await self._change.wait_for(lambda: self._allows(dollars) or not self._held)
            self.check(dollars)
            self._held.append(dollars)
        try:
            yield
        finally:
            self._held.remove(dollars)
            async with self._change:
                self._change.notify_all()

    def check(self, dollars: float) -> None:
        """Raises BudgetReached where the budget does not allow so much beside what is paid and held."""
        if not self._allows(dollars):
            raise BudgetReached(
                f"{self._account.dollars:.4f} of {self._budget:.4f} dollars are spent since this start, and what comes "
                f"next may cost up to {dollars:.4f}: another start has a budget of its own and repeats nothing"
            )

    def _allows(self, dollars: float) -> bool:
        return self._budget is None or self._account.dollars + sum(self._held) + dollars <= self._budget
