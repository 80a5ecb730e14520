"""When to stop waiting for the slowest executor of a stage, and what is read of one that was cut off. Off by default.

    sprint_program.run(question, straggler=StragglerPolicy(budget=100))
    sprint-sgl bench program.straggler.patience=2 ...

    budget=100      each executor may write so many tokens: no request is cancelled, they are shorter
    patience=2      each may take twice as long as the faster half of its siblings did, from its own launch on
    quorum=0.75     once three of four have ended the others are cut off

Rules may be combined; the first that speaks cuts. What the cut executor has written enters the context as if it were
whole. No model was trained on that, neither the paper's nor ours: expect a cost in accuracy. `mark` is a line added
below it, which is best one that the model has met in training, such as the mini model's "No way." after a try that
failed; without it nothing tells the planner.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprint_sgl.errors import BadInput, SprintError

if TYPE_CHECKING:
    from sprint_sgl.runtime.frontend import ProgramStateGroup

ASK_AGAIN = 0.1  # seconds: an abort may overtake the request that it is for


@dataclass(frozen=True)
class StragglerPolicy:
    """Rules by which executors are cut off; none by default. Raises BadInput.

    budget     tokens that an executor may write
    patience   how often the time of the faster half of its siblings an executor may take
    quorum     share of the siblings that have to have ended for the others to be cut off
    mark       a line that is put below what a cut executor has written
    """

    budget: int | None = None
    patience: float | None = None
    quorum: float | None = None
    mark: str | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and not (_number(self.budget, int) and self.budget >= 1):
            raise BadInput(f"straggler.budget must be a whole number of tokens, at least 1, got {self.budget!r}")
        if self.patience is not None and not (_number(self.patience, int, float) and self.patience >= 1):
            raise BadInput(f"straggler.patience must be a number, at least 1, got {self.patience!r}")
        if self.quorum is not None and not (_number(self.quorum, int, float) and 0 < self.quorum <= 1):
            raise BadInput(f"straggler.quorum must be a share above 0 and up to 1, got {self.quorum!r}")
        if self.mark is not None and not (isinstance(self.mark, str) and self.mark.strip()):
            raise BadInput(f"straggler.mark must be a text, or null for none, got {self.mark!r}")

    @property
    def compares_siblings(self) -> bool:
        """Whether a rule needs somebody to watch when executors end."""
        return self.patience is not None or self.quorum is not None

    def marked(self, text: str) -> str:
        """What a cut executor has written, as the planner reads it."""
        return f"{text}\n{self.mark}" if self.mark else text

    def cut_times(self, began: Sequence[float], ended: Sequence[float | None]) -> list[float]:
        """When each sibling is to be cut off, by those that have ended so far (None: still at work); inf for not yet.

        Any clock will do, one that counts tokens too.
        """
        ends = sorted(end for end in ended if end is not None)
        joined = _reached(ends, self.quorum, len(began))
        spans = sorted(end - start for start, end in zip(began, ended, strict=True) if end is not None)
        longest = _reached(spans, 0.5, len(began)) * self.patience if self.patience else math.inf
        return [min(joined, start + longest) for start in began]


EVERYONE = StragglerPolicy()  # waits for all


def checked_policy(policy: object) -> StragglerPolicy:
    """The policy, which waits for all where it is None. Raises BadInput for anything else."""
    if not isinstance(policy, StragglerPolicy | None):
        raise BadInput(f"straggler must be a StragglerPolicy(budget=..., patience=..., quorum=...), got {policy!r}")
    return policy or EVERYONE


def _number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _reached(ordered: Sequence[float], share: float | None, siblings: int) -> float:
    """The value at which that share of all siblings is there; inf if it is not yet."""
    needed = math.ceil(share * siblings) if share else math.inf
    return ordered[int(needed) - 1] if needed <= len(ordered) else math.inf


def shortened(
    policy: StragglerPolicy, began: Sequence[float], lengths: Sequence[float], joins: float = 0.0
) -> list[float]:
    """What is left of executions of these lengths under the policy, where all go at one pace: the ideal, in tokens.

    joins    when the planner begins to wait: nobody is cut off by his siblings before
    """
    left = [min(length, policy.budget or math.inf) for length in lengths]
    ends = [start + length for start, length in zip(began, left, strict=True)]
    ended: list[float | None] = [None] * len(ends)
    while None in ended:
        cuts = [max(joins, start, cut) for start, cut in zip(began, policy.cut_times(began, ended), strict=True)]
        due = {j: min(ends[j], cuts[j]) for j, end in enumerate(ended) if end is None}
        first = min(due, key=due.__getitem__)
        ended[first] = due[first]
    return [end - start for start, end in zip(began, ended, strict=True) if end is not None]


def wait_for_siblings(
    forks: Sequence[ProgramStateGroup], launched: Sequence[float], policy: StragglerPolicy
) -> frozenset[int]:
    """Waits until all have ended or been cut off; returns the numbers (from 1) of those that were cut off.

    launched   when each began, on the perf_counter clock: under eager launch before the plan was complete
    """
    if not policy.compares_siblings or len(forks) < 2:
        return frozenset()
    ended: list[float | None] = [None] * len(forks)
    cut: set[int] = set()
    pool = ThreadPoolExecutor(len(forks))
    try:
        waiting = {pool.submit(_ended, *each): j for j, each in enumerate(zip(forks, launched, strict=True))}
        while waiting:
            now, times = time.perf_counter(), policy.cut_times(launched, ended)
            late = {j for j in waiting.values() if times[j] <= now}
            for j in late:
                abort(forks[j])
            cut |= late
            next_due = [ASK_AGAIN if j in late else times[j] - now for j in waiting.values()]
            until = None if min(next_due) == math.inf else min(next_due)
            for future in wait(waiting, until, FIRST_COMPLETED).done:
                ended[waiting.pop(future)] = future.result()
    finally:
        pool.shutdown(wait=False)  # where the run is given up its forks are ended next, and the threads with them
    return frozenset(j + 1 for j in cut)


def _ended(fork: ProgramStateGroup, launched: float) -> float:
    """Waits for the fork; when it ended, by the backend's stamp where there is one."""
    executor = fork[0].stream_executor
    for event in list(executor.variable_event.values()):
        event.wait()
    now = time.perf_counter()
    stamps = [meta.get("end", now) for meta in executor.meta_info.values() if meta]
    return max((stamp for stamp in stamps if stamp > launched), default=now)


def abort(fork: ProgramStateGroup) -> None:
    """Stops the fork's request, where the backend can; one that has ended is not an error."""
    executor = fork[0].stream_executor
    if stop := getattr(executor.backend, "abort", None):
        with suppress(SprintError):
            stop(executor.request_id)


def finished(fork: ProgramStateGroup) -> bool:
    """Whether all that was asked of the fork is there, or has failed."""
    return all(event.is_set() for event in fork[0].stream_executor.variable_event.values())
