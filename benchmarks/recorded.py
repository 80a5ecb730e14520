"""Recorded replies of an LLM as annotations of the traces that they give back.

component_inline_K.txt lists components with the text of their phases, component_separation_K.txt with the lines that
the LLM named, created_dag_K.json their parents. In the inline text that of comments is missing, and how two phases were
joined: here each begins a line, each component a paragraph, which favours annotators that cut at paragraphs. How many
lines an execution has, on which the stages depend, only the named lines tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from curation.annotate.components import PHASES, Component, Refused, Span
from curation.annotate.numbering import split_lines
from curation.annotate.reply_parser import read_components, read_parents
from curation.stages.pack import merge_short, stage_numbers
from sprint_sgl.errors import BadInput

T = TypeVar("T")
GO_ON = "Go on."  # a prompt where none is recorded


@dataclass(frozen=True)
class Annotation:
    components: tuple[Component, ...]
    parents: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recording:
    """A trace as its recorded annotation gives it back, and the number of its steps and stages by the named lines."""

    name: str
    lines: tuple[str, ...]
    annotation: Annotation
    steps: int
    stages: int


_COMPONENT = re.compile(r"^### Component \d+\s*$", re.M)
_FIELD = re.compile(r"^<(?P<name>\w+)>\n(?P<text>.*?)\n</(?P=name)>", re.M | re.S)


def read_recordings(folder: Path) -> list[Recording]:
    """The recorded annotations in order of their names. Raises BadInput."""
    files = sorted(folder.glob("component_inline_*.txt"))
    if not files:
        raise BadInput(f"{folder} holds no component_inline_*.txt: give recorded=FOLDER")
    return [_recording(file) for file in files]


def _recording(file: Path) -> Recording:
    name = file.stem.rpartition("_")[2]
    bodies = _COMPONENT.split(file.read_text())[1:]
    parents = _read(file.with_name(f"created_dag_{name}.json"), lambda text: read_parents(text, len(bodies)))
    named = _read(file.with_name(f"component_separation_{name}.txt"), read_components)
    if len(named) != len(bodies):
        raise BadInput(f"{file} has {len(bodies)} components, component_separation_{name}.txt {len(named)}")
    lines, components = rebuilt(bodies)
    sigma = recorded_stages(named, parents)
    return Recording(name, tuple(lines), without_empty(components, parents), len(sigma), max(sigma))


def _read(file: Path, read: Callable[[str], T]) -> T:
    try:
        return read(file.read_text())
    except (OSError, Refused) as error:
        raise BadInput(f"{file} cannot be used: {error}") from None


def recorded_stages(components: Sequence[Component], parents: Sequence[Sequence[int]]) -> list[int]:
    """The stage of each component, by the lines that it names and its parents alone, as a trace is packed."""
    last = max(last for component in components for _, last in component.spans)
    lines = [f"{number}\n" for number in range(1, last + 1)]
    steps = [component.step(lines, named) for component, named in zip(components, parents, strict=True)]
    return stage_numbers([merge_short(step) for step in steps])


def rebuilt(bodies: Sequence[str]) -> tuple[list[str], list[Component]]:
    """The trace's lines, and its components over them; text that two phases repeat belongs to the earlier."""
    lines: list[str] = []
    components = []
    for body in bodies:
        texts = {found["name"]: found["text"].strip() for found in _FIELD.finditer(body)}
        named = [texts.get(phase, "") for phase in PHASES]
        spans = [_appended(lines, "" if text in ("None", *named[:place]) else text) for place, text in enumerate(named)]
        if lines and any(spans):
            lines[-1] += "\n"
        plan, execution, comment = spans
        components.append(Component(plan, texts.get("prompt") or GO_ON, execution, comment))
    return lines, components


def _appended(lines: list[str], text: str) -> tuple[Span, ...]:
    before = len(lines)
    lines += split_lines(f"{text}\n") if text else []
    return ((before + 1, len(lines)),) if text else ()


def without_empty(components: Sequence[Component], parents: Sequence[Sequence[int]]) -> Annotation:
    """A component that was nothing but a comment has no lines here: what needs it needs its parents."""
    kept: list[tuple[Component, tuple[int, ...]]] = []
    numbers: list[set[int]] = []
    for component, named in zip(components, parents, strict=True):
        needs = {number for parent in named for number in numbers[parent - 1]}
        if component.spans:
            kept.append((component, tuple(sorted(needs))))
        numbers.append({len(kept)} if component.spans else needs)
    return Annotation(tuple(component for component, _ in kept), tuple(needs for _, needs in kept))
