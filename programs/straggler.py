"""When to stop waiting for the slowest executor of a stage. Off unless a policy is given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sglang.lang.interpreter import ProgramStateGroup

from sprint_sgl.errors import SprintError

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


def wait_for_siblings(
    forks: Sequence[ProgramStateGroup], launched: Sequence[float], policy: StragglerPolicy
) -> frozenset[int]:
    """Waits until all have ended or been cut off; returns the numbers (from 1) of those that were cut off.

    launched   when each began, on the monotonic clock: under eager launch before the plan was complete
    """
    limit = None
    cut: set[int] = set()
    while running := [j for j, fork in enumerate(forks, 1) if j not in cut and not finished(fork)]:
        now = time.monotonic()
        if limit is None and len(forks) - len(running) >= policy.quorum * len(forks):
            # The quorum's time is that of its last member, which has ended just now.
            limit = policy.patience * (now - min(launched))
        for j in running:
            if limit is not None and now - launched[j - 1] >= limit:
                abort(forks[j - 1])
                cut.add(j)
        time.sleep(POLL)
    return frozenset(cut)


def abort(fork: ProgramStateGroup) -> None:
    """Stops the fork's request, where the backend can; one that has ended is not an error."""
    executor = fork[0].stream_executor
    if stop := getattr(executor.backend, "abort", None):
        with suppress(SprintError):
            stop(executor.request_id)


def finished(fork: ProgramStateGroup) -> bool:
    """Whether all that was asked of the fork is there, or has failed."""
    return all(event.is_set() for event in fork[0].stream_executor.variable_event.values())
