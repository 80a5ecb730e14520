"""Stage 5: steps with dependencies are packed into stages that run in parallel (section 3.2.3, appendix A.2).

No line of the trace is lost: a short execution joins its plan, a comment goes before the text of the steps that depend
on it, and the comment of a step without dependents goes before the final answer.

The number of stages is the largest sigma. A last stage without executions counts, as in the output of released models
(`No prompt to execute.`), so that the trajectory and the filter have the same ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from curation.annotate.results import find_later_results
from curation.records import LinkedTrace, PackedTrace
from curation.trace import Step, Trace, join_lines
from sprint_sgl.protocol import SEPARATOR, render_dependencies
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

MIN_EXECUTION_LINES = 3


@dataclass(frozen=True)
class Packed:
    """A trajectory, and `sigma`: the stage of each step of the trace."""

    trajectory: Trajectory
    sigma: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """Return the paper's parallelization ratio, #steps / #stages, plan-only steps included."""
        return len(self.sigma) / max(self.sigma, default=1)


def merge_short(step: Step, min_lines: int = MIN_EXECUTION_LINES) -> Step:
    """Return the step, as a plan-only step if its execution has fewer lines; its comment then ends its plan."""
    if (step.execution_lines or len(step.execution.splitlines())) >= min_lines:
        return step
    return as_plan_only(step)


def as_plan_only(step: Step) -> Step:
    """Return the step with all its text as its plan."""
    return replace(step, plan=step.text, prompt="", execution="", comment="", execution_lines=0)


def stage_numbers(steps: Sequence[Step]) -> list[int]:
    """Return sigma of section 3.2: 1 without parents, else the maximum over parents of sigma + (parent executes).

    A step executes if it has an execution. Lines that a reply names as both plan and execution belong to the plan
    (reply_parser.py): the planner has written them, and an executor has nothing to do.
    """
    sigma: list[int] = []
    for step in steps:
        sigma.append(max((sigma[p - 1] + bool(steps[p - 1].execution) for p in step.parents), default=1))
    return sigma


def pack(trace: Trace, min_lines: int = MIN_EXECUTION_LINES) -> Packed:
    """Pack the trace into as few stages as its dependencies allow."""
    steps = [merge_short(step, min_lines) for step in trace.steps]
    sigma = stage_numbers(steps)
    places = _execution_places(steps, sigma)
    leads = [_lead(step, steps, places) for step in steps]
    groups = [[n for n, s in enumerate(sigma) if s == k] for k in range(1, max(sigma, default=0) + 1)]
    stages = tuple(_stage([steps[n] for n in group], [leads[n] for n in group]) for group in groups)
    answer = join_lines(*_orphan_comments(steps), trace.answer)
    return Packed(Trajectory(trace.question, stages, answer), tuple(sigma))


def _execution_places(steps: Sequence[Step], sigma: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return the stage and the prompt number of each step that executes, by step number."""
    filled: dict[int, int] = {}
    places = {}
    for number, (step, stage) in enumerate(zip(steps, sigma, strict=True), 1):
        if step.execution:
            filled[stage] = filled.get(stage, 0) + 1
            places[number] = (stage, filled[stage])
    return places


def _lead(step: Step, steps: Sequence[Step], places: dict[int, tuple[int, int]]) -> str:
    """Return the step's text in the plan: references to its parents, their comments, its own plan."""
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


def pack_record(linked: LinkedTrace, min_lines: int = MIN_EXECUTION_LINES) -> PackedTrace:
    """Return the record with its trajectory and what the filter reads."""
    trace = linked.trace
    packed = pack(trace, min_lines)
    later_results = tuple(find_later_results(trace.steps, trace.question))
    return PackedTrace(
        linked.id, linked.index, linked.annotator, trace, packed.trajectory, packed.sigma, packed.ratio, later_results
    )
