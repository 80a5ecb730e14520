"""How packed traces are shaped: histograms that stay small however many traces there are, and a few to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from curation.annotate.discourse import STOCK
from curation.annotate.instructions import is_narration, is_short
from curation.stages.base import Record
from curation.trace import Step, Trace
from sprint_sgl.trajectory import Stage, Trajectory

EXAMPLE_SHARES = (0.125, 0.375, 0.625, 0.875)  # the middles of the quarters, by ratio


@dataclass(frozen=True)
class Measure:
    """One histogram, value -> count. `bin` is the narrowest bar; values of a bin of 1 or more are whole numbers."""

    name: str
    counts: Counter[float]
    bin: float = 1
    unit: str = ""

    def quantile(self, share: float) -> float | None:
        """The smallest value that at least this share of the counted do not exceed; None where nothing is counted."""
        seen, enough = 0, share * self.counts.total()
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= enough:
                return value
        return None

    def said(self, share: float) -> str:
        value = self.quantile(share)
        return "-" if value is None else f"{value:g}{self.unit}"


@dataclass(frozen=True)
class Shape:
    """Histograms over traces; `width` is over stages.

    width     prompts of a stage
    saving    per cent by which the critical path is shorter than the trace in sequence, by characters

    Beside them counts over all traces, of what a reader would not sign: `late`, steps that use a result which is first
    said in the same or a later stage (results.py); `short`, prompts of three words or fewer; `narration`,
    prompts that think aloud (instructions.py); `stock`, prompts of the rules for a plan that says nothing of
    what to do.
    """

    ratio: Counter[float] = field(default_factory=Counter)
    stages: Counter[float] = field(default_factory=Counter)
    width: Counter[float] = field(default_factory=Counter)
    steps: Counter[float] = field(default_factory=Counter)
    executions: Counter[float] = field(default_factory=Counter)
    saving: Counter[float] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def traces(self) -> int:
        return self.ratio.total()

    @property
    def plan_only(self) -> float:
        """The share of all steps that have no execution."""
        steps = _sum(self.steps)
        return 1 - _sum(self.executions) / steps if steps else 0.0

    @property
    def shares(self) -> dict[str, tuple[int, int]]:
        """Of the faults: how many there are, of how many steps or prompts."""
        steps, prompts = int(_sum(self.steps)), int(_sum(self.executions))
        return {
            "steps that use a later result": (self.faults["late"], steps),
            "prompts of three words or fewer": (self.faults["short"], prompts),
            "prompts that narrate": (self.faults["narration"], prompts),
            "prompts of the rules that name no task": (self.faults["stock"], prompts),
        }

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (
            Measure("parallelization ratio", self.ratio, 0.25),
            Measure("stages per trace", self.stages),
            Measure("width: prompts per stage", self.width),
            Measure("steps per trace", self.steps),
            Measure("executions per trace", self.executions),
            Measure("sequential saving by characters", self.saving, 5, " %"),
        )


def _sum(counts: Counter[float]) -> float:
    return sum(value * count for value, count in counts.items())


@dataclass(frozen=True)
class Example:
    """A packed trace; `sigma` is the stage of each step."""

    trace: Trace
    trajectory: Trajectory
    sigma: tuple[int, ...]
    ratio: float

    @staticmethod
    def of(record: Record) -> Example:
        trajectory = Trajectory.from_dict(record["trajectory"])
        return Example(Trace.from_dict(record["trace"]), trajectory, tuple(record["sigma"]), rounded_ratio(record))

    @property
    def executes(self) -> tuple[bool, ...]:
        """Whether each step still has an execution of its own: packing joins short ones to their plan."""
        written = [
            {(prompt.text, execution.text) for prompt, execution in zip(stage.prompts, stage.executions, strict=True)}
            for stage in self.trajectory.stages
        ]
        return tuple(
            _said(step) in written[number - 1] for step, number in zip(self.trace.steps, self.sigma, strict=True)
        )

    @property
    def saving(self) -> int:
        """Per cent, by characters; below 0 where prompts and leads cost more than running side by side gains."""
        sequential = len(self.trace.text) + len(self.trace.answer)
        return round(100 * (1 - critical_chars(self.trajectory) / sequential)) if sequential else 0


def _said(step: Step) -> tuple[str, str]:
    return step.prompt.strip(), step.execution.strip()


def rounded_ratio(record: Record) -> float:
    return round(float(record["ratio"]), 2)


def critical_chars(trajectory: Trajectory) -> int:
    """The characters on the longest path, as section 4.1 counts tokens under eager launch; tags left out."""
    return sum(map(_stage_chars, trajectory.stages)) + len(trajectory.final_answer)


def _stage_chars(stage: Stage) -> int:
    ends = list(accumulate((len(prompt.lead) + len(prompt.text) for prompt in stage.prompts), initial=0))
    branches = (end + len(execution.text) for end, execution in zip(ends[1:], stage.executions, strict=True))
    return max(ends[-1] + len(stage.tail), *branches, 0)


def shape_of(records: Iterable[Record]) -> Shape:
    """One pass over records of pack.jsonl or filter.jsonl."""
    shape = Shape()
    for record in records:
        example = Example.of(record)
        stages = example.trajectory.stages
        shape.ratio[example.ratio] += 1
        shape.stages[len(stages)] += 1
        shape.width.update(len(stage.prompts) for stage in stages)
        shape.steps[len(example.trace.steps)] += 1
        shape.executions[sum(len(stage.executions) for stage in stages)] += 1
        shape.saving[example.saving] += 1
        prompts = [prompt.text for stage in stages for prompt in stage.prompts]
        shape.faults["late"] += len(late_steps(record))
        shape.faults["short"] += sum(map(is_short, prompts))
        shape.faults["narration"] += sum(map(is_narration, prompts))
        shape.faults["stock"] += sum(prompt in STOCK for prompt in prompts)
    return shape


def late_steps(record: Record) -> set[int]:
    """The packed steps that use a result which is first said in the same or a later stage."""
    sigma = record["sigma"]
    return {user for user, source, _ in record["later_results"] if sigma[source - 1] >= sigma[user - 1]}


def examples_of(records: Iterable[Record], shape: Shape) -> tuple[Example, ...]:
    """Up to four of the records that the shape was made from, spread over its ratios: the first ones of each."""
    ratio = Measure("ratio", shape.ratio)
    wanted = Counter(ratio.quantile(share) for share in EXAMPLE_SHARES)
    found = []
    for record in records:
        if wanted[rounded_ratio(record)] > 0:
            wanted[rounded_ratio(record)] -= 1
            found.append(Example.of(record))
    return tuple(sorted(found, key=lambda example: example.ratio))
