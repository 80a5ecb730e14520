"""So many runs at a time, so many waiting behind them, and no more."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from statistics import fmean
from types import TracebackType

REMEMBERED_RUNS = 32  # runs whose seconds tell how long the next will take


class Busy(Exception):
    """The queue is full; `retry_after` is when to come back, in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy and its queue is full: try again in {retry_after} s")
        self.retry_after = retry_after


class Admission:
    """`async with admission:` is in turn. Raises Busy where all places and the whole queue are taken."""

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
        """Remembers how long a run held its place."""
        self._seconds.append(seconds)

    @property
    def retry_after(self) -> int:
        """Seconds until everybody who waits now will have had a turn, if runs go on as they did; at least one."""
        return max(1, math.ceil(fmean(self._seconds) * (self.waiting + 1) / self.places))
