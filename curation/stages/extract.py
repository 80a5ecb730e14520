"""Stage 3: a thought becomes components by line numbers, named by an LLM or by rules (section 3.2.1, appendix A.2)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from string import Template

from curation.annotate import discourse
from curation.annotate.components import Component, Refused, cover
from curation.annotate.numbering import numbered, split_lines
from curation.annotate.reply_parser import ComponentsReply, read_components
from curation.stages.base import Outcome, Record, Rejection
from curation.teacher.client import CallFailed, Teacher

PROMPT = Template((Path(__file__).parent / "prompts" / "extract.txt").read_text())
RULES = "rules"


def prompt_for(record: Record) -> str:
    return PROMPT.substitute(question=record["question"], lines=numbered(split_lines(record["text"])))


async def ask(record: Record, teacher: Teacher, model: str) -> Outcome:
    """The record with the components that the model named, or why they could not be used."""
    lines = split_lines(record["text"])
    try:
        components = await teacher.ask(
            "extract", model, prompt_for(record), lambda reply: cover(read_components(reply), lines), ComponentsReply
        )
    except (Refused, CallFailed) as error:
        return rejection(record, "extract", error)
    return annotated(record, components, model)


def by_rules(record: Record) -> Outcome:
    """The record with components and parents by rules on discourse marks, labelled as such."""
    lines = split_lines(record["text"])
    components, parents = discourse.annotate(record["question"], lines)
    return annotated(record, cover(components, lines), RULES) | {"parents": [list(named) for named in parents]}


def annotated(record: Record, components: tuple[Component, ...], annotator: str) -> Record:
    return record | {"components": [asdict(component) for component in components], "annotator": annotator}


def rejection(record: Record, stage: str, error: Refused | CallFailed) -> Rejection:
    passing = isinstance(error, CallFailed)
    return Rejection(record["id"], record["index"], stage, error.reason, str(error), passing)
