"""Measure how the time of a computation grows with its input, on a busy machine too."""

from __future__ import annotations

import time
from collections.abc import Callable

GROWTH = 4  # how much larger the second input is: a quadratic computation takes sixteen times as long
ALLOWED = 9
SHORT = 0.05  # seconds of a processor, too few to tell growth from noise


def takes_linear_time(compute: Callable[[str], object], text_of: Callable[[int], str], size: int) -> bool:
    """Return whether four times the input takes at most nine times the CPU time."""
    small, large = text_of(size // GROWTH), text_of(size)
    taken = min(_seconds(compute, large) for _ in range(2))
    return taken < SHORT or taken < ALLOWED * max(_seconds(compute, small) for _ in range(2))


def _seconds(compute: Callable[[str], object], text: str) -> float:
    begun = time.process_time()
    compute(text)
    return time.process_time() - begun
