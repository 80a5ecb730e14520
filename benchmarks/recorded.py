"""Recorded replies of an LLM as annotations of traces, which are rebuilt from the replies.

component_inline_K.txt holds the components of trace K with the text of their phases, component_separation_K.txt with
the lines that the LLM named, created_dag_K.json their parents. The inline text lacks the comments and the line breaks
between phases: here each phase begins a line and each component a paragraph, which favours annotators that cut at
paragraphs. The number of lines of an execution, on which the stages depend, comes from the named lines.
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
GO_ON = "Go on."  # the prompt of a component without a recorded prompt


@dataclass(frozen=True)
class Annotation:
    components: tuple[Component, ...]
    parents: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recording:
    """A rebuilt trace with its recorded annotation, and the number of its steps and stages by the named lines."""

    name: str
    lines: tuple[str, ...]
    annotation: Annotation
    steps: int
    stages: int


_COMPONENT = re.compile(r"^### Component \d+\s*$", re.M)
_FIELD = re.compile(r"^<(?P<name>\w+)>\n(?P<text>.*?)\n</(?P=name)>", re.M | re.S)


def read_recordings(folder: Path) -> list[Recording]:
    """Read the recordings of a folder in the order of their names. Raises BadInput."""
    files = sorted(folder.glob("component_inline_*.txt"))
    if not files:
        raise BadInput(f"{folder} holds no component_inline_*.txt: give recorded=FOLDER")
    return [_read_recording(file) for file in files]


def _read_recording(file: Path) -> Recording:
    name = file.stem.rpartition("_")[2]
    bodies = _COMPONENT.split(file.read_text())[1:]
    parents = _read(file.with_name(f"created_dag_{name}.json"), lambda text: read_parents(text, len(bodies)))
    separated = _read(file.with_name(f"component_separation_{name}.txt"), read_components)
    if len(separated) != len(bodies):
        raise BadInput(f"{file} has {len(bodies)} components, component_separation_{name}.txt {len(separated)}")
    lines, components = rebuild_trace(bodies)
    sigma = recorded_stages(separated, parents)
    return Recording(name, tuple(lines), drop_empty_components(components, parents), len(sigma), max(sigma))


def _read(file: Path, read: Callable[[str], T]) -> T:
    try:
        return read(file.read_text())
    except (OSError, Refused) as error:
        raise BadInput(f"{file} cannot be used: {error}") from None


def recorded_stages(components: Sequence[Component], parents: Sequence[Sequence[int]]) -> list[int]:
    """Return the stage of each component as packing computes it, from the numbers of its lines and its parents."""
    last = max(last for component in components for _, last in component.spans)
    lines = [f"{number}\n" for number in range(1, last + 1)]
    steps = [component.step(lines, numbers) for component, numbers in zip(components, parents, strict=True)]
    return stage_numbers([merge_short(step) for step in steps])


def rebuild_trace(bodies: Sequence[str]) -> tuple[list[str], list[Component]]:
    """Return the trace's lines and its components. Text in two phases of a component belongs to the earlier phase."""
    lines: list[str] = []
    components = []
    for body in bodies:
        texts = {found["name"]: found["text"].strip() for found in _FIELD.finditer(body)}
        phases = [texts.get(phase, "") for phase in PHASES]
        spans = [_append(lines, "" if text in ("None", *phases[:place]) else text) for place, text in enumerate(phases)]
        if lines and any(spans):
            lines[-1] += "\n"
        plan, execution, comment = spans
        components.append(Component(plan, texts.get("prompt") or GO_ON, execution, comment))
    return lines, components


def _append(lines: list[str], text: str) -> tuple[Span, ...]:
    """Append the lines of the text and return their span."""
    before = len(lines)
    lines += split_lines(f"{text}\n") if text else []
    return ((before + 1, len(lines)),) if text else ()


def drop_empty_components(components: Sequence[Component], parents: Sequence[Sequence[int]]) -> Annotation:
    """Return the annotation without the components that have no lines, since they were only a comment.

    A component that needs a dropped one needs its parents instead.
    """
    kept: list[tuple[Component, tuple[int, ...]]] = []
    numbers: list[set[int]] = []
    for component, own in zip(components, parents, strict=True):
        needs = {number for parent in own for number in numbers[parent - 1]}
        if component.spans:
            kept.append((component, tuple(sorted(needs))))
        numbers.append({len(kept)} if component.spans else needs)
    return Annotation(tuple(component for component, _ in kept), tuple(needs for _, needs in kept))
