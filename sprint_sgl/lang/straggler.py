"""A join policy that cuts off slow executors. Off by default: on the models at hand no rule has been worth its cost.

    sprint_program.run(question, straggler=StragglerPolicy(budget=100))
    sprint-sgl bench program=sprint_stragglers program.straggler.patience=2 ...

    budget=100      each executor may write 100 tokens: no request is aborted, replies are shorter
    patience=2      each may take twice the time of the faster half of its siblings, from its own launch on
    quorum=0.75     once three of four have ended, the others are aborted

Rules may be combined; the first that applies cuts. The text of a cut executor enters the context as if it were whole.
No model was trained on such text, neither the paper's nor ours: expect a cost in accuracy. `mark` is a line added below
it, best one that the model has met in training, such as the mini model's "No way." after a failed try; without a mark
nothing tells the planner.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.joining import JoinPolicy

if TYPE_CHECKING:
    from sprint_sgl.lang.executors import Executor
    from sprint_sgl.trajectory import Call

ABORT_PAUSE = 0.1  # seconds between two aborts: the first may overtake the request that it is for


@dataclass(frozen=True)
class StragglerPolicy(JoinPolicy):
    """Rules by which executors are cut off; none by default. Raises BadInput.

    budget     tokens that an executor may write
    patience   how often the time of the faster half of its siblings an executor may take
    quorum     share of the siblings that must have ended before the others are cut off
    mark       a line appended to what a cut executor has written
    """

    budget: int | None = None
    patience: float | None = None
    quorum: float | None = None
    mark: str | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and not (_is_number(self.budget, int) and self.budget >= 1):
            raise BadInput(f"straggler.budget must be a whole number of tokens, at least 1, got {self.budget!r}")
        if self.patience is not None and not (_is_number(self.patience, int, float) and self.patience >= 1):
            raise BadInput(f"straggler.patience must be a number, at least 1, got {self.patience!r}")
        if self.quorum is not None and not (_is_number(self.quorum, int, float) and 0 < self.quorum <= 1):
            raise BadInput(f"straggler.quorum must be in (0, 1], got {self.quorum!r}")
        if self.mark is not None and not (isinstance(self.mark, str) and self.mark.strip()):
            raise BadInput(f"straggler.mark must be a text, or null for none, got {self.mark!r}")

    @property
    def compares_siblings(self) -> bool:
        """Whether a rule depends on when the siblings end."""
        return self.patience is not None or self.quorum is not None

    @property
    def suffix(self) -> str:
        return f"\n{self.mark}" if self.mark else ""

    def token_limit(self, limit: int) -> int:
        return min(limit, self.budget or limit)

    def was_cut_off(self, call: Call, stopped: bool) -> bool:
        spent = call.finish == "length" and call.completion_tokens == self.budget
        return spent or (stopped and call.finish == "abort")

    def wait(self, executors: Sequence[Executor]) -> frozenset[int]:
        if not self.compares_siblings or len(executors) < 2:
            return frozenset()
        return _wait_and_abort(self, executors)

    def cut_times(self, began: Sequence[float], ended: Sequence[float | None]) -> list[float]:
        """Return when each sibling is to be cut off; inf while the siblings that ended so far decide nothing.

        `ended` has None for a sibling at work. The unit is the caller's: seconds, or tokens.
        """
        ends = sorted(end for end in ended if end is not None)
        joined = _share_value(ends, self.quorum, len(began))
        spans = sorted(end - start for start, end in zip(began, ended, strict=True) if end is not None)
        longest = _share_value(spans, 0.5, len(began)) * self.patience if self.patience else math.inf
        return [min(joined, start + longest) for start in began]


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _share_value(ordered: Sequence[float], share: float | None, siblings: int) -> float:
    """Return the value that completes that share of all siblings; inf while it is incomplete."""
    needed = math.ceil(share * siblings) if share else math.inf
    return ordered[int(needed) - 1] if needed <= len(ordered) else math.inf


def shorten(
    policy: StragglerPolicy, began: Sequence[float], lengths: Sequence[float], joins: float = 0.0
) -> list[float]:
    """Return what the policy leaves of executions of these lengths if all go at one pace: the ideal, in tokens.

    joins    when the planner begins to wait: no execution is cut off by its siblings before
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


def _wait_and_abort(policy: StragglerPolicy, executors: Sequence[Executor]) -> frozenset[int]:
    """Wait until all executors have ended or been aborted; return the numbers, from 1, of the aborted ones."""
    launched = [executor.launched for executor in executors]
    ended: list[float | None] = [None] * len(executors)
    aborted: set[int] = set()
    pool = ThreadPoolExecutor(len(executors))
    try:
        waiting = {pool.submit(executor.wait): j for j, executor in enumerate(executors)}
        while waiting:
            now, times = time.perf_counter(), policy.cut_times(launched, ended)
            late = {j for j in waiting.values() if times[j] <= now}
            for j in late:
                executors[j].abort()
            aborted |= late
            next_due = [ABORT_PAUSE if j in late else times[j] - now for j in waiting.values()]
            until = None if min(next_due) == math.inf else min(next_due)
            for future in wait(waiting, until, FIRST_COMPLETED).done:
                ended[waiting.pop(future)] = future.result()
    finally:
        pool.shutdown(wait=False)  # if the run is given up, its executors are ended next, and the threads with them
    return frozenset(j + 1 for j in aborted)
