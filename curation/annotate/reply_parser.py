"""The strict reading of LLM replies: components by line ranges, and the dictionary of their parents (appendix A.2).

A reply is data. What cannot be used raises Refused, with a reason that is counted and, once, sent back to the
model. One thing is mended: a line that two phases of one component claim belongs to the earlier phase, so that a
component whose plan and execution are the same lines only plans.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from curation.annotate.components import PHASES, Component, Reason, check_components, refused, runs, without_redundant


def read_components(reply: str) -> tuple[Component, ...]:
    """The components of a reply, in text or in JSON; `cover` compares them with the trace. Raises Refused."""
    reply = _THOUGHT.sub("", reply)
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
    found = _dictionary(_THOUGHT.sub("", reply))
    if found is None:
        raise refused(Reason.NO_DICTIONARY, "The reply holds no dictionary such as {1: [], 2: [1]}.")
    try:
        pairs = [(_number(child), [_number(parent) for parent in named or ()]) for child, named in found]
    except (TypeError, ValueError):
        raise refused(Reason.NO_DICTIONARY, "Every key must be a number and every value a list of numbers.") from None
    parents = dict(pairs)
    if twice := [child for child, named in pairs if named != parents[child]]:
        raise refused(Reason.TWICE, f"Component {twice[0]} has two entries, which are not the same.")
    if missing := sorted(set(range(1, count + 1)) - parents.keys()):
        raise refused(Reason.MISSING, f"The dictionary has no key {missing[0]}; it needs 1 to {count}.")
    for child, named in parents.items():
        for number in (child, *named):
            if not 1 <= number <= count:
                raise refused(Reason.UNKNOWN, f"There is no component {number}; they are 1 to {count}.")
        if late := [parent for parent in named if parent >= child]:
            raise refused(Reason.BACKWARD, f"Component {child} cannot depend on {late[0]}, which does not precede it.")
    return without_redundant([parents[child] for child in range(1, count + 1)])


Pairs = list[tuple[Any, Any]]


def _dictionary(reply: str) -> Pairs | None:
    """Keys and values of the last dictionary of lists in a reply, each as often as it stands there; as a literal or as
    JSON, never evaluated."""
    return _last(_FLAT.findall(reply)) or _entries(reply) or _last(_NESTED.findall(reply))  # nested for its sets


def _last(candidates: list[str]) -> Pairs | None:
    for text in reversed(candidates):
        for parse in (_json_pairs, _literal_pairs):
            try:
                pairs = parse(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
            if pairs and all(value is None or isinstance(value, list | tuple | set) for _, value in pairs):
                return pairs
    return None


def _entries(reply: str) -> Pairs | None:
    """Of a reply that an endpoint held to ParentsReply."""
    entries = next((found["parents"] for found in json_objects(reply) if "parents" in found), None)
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return [(entry.get("component"), entry.get("parents")) for entry in entries]
    return None


def _json_pairs(text: str) -> Pairs:
    pairs: Pairs = json.loads(text, object_pairs_hook=list)
    return pairs


def _literal_pairs(text: str) -> Pairs:
    literal = ast.parse(text, mode="eval").body
    if not isinstance(literal, ast.Dict) or None in literal.keys:
        raise ValueError("no dictionary")
    values = [
        [] if isinstance(value, ast.Dict) and not value.keys else ast.literal_eval(value) for value in literal.values
    ]
    return [(ast.literal_eval(key), value) for key, value in zip(literal.keys, values, strict=True) if key]


def _number(value: object) -> int:
    """Of a component, as a number or by its name. Raises ValueError."""
    found = _COMPONENT_NUMBER.fullmatch(str(value))
    if not found:
        raise ValueError(value)
    return int(found[1])


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
        spans = any(isinstance(item, list | dict) for item in value)
        joint = "-" if len(value) == 2 and not spans else ","  # the first and the last line, or all of them
        return joint.join(_as_text(item) if spans else str(item) for item in value if item is not None)
    text = str(value if value is not None else "").strip(_AROUND)
    text = _BULLET.sub("", text)
    return _PARENTHESIS.sub("", text).strip(_AROUND + "()[]")


# The reply as text

# Nine digits at most: a model that repeats itself can write thousands, which are no number of a line.
_THOUGHT = re.compile(r"\A\s*(?:<think>)?(?:(?!</?think>).)*</think>", re.S)  # of a teacher that reasons
_OBJECT = re.compile(r'\{\s*["}]')  # how one begins: a refusal of json's counts all lines before it
_FLAT = re.compile(r"\{[^{}]*\}")
_NESTED = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*\}")
_COMPONENT_NUMBER = re.compile(r"\s*(?:component|step)?\s*#?\s*(\d{1,9})\s*", re.I)
_HEADER = re.compile(
    r"^[ \t#*_>]*(?:\d{1,9}[.)][ \t]*)?[*_]*component[ \t]*#?[ \t]*(?P<number>\d{1,9})\b[^\n]*$", re.I | re.M
)
_FIELD = re.compile(
    r"^[ \t]*(?:[-*•+>]|\d+[.)])?[ \t]*[*_]*(?P<name>description|plan|prompt|execution|comment)s?[ \t]*"
    r"(?:\(?lines?\)?)?[ \t]*(?:[*_]*[ \t]*[:\uff1a][ \t]*[*_]*)",
    re.I | re.M,
)
_SPAN_TEXT = (
    r"(?:from\s+)?(?:lines?\s*|L)?(\d{1,9})(?!\d)"
    r"(?:\s*(?:[-~\u2010-\u2015\u2212]|\.\.|to|through)\s*(?:lines?\s*|L)?(\d{1,9})(?!\d))?"
)
_SPAN = re.compile(_SPAN_TEXT, re.I)
_LINES = re.compile(rf"{_SPAN_TEXT}(?:\s*(?:,|;|&|and)+\s*{_SPAN_TEXT})*", re.I)
_LONGEST_ABSENCE = 60  # characters
_NOTHING = (
    r"(?:lines?\s+)?(?:not\s+(?:found|available|applicable|present)|none|n/?a|null|empty)"
    r"|no\s+(?:lines?|plan|execution|comments?)(?:\s+(?:were\s+)?found)?(?:\s+(?:for|in)\s+(?:this|the)\s+\w+)?"
)
_ABSENT = re.compile(rf"\W*(?:(?:{_NOTHING})(?:\W+(?:{_NOTHING}))?)?\W*", re.I)
_BULLET = re.compile(r"^[-*\u2022+]\s+")
_PARENTHESIS = re.compile(r"\s\([^()]{0,200}\)$")
_AROUND = " \t\n.*`_"


def _from_text(reply: str) -> Iterator[tuple[int, dict[str, str]]]:
    for header, body in _sections([*_HEADER.finditer(reply)], reply):
        if fields := _fields(body):
            yield int(header["number"]), fields


def _fields(body: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    # A name that has stood before is text: a prompt may have a line that begins with "Plan:".
    firsts = {mark["name"].lower(): mark for mark in reversed([*_FIELD.finditer(body)])}
    sections = list(_sections(sorted(firsts.values(), key=lambda mark: mark.start()), body))
    for position, (mark, text) in enumerate(sections, 1):
        text = text.strip()
        if position == len(sections):  # what follows the last field is the model's own closing words
            text = re.split(r"\n[ \t]*(?:\n|-{3,}|```)", text, maxsplit=1)[0].strip()
        fields[mark["name"].lower()] = text
    return fields


def _sections(marks: Sequence[re.Match[str]], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Every mark with the text up to the next one."""
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


def json_objects(reply: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a reply, outermost ones, whatever prose or fence stands around them."""
    end = 0
    while begun := _OBJECT.search(reply, end):
        end = begun.start() + 1
        try:
            value, end = json.JSONDecoder().raw_decode(reply, begun.start())
        except RecursionError:  # what is nested that deep is no reply
            return
        except ValueError:
            pass
        else:
            yield value


def _from_json(reply: str) -> list[tuple[int, dict[str, Any]]] | None:
    """From {"components": [...]}, or from objects of components alone."""
    found = [_lower(each) for each in json_objects(reply)]
    items = next((each["components"] for each in found if "components" in each), None)
    if items is None:
        items = [each for each in found if "prompt" in each and each.keys() & PHASES]
    if not isinstance(items, list):
        return None
    rows = [_lower(item) for item in items if isinstance(item, dict)]
    return [
        (row["number"] if isinstance(row.get("number"), int) else position, row) for position, row in enumerate(rows, 1)
    ]


def _lower(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in fields.items()}
