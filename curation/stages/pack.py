"""Packing: steps with dependencies become stages that run in parallel (paper, section 3.2.3 and appendix A.2).

Pure. No line of the trace is lost: a short execution joins its plan, a comment opens the text of the
steps that depend on it, and a comment of a step that nothing depends on opens the final answer.

There is one count of stages, the largest sigma: a last stage without executions is a stage of the trajectory too, as
in what released models write (`No prompt to execute.`), so that the trajectory's own ratio is the filter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from curation.annotate.results import unattached
from curation.stages.base import Record
from curation.trace import Step, Trace, join_lines
from sprint_sgl.protocol import SEPARATOR, render_dependencies
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

MIN_EXECUTION_LINES = 3


@dataclass(frozen=True)
class Packed:
    """The packed trajectory, the stage of each step of the trace, and the ratio that the filter reads."""

    trajectory: Trajectory
    sigma: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """The paper's parallelization ratio, #steps / #stages; plan-only steps count."""
        return len(self.sigma) / max(self.sigma, default=1)


def merge_short(step: Step, min_lines: int = MIN_EXECUTION_LINES) -> Step:
    """A step whose execution has fewer lines becomes plan-only; its comment then ends its plan."""
    if (step.execution_lines or len(step.execution.splitlines())) >= min_lines:
        return step
    return replace(step, plan=step.text, prompt="", execution="", comment="", execution_lines=0)


def stage_numbers(steps: Sequence[Step]) -> list[int]:
    """sigma of section 3.2: 1 without parents, else the maximum over parents of sigma + (parent executes).

    A step executes if lines are left for its execution. Where a reply names the same lines as plan and as execution,
    they are the plan's (reply_parser.py): the planner has written them, and there is nothing for an executor.
    """
    sigma: list[int] = []
    for step in steps:
        sigma.append(max((sigma[p - 1] + bool(steps[p - 1].execution) for p in step.parents), default=1))
    return sigma


def pack(trace: Trace, min_lines: int = MIN_EXECUTION_LINES) -> Packed:
    """The trace as a trajectory of as few stages as its dependencies allow."""
    steps = [merge_short(step, min_lines) for step in trace.steps]
    sigma = stage_numbers(steps)
    places = _places(steps, sigma)
    leads = [_lead(step, steps, places) for step in steps]
    groups = [[n for n, s in enumerate(sigma) if s == k] for k in range(1, max(sigma, default=0) + 1)]
    stages = tuple(_stage([steps[n] for n in group], [leads[n] for n in group]) for group in groups)
    answer = join_lines(*_orphan_comments(steps), trace.answer)
    return Packed(Trajectory(trace.question, stages, answer), tuple(sigma))


def _places(steps: Sequence[Step], sigma: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Step number -> (stage, prompt) of its execution, for the steps that execute."""
    filled: dict[int, int] = {}
    places = {}
    for number, (step, stage) in enumerate(zip(steps, sigma, strict=True), 1):
        if step.execution:
            filled[stage] = filled.get(stage, 0) + 1
            places[number] = (stage, filled[stage])
    return places


def _lead(step: Step, steps: Sequence[Step], places: dict[int, tuple[int, int]]) -> str:
    """The step's text in the plan: what it is based on, its parents' comments, its own plan."""
    needs = [places[p] for p in step.parents if p in places]
    reference = render_dependencies(needs) if needs else ""
    return join_lines(reference, *(steps[p - 1].comment for p in step.parents), step.plan)


def _orphan_comments(steps: Sequence[Step]) -> list[str]:
    wanted = {parent for step in steps for parent in step.parents}
    return [step.comment for number, step in enumerate(steps, 1) if step.comment and number not in wanted]


def _stage(steps: Sequence[Step], leads: Sequence[str]) -> Stage:
    prompts, pending = [], ""
    for position, (step, lead) in enumerate(zip(steps, leads, strict=True)):
        if position and (lead or pending):
            pending = join_lines(pending, SEPARATOR)
        pending = join_lines(pending, lead)
        if step.execution:
            prompts.append(Prompt(step.prompt, lead=pending))
            pending = ""
    executions = tuple(Execution(step.execution) for step in steps if step.execution)
    return Stage(tuple(prompts), executions, tail=pending)


def packed_record(record: Record, min_lines: int = MIN_EXECUTION_LINES) -> Record:
    """Stage 5: the record of a trace with its trajectory, the stage of each step, the ratio, and the results that
    a step uses without a dependency: (its number, the number of the step that says it first, the value)."""
    trace = Trace.from_dict(record["trace"])
    packed = pack(trace, min_lines)
    return record | {
        "trajectory": packed.trajectory.to_dict(),
        "sigma": list(packed.sigma),
        "ratio": packed.ratio,
        "later_results": [astuple(use) for use in unattached(trace.steps, trace.question)],
    }
