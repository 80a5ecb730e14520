"""A target of the fuzz, and one case of it: made from a seed, checked, and known again by its number."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

LONGEST = 60.0  # seconds until a case is given up, on a busy machine too


@dataclass(frozen=True)
class Target:
    """`make` draws a case, `check` raises where a claim does not hold; `share` of all cases go to it.

    `ready` is called before the first case, for what takes time once.
    """

    name: str
    share: float
    make: Callable[[random.Random], Any]
    check: Callable[[Any], None]
    ready: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Failure:
    """What was raised, and the number of the case within its target."""

    target: str
    number: int
    said: str


@dataclass
class Tally:
    """Cases of one target: how many, their seconds of a core in all and at most, and which failed."""

    cases: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures


class TooSlow(Exception):
    """The case took longer than LONGEST seconds."""


def drawn(target: Target, seed: int, number: int) -> Any:
    """Case `number` of the target: the same for the same seed."""
    return target.make(random.Random(f"{seed} {target.name} {number}"))


def run(target: Target, seed: int, numbers: range) -> Tally:
    """Checks those cases; any exception is a failure of its case."""
    tally = Tally()
    target.ready()
    for number in numbers:
        case = drawn(target, seed, number)
        begun = time.process_time()
        try:
            with at_most(LONGEST):
                target.check(case)
        except Exception as error:
            tally.failures.append(Failure(target.name, number, f"{type(error).__name__}: {error}"[:300]))
        took = time.process_time() - begun
        tally.add(Tally(1, took, (took, number)))
    return tally


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TooSlow in the main thread where the block takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def says(error: Exception, *words: str) -> None:
    """Fails where a refusal has nothing to say, or does not say one of the words."""
    assert str(error)
    assert not words or any(word in str(error) for word in words), f"{error} says none of {words}"
