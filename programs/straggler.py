"""When to stop waiting for the slowest executor of a stage. Off unless a policy is given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sglang.lang.interpreter import ProgramStateGroup

POLL = 0.01


@dataclass(frozen=True)
class StragglerPolicy:
    """Cut off what is still running once `quorum` of the siblings have ended and `patience` times their time is over.

    The model was not trained on cut executions: expect a cost in accuracy.
    """

    quorum: float = 0.5
    patience: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.quorum <= 1 or self.patience < 1:
            raise ValueError(f"quorum must be in (0, 1] and patience at least 1, got {self.quorum} and {self.patience}")


def wait_for_siblings(forks: Sequence[ProgramStateGroup], policy: StragglerPolicy) -> frozenset[int]:
    """Waits until all have ended or been cut off; returns the numbers (from 1) of those that were cut off."""
    begun = time.monotonic()
    deadline = None
    while running := [j for j, fork in enumerate(forks, 1) if not finished(fork)]:
        if deadline is None and len(forks) - len(running) >= policy.quorum * len(forks):
            deadline = begun + policy.patience * (time.monotonic() - begun)
        if deadline is not None and time.monotonic() >= deadline:
            for j in running:
                executor = forks[j - 1][0].stream_executor
                executor.backend.abort(executor.request_id)
            return frozenset(running)
        time.sleep(POLL)
    return frozenset()


def finished(fork: ProgramStateGroup) -> bool:
    """Whether all that was asked of the fork is there, or has failed."""
    return all(event.is_set() for event in fork[0].stream_executor.variable_event.values())
