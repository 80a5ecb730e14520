"""Statistics over packed traces in constant memory, and a few traces as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from curation.annotate.discourse import STOCK
from curation.annotate.instructions import is_narration, is_short
from curation.records import PackedTrace
from curation.trace import Step, Trace
from sprint_sgl.trajectory import Stage, Trajectory

EXAMPLE_QUANTILES = (0.125, 0.375, 0.625, 0.875)  # of the ratio: the middle of each quarter


@dataclass(frozen=True)
class Measure:
    """A histogram, value -> count. `bin` is the narrowest bar; from 1 on the values are whole numbers."""

    name: str
    counts: Counter[float]
    bin: float = 1
    unit: str = ""

    def quantile(self, share: float) -> float | None:
        """Return the smallest value that at least this share of the counts does not exceed, None without counts."""
        seen, enough = 0, share * self.counts.total()
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= enough:
                return value
        return None

    def format_quantile(self, share: float) -> str:
        value = self.quantile(share)
        return "-" if value is None else f"{value:g}{self.unit}"


@dataclass(frozen=True)
class ShapeStatistics:
    """Histograms over traces, and counts of faults.

    width     prompts per stage, over all stages
    saving    per cent of characters by which the critical path is shorter than the trace in sequence
    faults    late: steps that use a result which is first said in the same or a later stage (annotate/results.py)
              short: prompts of three words or fewer
              narration: prompts that think aloud (annotate/instructions.py)
              stock: prompts by rules for a plan that names no task
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
        """Return the share of all steps that have no execution."""
        steps = _sum(self.steps)
        return 1 - _sum(self.executions) / steps if steps else 0.0

    @property
    def fault_shares(self) -> dict[str, tuple[int, int]]:
        """Return the count of each fault and the number of steps or prompts, by the fault's description."""
        steps, prompts = int(_sum(self.steps)), int(_sum(self.executions))
        return {
            "steps that use a later result": (self.faults["late"], steps),
            "prompts of three words or fewer": (self.faults["short"], prompts),
            "prompts that narrate": (self.faults["narration"], prompts),
            "prompts by rules that name no task": (self.faults["stock"], prompts),
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
    """A packed trace for the report; `sigma` is the stage of each step."""

    trace: Trace
    trajectory: Trajectory
    sigma: tuple[int, ...]
    ratio: float

    @staticmethod
    def of(packed: PackedTrace) -> Example:
        return Example(packed.trace, packed.trajectory, packed.sigma, round_ratio(packed))

    @property
    def executes(self) -> tuple[bool, ...]:
        """Return for each step whether it still has an execution: packing joins short ones to their plan."""
        written = [
            {(prompt.text, execution.text) for prompt, execution in zip(stage.prompts, stage.executions, strict=True)}
            for stage in self.trajectory.stages
        ]
        return tuple(
            _prompt_and_execution(step) in written[number - 1]
            for step, number in zip(self.trace.steps, self.sigma, strict=True)
        )

    @property
    def saving(self) -> int:
        """Return per cent of characters; below 0 if prompts and leads cost more than parallelism saves."""
        sequential = len(self.trace.text) + len(self.trace.answer)
        return round(100 * (1 - critical_chars(self.trajectory) / sequential)) if sequential else 0


def _prompt_and_execution(step: Step) -> tuple[str, str]:
    return step.prompt.strip(), step.execution.strip()


def round_ratio(packed: PackedTrace) -> float:
    return round(packed.ratio, 2)


def critical_chars(trajectory: Trajectory) -> int:
    """Return the characters on the longest path, as section 4.1 counts tokens under eager launch, without tags."""
    return sum(map(_stage_chars, trajectory.stages)) + len(trajectory.final_answer)


def _stage_chars(stage: Stage) -> int:
    ends = list(accumulate((len(prompt.lead) + len(prompt.text) for prompt in stage.prompts), initial=0))
    branches = (end + len(execution.text) for end, execution in zip(ends[1:], stage.executions, strict=True))
    return max(ends[-1] + len(stage.tail), *branches, 0)


def shape_statistics(traces: Iterable[PackedTrace]) -> ShapeStatistics:
    """Return the statistics of the traces, in one pass."""
    shape = ShapeStatistics()
    for packed in traces:
        example = Example.of(packed)
        stages = example.trajectory.stages
        shape.ratio[example.ratio] += 1
        shape.stages[len(stages)] += 1
        shape.width.update(len(stage.prompts) for stage in stages)
        shape.steps[len(example.trace.steps)] += 1
        shape.executions[sum(len(stage.executions) for stage in stages)] += 1
        shape.saving[example.saving] += 1
        prompts = [prompt.text for stage in stages for prompt in stage.prompts]
        shape.faults["late"] += len(late_steps(packed))
        shape.faults["short"] += sum(map(is_short, prompts))
        shape.faults["narration"] += sum(map(is_narration, prompts))
        shape.faults["stock"] += sum(prompt in STOCK for prompt in prompts)
    return shape


def late_steps(packed: PackedTrace) -> set[int]:
    """Return the steps that use a result which is first said in the same or a later stage."""
    sigma = packed.sigma
    return {user for user, source, _ in packed.later_results if sigma[source - 1] >= sigma[user - 1]}


def choose_examples(traces: Iterable[PackedTrace], shape: ShapeStatistics) -> tuple[Example, ...]:
    """Return up to four traces spread over the ratios of the shape: the first traces with each ratio."""
    ratio = Measure("ratio", shape.ratio)
    wanted = Counter(ratio.quantile(share) for share in EXAMPLE_QUANTILES)
    examples = []
    for packed in traces:
        if wanted[round_ratio(packed)] > 0:
            wanted[round_ratio(packed)] -= 1
            examples.append(Example.of(packed))
    return tuple(sorted(examples, key=lambda example: example.ratio))
