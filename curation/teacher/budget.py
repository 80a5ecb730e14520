"""The budget of a run: no request is sent that might overdraw it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from curation.teacher.calls import Account
from sprint_sgl.errors import SprintError


class BudgetReached(SprintError):
    pass


class Budget:
    """Keeps the dollars that are paid and reserved within a limit; None is no limit."""

    def __init__(self, limit: float | None, account: Account) -> None:
        self._limit, self._account = limit, account
        self._reserved: list[float] = []
        self._change = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, dollars: float) -> AsyncIterator[None]:
        """Reserve the highest cost of a request for the length of a `with`.

        Waits while the reservations of other requests leave too little. Raises BudgetReached if too little is left
        without them.
        """
        async with self._change:
            await self._change.wait_for(lambda: self._allows(dollars) or not self._reserved)
            self.check(dollars)
            self._reserved.append(dollars)
        try:
            yield
        finally:
            self._reserved.remove(dollars)
            async with self._change:
                self._change.notify_all()

    def check(self, dollars: float) -> None:
        """Raise BudgetReached if paid, reserved and these dollars together exceed the limit."""
        if not self._allows(dollars):
            raise BudgetReached(
                f"{self._account.dollars:.4f} of {self._limit:.4f} dollars are spent since this start, and the next "
                f"request may cost up to {dollars:.4f}: another start has a budget of its own and repeats nothing"
            )

    def _allows(self, dollars: float) -> bool:
        return self._limit is None or self._account.dollars + sum(self._reserved) + dollars <= self._limit
