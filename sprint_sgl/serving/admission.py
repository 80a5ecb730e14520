"""Admission control: at most `places` runs at a time and `queue` waiters behind them, then Busy (429)."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from statistics import fmean
from types import TracebackType

from sprint_sgl.errors import Busy

REMEMBERED_RUNS = 32  # whose mean duration predicts that of the next run


class Admission:
    """`async with admission:` waits for a place and holds it. Raises Busy where the queue is full."""

    def __init__(self, places: int, queue: int) -> None:
        self.places, self.queue = places, queue
        self.running = self.waiting = 0
        self._free = asyncio.Semaphore(places)
        self._seconds: deque[float] = deque([1.0], maxlen=REMEMBERED_RUNS)

    async def __aenter__(self) -> None:
        if self._free.locked() and self.waiting >= self.queue:
            raise Busy(self.retry_after)
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.running -= 1
        self._free.release()

    def record_run(self, seconds: float) -> None:
        """Add the duration of a finished run to those that `retry_after` is estimated from."""
        self._seconds.append(seconds)

    @property
    def retry_after(self) -> int:
        """Return the estimated seconds until everybody in the queue has had a turn, at least 1."""
        return max(1, math.ceil(fmean(self._seconds) * (self.waiting + 1) / self.places))
