"""A target of the fuzz and its cases: drawn from a seed, checked, and identified by a number."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

CASE_LIMIT = 60.0  # seconds for a case, generous for a busy machine


@dataclass(frozen=True)
class Target:
    """Something to fuzz: `make` draws a case, `check` raises if a claim does not hold.

    `share` is the target's share of all cases. `ready` is called once before the first case, for slow set-up.
    """

    name: str
    share: float
    make: Callable[[random.Random], Any]
    check: Callable[[Any], None]
    ready: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class CaseFailure:
    """An exception, and the number of the case that raised it."""

    target: str
    number: int
    message: str


@dataclass
class TargetTally:
    """Results of a target: number of cases, CPU seconds, the slowest case (seconds, number), and failures."""

    cases: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)
    failures: list[CaseFailure] = field(default_factory=list)

    def add(self, other: TargetTally) -> None:
        self.cases += other.cases
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures


class TooSlow(Exception):
    """A case took longer than CASE_LIMIT seconds."""


def draw_case(target: Target, seed: int, number: int) -> Any:
    """Return a case of the target; seed and number determine it."""
    return target.make(random.Random(f"{seed} {target.name} {number}"))


def run_cases(target: Target, seed: int, numbers: range) -> TargetTally:
    """Check the cases; any exception is a failure."""
    tally = TargetTally()
    target.ready()
    for number in numbers:
        case = draw_case(target, seed, number)
        begun = time.process_time()
        try:
            with time_limit(CASE_LIMIT):
                target.check(case)
        except Exception as error:
            tally.failures.append(CaseFailure(target.name, number, f"{type(error).__name__}: {error}"[:300]))
        took = time.process_time() - begun
        tally.add(TargetTally(1, took, (took, number)))
    return tally


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread if the block takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_message(error: Exception, *words: str) -> None:
    """Fail if an error has no message, or if none of `words` occurs in it."""
    assert str(error)
    assert not words or any(word in str(error) for word in words), f"{error} check_message none of {words}"
