"""When each call of a run was active, over seconds and over tokens, and which calls are on the critical path.

One lane for the planner, one for each prompt number. Under eager launch an executor begins where its prompt ends
(paper, section 4.1), under barrier launch where the plan ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count

from sprint_sgl.trajectory import Call, Stage, Timing, Trajectory

PLANNER = 0
CLOSE = 1e-6  # seconds; stamps closer than this are the same moment


@dataclass(frozen=True)
class Bar:
    """A call: `lane` is 0 for the planner, else the prompt's number; `critical` if the answer waited for it.

    `answers` if it wrote the final answer.
    `timing` is None over tokens, and if the runtime does not report it. `tool` is the name of the tool that was called.
    """

    lane: int
    stage: int
    start: float
    end: float
    tokens: int
    critical: bool
    timing: Timing | None = None
    answers: bool = False
    tool: str = ""

    @property
    def name(self) -> str:
        if self.answers:
            return "final answer" if self.stage > 1 else "thought and answer"
        if self.lane == PLANNER:
            return f"plan {self.stage}"
        return f"{self.tool or 'execution'} {self.stage}.{self.lane}"

    @property
    def first_token_at(self) -> float:
        """When the first token was decoded, or the start if that is unknown."""
        return max(self.start, self.end - self.timing.reply - self.timing.decode) if self.timing else self.start


def round_ticks(end: float, most: int = 6) -> list[float]:
    """Return at most `most` + 1 round numbers from 0 to `end`, evenly spaced."""
    steps = (digit * 10.0**power for power in count(math.floor(math.log10(end / most))) for digit in (1, 2, 5))
    step = next(step for step in steps if end / step <= most)
    return [float(f"{k * step:.10g}") for k in range(int(end / step + CLOSE) + 1)]


def bars_by_clock(trajectory: Trajectory) -> list[Bar]:
    """Return the calls over seconds since the run began."""
    bars = [bar for i, stage in enumerate(trajectory.stages, 1) for bar in _stage_by_clock(i, stage)]
    last = len(trajectory.stages) + 1
    return bars + [replace(_bar(PLANNER, last, call, True), answers=True) for call in trajectory.answer_calls]


def _stage_by_clock(i: int, stage: Stage) -> Iterator[Bar]:
    executors = [(j, e.calls) for j, e in enumerate(stage.executions, 1) if e.calls]
    plan_end = max((call.end for call in stage.planner_calls), default=0.0)
    last, slowest = max(executors, key=lambda each: each[1][-1].end, default=(PLANNER, ()))
    waited = bool(slowest) and slowest[-1].end > plan_end
    for call in stage.planner_calls:
        critical = not waited or call.end <= slowest[0].start + CLOSE
        yield _bar(PLANNER, i, call, critical)
    for j, calls in executors:
        for call in calls:
            yield _bar(j, i, call, waited and j == last)


def _bar(lane: int, stage: int, call: Call, critical: bool) -> Bar:
    return Bar(lane, stage, call.start, call.end, call.completion_tokens, critical, call.timing, tool=call.tool)


def bars_by_tokens(trajectory: Trajectory) -> list[Bar]:
    """Return the calls over tokens on their path; the last bar ends at the run's sequential tokens."""
    bars: list[Bar] = []
    begun = 0
    barrier = trajectory.launch != "eager"
    for i, stage in enumerate(trajectory.stages, 1):
        bars += _stage_by_tokens(i, stage, begun, barrier)
        begun += stage.sequential_tokens_barrier if barrier else stage.sequential_tokens_eager
    last = len(trajectory.stages) + 1
    answers = _bars_in_a_row(PLANNER, last, trajectory.answer_calls, begun)
    return bars + [replace(bar, answers=True) for bar in answers]


def _stage_by_tokens(i: int, stage: Stage, begun: int, barrier: bool) -> list[Bar]:
    offsets = [stage.plan_tokens if barrier else prompt.offset for prompt in stage.prompts]
    ends = [offset + e.tokens for offset, e in zip(offsets, stage.executions, strict=True)]
    longest = max(range(len(ends)), key=ends.__getitem__, default=None)
    waited = longest is not None and ends[longest] > stage.plan_tokens
    until = offsets[longest] if waited and longest is not None else stage.plan_tokens
    return _bars_in_a_row(PLANNER, i, stage.planner_calls, begun, until) + [
        Bar(j, i, begun + offset, begun + end, e.tokens, waited and j - 1 == longest, tool=e.call.tool)
        for j, (offset, end, e) in enumerate(zip(offsets, ends, stage.executions, strict=True), 1)
        if e.call
    ]


def _bars_in_a_row(lane: int, stage: int, calls: tuple[Call, ...], begun: int, until: int | None = None) -> list[Bar]:
    """Return calls one after the other; those that end by `until` tokens are critical."""
    ends = list(accumulate(call.completion_tokens for call in calls))
    return [
        Bar(lane, stage, begun + end - call.completion_tokens, begun + end, call.completion_tokens, critical)
        for call, end in zip(calls, ends, strict=True)
        for critical in [until is None or end <= until]
    ]
