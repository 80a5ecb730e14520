"""Stage 3: a trace is cut into components by line numbers, by an LLM or by rules (section 3.2.1, appendix A.2)."""

from __future__ import annotations

from pathlib import Path
from string import Template

from curation.annotate import discourse
from curation.annotate.components import Component, Refused, cover
from curation.annotate.numbering import number_lines, split_lines
from curation.annotate.reply_parser import ComponentsReply, read_components
from curation.records import RawTrace, Rejection, SegmentedTrace
from curation.teacher.client import Teacher
from curation.teacher.failures import CallFailed

PROMPT = Template((Path(__file__).parent / "prompts" / "extract.txt").read_text())
RULES = "rules"


def prompt_for(trace: RawTrace) -> str:
    return PROMPT.substitute(question=trace.question, lines=number_lines(split_lines(trace.text)))


async def ask(trace: RawTrace, teacher: Teacher, model: str) -> SegmentedTrace | Rejection:
    """Return the trace with the components that the model names, or a rejection if its reply cannot be used."""
    lines = split_lines(trace.text)
    try:
        components = await teacher.ask(
            "extract", model, prompt_for(trace), lambda reply: cover(read_components(reply), lines), ComponentsReply
        )
    except (Refused, CallFailed) as error:
        return trace.reject("extract", error.reason, str(error), temporary=isinstance(error, CallFailed))
    return _segment(trace, components, model)


def by_rules(trace: RawTrace) -> SegmentedTrace:
    """Return the trace with components and parents by rules on discourse marks."""
    lines = split_lines(trace.text)
    components, parents = discourse.annotate(trace.question, lines)
    return _segment(trace, cover(components, lines), RULES, tuple(parents))


def _segment(
    trace: RawTrace,
    components: tuple[Component, ...],
    annotator: str,
    parents: tuple[tuple[int, ...], ...] | None = None,
) -> SegmentedTrace:
    return SegmentedTrace(**vars(trace), components=components, annotator=annotator, parents=parents)
