"""Strict parsing of LLM replies: components by line ranges, and the dictionary of their parents (appendix A.2).

A reply that cannot be used raises Refused, whose reason is counted and whose message is sent back to the model once.
One error is repaired: a line in two phases of one component belongs to the earlier phase, so that a component whose
plan and execution are the same lines only plans.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from curation.annotate.components import (
    PHASES,
    Component,
    Reason,
    check_components,
    drop_redundant_parents,
    refusal,
    to_spans,
)


def read_components(reply: str) -> tuple[Component, ...]:
    """Parse the components of a reply in text or JSON; `cover` compares them with the trace. Raises Refused."""
    reply = _THOUGHT.sub("", reply)
    items = list(_from_json(reply) or _from_text(reply))
    if not items:
        raise refusal(Reason.NO_COMPONENTS, "The reply lists no components in the required format.")
    numbers = [number for number, _ in items]
    if numbers != list(range(1, len(items) + 1)):
        raise refusal(Reason.NUMBERING, f"Components must be numbered 1, 2, 3 and so on; these are {numbers}.")
    components = tuple(_component(number, fields) for number, fields in items)
    check_components(components)
    return components


def read_parents(reply: str, count: int) -> list[tuple[int, ...]]:
    """Parse the parents of components 1 to `count`, without redundant ones. Raises Refused."""
    entries = _find_dictionary(_THOUGHT.sub("", reply))
    if entries is None:
        raise refusal(Reason.NO_DICTIONARY, "The reply holds no dictionary such as {1: [], 2: [1]}.")
    try:
        pairs = [(_number(child), [_number(parent) for parent in numbers or ()]) for child, numbers in entries]
    except (TypeError, ValueError):
        raise refusal(Reason.NO_DICTIONARY, "Every key must be a number and every value a list of numbers.") from None
    parents = dict(pairs)
    if twice := [child for child, numbers in pairs if numbers != parents[child]]:
        raise refusal(Reason.TWICE, f"Component {twice[0]} has two entries, which are not the same.")
    if missing := sorted(set(range(1, count + 1)) - parents.keys()):
        raise refusal(Reason.MISSING, f"The dictionary has no key {missing[0]}; it needs 1 to {count}.")
    for child, numbers in parents.items():
        for number in (child, *numbers):
            if not 1 <= number <= count:
                raise refusal(Reason.UNKNOWN, f"There is no component {number}; they are 1 to {count}.")
        if late := [parent for parent in numbers if parent >= child]:
            raise refusal(Reason.BACKWARD, f"Component {child} cannot depend on {late[0]}, which does not precede it.")
    return drop_redundant_parents([parents[child] for child in range(1, count + 1)])


Pairs = list[tuple[Any, Any]]


def _find_dictionary(reply: str) -> Pairs | None:
    """Return the entries of the last dictionary of lists in a reply, duplicate keys included, None without one.

    The dictionary is parsed as a Python literal or as JSON, never evaluated. Its values may be sets, which are nested.
    """
    return _last_dictionary(_FLAT.findall(reply)) or _entries(reply) or _last_dictionary(_NESTED.findall(reply))


def _last_dictionary(candidates: list[str]) -> Pairs | None:
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
    """Return the entries of a reply in the form of ParentsReply, None for another form."""
    entries = next((value["parents"] for value in json_objects(reply) if "parents" in value), None)
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
    """Return the number of a component from its number or name. Raises ValueError."""
    found = _COMPONENT_NUMBER.fullmatch(str(value))
    if not found:
        raise ValueError(value)
    return int(found[1])


def _component(number: int, fields: Mapping[str, Any]) -> Component:
    taken: set[int] = set()
    spans = {}
    for phase in PHASES:
        lines = [line for line in _parse_lines(number, phase, fields.get(phase)) if line not in taken]
        taken.update(lines)
        spans[phase] = tuple(to_spans(lines))
    prompt = str(fields.get("prompt") or "").strip()
    return Component(
        prompt="" if _says_absent(prompt) else prompt, description=str(fields.get("description") or "").strip(), **spans
    )


def _parse_lines(number: int, phase: str, value: object) -> list[int]:
    """Parse the line numbers of a field: text, [first, last] or {"start": .., "end": ..}. Raises Refused."""
    text = _to_text(value)
    if not text or _says_absent(text):
        return []
    if not _LINES.fullmatch(text):
        raise refusal(Reason.UNREADABLE, f"Component {number} has as {phase} {text[:60]!r} instead of line numbers.")
    lines: list[int] = []
    for match in _SPAN.finditer(text):
        first = int(match[1])
        last = int(match[2] or first)
        if last < first or last - first > 100_000:
            raise refusal(Reason.UNREADABLE, f"Component {number} has as {phase} the lines {first}-{last}.")
        lines += range(first, last + 1)
    return sorted(set(lines))


def _says_absent(text: str) -> bool:
    """Return whether the text says that there are no lines, as in "Lines not found"."""
    return len(text) <= _LONGEST_ABSENCE and _ABSENT.fullmatch(text) is not None


def _to_text(value: object) -> str:
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end")]
    if isinstance(value, list):
        spans = any(isinstance(item, list | dict) for item in value)
        joint = "-" if len(value) == 2 and not spans else ","  # the first and the last line, or all of them
        return joint.join(_to_text(item) if spans else str(item) for item in value if item is not None)
    text = str(value if value is not None else "").strip(_AROUND)
    text = _BULLET.sub("", text)
    return _PARENTHESIS.sub("", text).strip(_AROUND + "()[]")


# The reply as text

# Numbers have at most nine digits: a model that repeats itself can write thousands.
_THOUGHT = re.compile(r"\A\s*(?:<think>)?(?:(?!</?think>).)*</think>", re.S)  # of a reasoning teacher
_OBJECT = re.compile(r'\{\s*["}]')  # where an object begins: json's errors count all lines before them, which is slow
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
    # Only the first occurrence of a name is a field: a prompt may have a line that begins with "Plan:".
    firsts = {mark["name"].lower(): mark for mark in reversed([*_FIELD.finditer(body)])}
    sections = list(_sections(sorted(firsts.values(), key=lambda mark: mark.start()), body))
    for position, (mark, text) in enumerate(sections, 1):
        text = text.strip()
        if position == len(sections):  # the model's closing words may follow the last field
            text = re.split(r"\n[ \t]*(?:\n|-{3,}|```)", text, maxsplit=1)[0].strip()
        fields[mark["name"].lower()] = text
    return fields


def _sections(marks: Sequence[re.Match[str]], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield every mark with the text up to the next mark."""
    ends = [following.start() for following in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        yield mark, text[mark.end() : end]


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
    """The schema of an extraction for endpoints with structured outputs."""

    components: list[ComponentReply]


class ParentsOf(BaseModel, extra="forbid"):
    component: int
    parents: list[int]


class ParentsReply(BaseModel, extra="forbid"):
    """The schema of dependencies for endpoints with structured outputs."""

    parents: list[ParentsOf]


def json_objects(reply: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects in a reply, with any text or fences around them."""
    end = 0
    while begun := _OBJECT.search(reply, end):
        end = begun.start() + 1
        try:
            value, end = json.JSONDecoder().raw_decode(reply, begun.start())
        except RecursionError:  # nested too deep for a reply
            return
        except ValueError:
            pass
        else:
            yield value


def _from_json(reply: str) -> list[tuple[int, dict[str, Any]]] | None:
    """Parse {"components": [...]}, or single objects of components; return None without them."""
    objects = [_lower_keys(value) for value in json_objects(reply)]
    items = next((value["components"] for value in objects if "components" in value), None)
    if items is None:
        items = [value for value in objects if "prompt" in value and value.keys() & PHASES]
    if not isinstance(items, list):
        return None
    rows = [_lower_keys(item) for item in items if isinstance(item, dict)]
    return [
        (row["number"] if isinstance(row.get("number"), int) else position, row) for position, row in enumerate(rows, 1)
    ]


def _lower_keys(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in fields.items()}
