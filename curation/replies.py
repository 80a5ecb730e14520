"""The strict reading of LLM replies: components by line ranges, and the dictionary of their parents (appendix A.2).

A reply is data. What cannot be used raises Refused, with a reason that is counted and, once, sent back to the
model. One thing is mended: a line that two phases of one component claim belongs to the earlier phase.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from curation.components import PHASES, Component, Reason, check_components, refused, runs, without_redundant


def read_components(reply: str) -> tuple[Component, ...]:
    """The components of a reply, in text or in JSON; `cover` compares them with the trace. Raises Refused."""
    items = list(_from_json(reply) or _from_text(reply))
    if not items:
        raise refused(Reason.NO_COMPONENTS, "The reply lists no components in the required format.")
    numbers = [number for number, _ in items]
    if numbers != list(range(1, len(items) + 1)):
        raise refused(Reason.NUMBERING, f"Components must be numbered 1, 2, 3 and so on; these are {numbers}.")
    components = tuple(_component(number, fields) for number, fields in items)
    check_components(components)
    return components


def read_parents(reply: str, count: int) -> list[tuple[int, ...]]:
    """Parents of components 1 to `count`, redundant ones left out. Raises Refused."""
    found = _dictionary(reply)
    if found is None:
        raise refused(Reason.NO_DICTIONARY, "The reply holds no dictionary such as {1: [], 2: [1]}.")
    try:
        parents = {int(str(child)): [int(str(parent)) for parent in named] for child, named in found.items()}
    except (TypeError, ValueError):
        raise refused(Reason.NO_DICTIONARY, "Every key must be a number and every value a list of numbers.") from None
    if missing := sorted(set(range(1, count + 1)) - parents.keys()):
        raise refused(Reason.MISSING, f"The dictionary has no key {missing[0]}; it needs 1 to {count}.")
    for child, named in parents.items():
        for number in (child, *named):
            if not 1 <= number <= count:
                raise refused(Reason.UNKNOWN, f"There is no component {number}; they are 1 to {count}.")
        if late := [parent for parent in named if parent >= child]:
            raise refused(Reason.BACKWARD, f"Component {child} cannot depend on {late[0]}, which does not precede it.")
    return without_redundant([parents[child] for child in range(1, count + 1)])


def _dictionary(reply: str) -> dict[Any, Any] | None:
    """The last dictionary of lists in a reply, as a literal or as JSON; never evaluated."""
    for text in reversed(re.findall(r"\{[^{}]*\}", reply)):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
            if isinstance(value, dict) and all(isinstance(item, list | tuple | set) for item in value.values()):
                return value
    found = json_object(reply)
    pairs = found.get("parents") if found else None
    if isinstance(pairs, list) and all(isinstance(pair, dict) for pair in pairs):
        return {str(pair.get("component")): pair.get("parents", []) for pair in pairs}
    return None


def _component(number: int, fields: Mapping[str, Any]) -> Component:
    taken: set[int] = set()
    spans = {}
    for phase in PHASES:
        lines = [line for line in _lines_of(number, phase, fields.get(phase)) if line not in taken]
        taken.update(lines)
        spans[phase] = tuple(runs(lines))
    prompt = str(fields.get("prompt") or "").strip()
    return Component(
        prompt="" if _absent(prompt) else prompt, description=str(fields.get("description") or "").strip(), **spans
    )


def _lines_of(number: int, phase: str, value: object) -> list[int]:
    """The line numbers that a field names: as text, as [first, last] or as {"start": .., "end": ..}."""
    text = _as_text(value)
    if not text or _absent(text):
        return []
    if not _LINES.fullmatch(text):
        raise refused(Reason.UNREADABLE, f"Component {number} has as {phase} {text[:60]!r} instead of line numbers.")
    lines: list[int] = []
    for match in _SPAN.finditer(text):
        first = int(match[1])
        last = int(match[2] or first)
        if last < first or last - first > 100_000:
            raise refused(Reason.UNREADABLE, f"Component {number} has as {phase} the lines {first}-{last}.")
        lines += range(first, last + 1)
    return sorted(set(lines))


def _absent(text: str) -> bool:
    return len(text) <= _LONGEST_ABSENCE and _ABSENT.fullmatch(text) is not None


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end")]
    if isinstance(value, list):
        joint = "-" if len(value) == 2 else ","  # the first and the last line, or all of them
        return joint.join(str(item) for item in value if item is not None)
    text = str(value if value is not None else "").strip(_AROUND)
    return _PARENTHESIS.sub("", text).strip(_AROUND + "()[]")


# The reply as text

# Nine digits at most: a model that repeats itself can write thousands, which are no number of a line.
_HEADER = re.compile(
    r"^[ \t#*_>]*(?:\d{1,9}[.)][ \t]*)?[*_]*component[ \t]*#?[ \t]*(?P<number>\d{1,9})\b[^\n]*$", re.I | re.M
)
_FIELD = re.compile(
    r"^[ \t]*(?:[-*•+>]|\d+[.)])?[ \t]*[*_]*(?P<name>description|plan|prompt|execution|comment)s?[ \t]*"
    r"(?:[*_]*[ \t]*[:\uff1a][ \t]*[*_]*)",
    re.I | re.M,
)
_SPAN_TEXT = (
    r"(?:lines?\s*|L)?(\d{1,9})(?!\d)"
    r"(?:\s*(?:[-\u2010-\u2015\u2212]|\.\.|to|through)\s*(?:lines?\s*|L)?(\d{1,9})(?!\d))?"
)
_SPAN = re.compile(_SPAN_TEXT, re.I)
_LINES = re.compile(rf"{_SPAN_TEXT}(?:\s*(?:,|;|&|and)+\s*{_SPAN_TEXT})*", re.I)
_LONGEST_ABSENCE = 60  # characters
_ABSENT = re.compile(
    r"\W*(?:(?:lines?\s+)?(?:not\s+(?:found|available|applicable|present)|none|n/?a|null|empty)|no\s+lines?(?:\s+found)?)?\W*",
    re.I,
)
_PARENTHESIS = re.compile(r"\s\([^()]{0,200}\)$")
_AROUND = " \t\n.*`_"


def _from_text(reply: str) -> Iterator[tuple[int, dict[str, str]]]:
    for header, body in _sections(_HEADER, reply):
        if fields := _fields(body):
            yield int(header["number"]), fields


def _fields(body: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    sections = list(_sections(_FIELD, body))
    for position, (mark, text) in enumerate(sections, 1):
        text = text.strip()
        if position == len(sections):  # what follows the last field is the model's own closing words
            text = re.split(r"\n[ \t]*(?:\n|-{3,}|```)", text, maxsplit=1)[0].strip()
        fields.setdefault(mark["name"].lower(), text)
    return fields


def _sections(mark: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Every mark with the text up to the next one."""
    marks = list(mark.finditer(text))
    ends = [following.start() for following in marks[1:]] + [len(text)]
    for found, end in zip(marks, ends, strict=False):
        yield found, text[found.end() : end]


# The reply as JSON


class Lines(BaseModel, extra="forbid"):
    start: int
    end: int


class ComponentReply(BaseModel, extra="forbid"):
    number: int
    description: str
    plan: Lines | None
    prompt: str
    execution: Lines | None
    comment: Lines | None


class ComponentsReply(BaseModel, extra="forbid"):
    """What an endpoint with structured outputs is held to for the extraction."""

    components: list[ComponentReply]


class ParentsOf(BaseModel, extra="forbid"):
    component: int
    parents: list[int]


class ParentsReply(BaseModel, extra="forbid"):
    """What an endpoint with structured outputs is held to for the dependencies."""

    parents: list[ParentsOf]


def json_object(reply: str) -> dict[str, Any] | None:
    """The first JSON object in a reply, with prose or a fence around it, or None."""
    for match in re.finditer(r"\{", reply):
        try:
            value, _ = json.JSONDecoder().raw_decode(reply, match.start())
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _from_json(reply: str) -> list[tuple[int, dict[str, Any]]] | None:
    found = json_object(reply)
    items = found.get("components") if found else None
    if not isinstance(items, list):
        return None
    rows = [item for item in items if isinstance(item, dict)]
    return [
        (row["number"] if isinstance(row.get("number"), int) else position, row) for position, row in enumerate(rows, 1)
    ]
