"""Stage 4: which component needs the results of which, named by an LLM or by rules (section 3.2.2, appendix A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from pydantic import TypeAdapter

from curation.annotate.components import Component, Refused
from curation.annotate.numbering import split_lines
from curation.annotate.reply_parser import ParentsReply, read_parents
from curation.stages.base import Outcome, Record
from curation.stages.extract import RULES, rejection
from curation.teacher.client import CallFailed, Teacher
from curation.trace import Step, Trace

PROMPT = Template((Path(__file__).parent / "prompts" / "dag.txt").read_text())
_COMPONENTS = TypeAdapter(tuple[Component, ...])


def components_of(record: Record) -> tuple[Component, ...]:
    return _COMPONENTS.validate_python(record["components"])


def steps_of(record: Record, parents: Sequence[Sequence[int]]) -> tuple[Step, ...]:
    lines = split_lines(record["text"])
    return tuple(c.step(lines, named) for c, named in zip(components_of(record), parents, strict=True))


def prompt_for(record: Record) -> str:
    """The components with their text, as appendix A.2 has it."""
    components = components_of(record)
    steps = steps_of(record, [()] * len(components))
    listed = "\n\n".join(
        _listing(number, component.description, step)
        for number, (component, step) in enumerate(zip(components, steps, strict=True), 1)
    )
    return PROMPT.substitute(question=record["question"], components=listed, count=len(components))


def _listing(number: int, description: str, step: Step) -> str:
    parts = {"Description": description, "Plan": step.plan, "Prompt": step.prompt}
    parts |= {"Execution": step.execution, "Comment": step.comment}
    return "\n".join([f"### Component {number}", *(f"{name}: {text}" for name, text in parts.items() if text)])


async def ask(record: Record, teacher: Teacher, model: str) -> Outcome:
    """The record as a trace: steps and their parents by the model, or why its reply could not be used."""
    count = len(record["components"])
    try:
        parents = await teacher.ask(
            "dag", model, prompt_for(record), lambda reply: read_parents(reply, count), ParentsReply
        )
    except (Refused, CallFailed) as error:
        return rejection(record, "dag", error)
    return trace_record(record, parents, f"{record['annotator']}, {model}")


def by_rules(record: Record) -> Outcome:
    """The record as a trace with the parents that the rules of stage 3 named."""
    return trace_record(record, record["parents"], RULES)


def trace_record(record: Record, parents: Sequence[Sequence[int]], annotator: str) -> Record:
    answer = f"\\boxed{{{record['answer']}}}"
    trace = Trace(record["id"], record["question"], steps_of(record, parents), answer, record["text"], annotator)
    return {"id": record["id"], "index": record["index"], "annotator": annotator, "trace": trace.to_dict()}
