"""Stage 4: the dependencies of the components, by an LLM or by rules (section 3.2.2, appendix A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from curation.annotate.components import Refused
from curation.annotate.numbering import split_lines
from curation.annotate.reply_parser import ParentsReply, read_parents
from curation.records import LinkedTrace, Rejection, SegmentedTrace
from curation.stages.extract import RULES
from curation.teacher.client import Teacher
from curation.teacher.failures import CallFailed
from curation.trace import Step, Trace
from sprint_sgl.errors import BadInput

PROMPT = Template((Path(__file__).parent / "prompts" / "dag.txt").read_text())


def steps_of(segmented: SegmentedTrace, parents: Sequence[Sequence[int]]) -> tuple[Step, ...]:
    """Return the components with their text and these parents."""
    lines = split_lines(segmented.text)
    return tuple(c.step(lines, numbers) for c, numbers in zip(segmented.components, parents, strict=True))


def prompt_for(segmented: SegmentedTrace) -> str:
    """Return the prompt with the text of the components, as in appendix A.2."""
    components = segmented.components
    steps = steps_of(segmented, [()] * len(components))
    listed = "\n\n".join(
        _describe(number, component.description, step)
        for number, (component, step) in enumerate(zip(components, steps, strict=True), 1)
    )
    return PROMPT.substitute(question=segmented.question, components=listed, count=len(components))


def _describe(number: int, description: str, step: Step) -> str:
    parts = {"Description": description, "Plan": step.plan, "Prompt": step.prompt}
    parts |= {"Execution": step.execution, "Comment": step.comment}
    return "\n".join([f"### Component {number}", *(f"{name}: {text}" for name, text in parts.items() if text)])


async def ask(segmented: SegmentedTrace, teacher: Teacher, model: str) -> LinkedTrace | Rejection:
    """Return the trace with the dependencies that the model names, or a rejection if its reply cannot be used."""
    count = len(segmented.components)
    try:
        parents = await teacher.ask(
            "dag", model, prompt_for(segmented), lambda reply: read_parents(reply, count), ParentsReply
        )
    except (Refused, CallFailed) as error:
        return segmented.reject("dag", error.reason, str(error), temporary=isinstance(error, CallFailed))
    return _link(segmented, parents, f"{segmented.annotator}, {model}")


def by_rules(segmented: SegmentedTrace) -> LinkedTrace:
    """Return the trace with the parents that the rules of stage 3 named. Raises BadInput if a model did stage 3."""
    if segmented.parents is None:
        raise BadInput(
            f"extract.jsonl holds components by {segmented.annotator}, whose dependencies rules cannot name: "
            "run extract again, or name a model as models.dag"
        )
    return _link(segmented, segmented.parents, RULES)


def _link(segmented: SegmentedTrace, parents: Sequence[Sequence[int]], annotator: str) -> LinkedTrace:
    answer = f"\\boxed{{{segmented.answer}}}"
    steps = steps_of(segmented, parents)
    trace = Trace(segmented.id, segmented.question, steps, answer, segmented.text, annotator)
    return LinkedTrace(segmented.id, segmented.index, annotator, trace)
