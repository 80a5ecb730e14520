"""The records that the stages of curation write, one JSON line each, and how they are written and read.

load, verify   RawTrace         a question, a reasoning trace and its answer
extract        SegmentedTrace   the trace cut into components
dag            LinkedTrace      its steps with their dependencies
pack, filter   PackedTrace      its trajectory
rejected/*     Rejection        a trace that left the pipeline
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from curation.annotate.components import Component
from curation.annotate.results import LaterResult
from curation.jsonl import to_line
from curation.trace import Trace
from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Trajectory, error_detail

R = TypeVar("R")


@dataclass(frozen=True)
class TraceRecord:
    """What the records of all stages have: the trace's id and its place in the source, from 0."""

    id: str
    index: int

    def reject(self, stage: str, reason: str, detail: str = "", temporary: bool = False) -> Rejection:
        """Return the rejection of this trace by a stage."""
        return Rejection(self.id, self.index, stage, reason, detail, temporary)


@dataclass(frozen=True)
class Rejection:
    """A trace that left the pipeline.

    reason      a short phrase, by which rejections are counted
    temporary   the endpoint failed, and another attempt may succeed (`passing` on disk)
    """

    id: str
    index: int
    stage: str
    reason: str
    detail: str = ""
    temporary: Annotated[bool, Field(alias="passing")] = False


@dataclass(frozen=True)
class RawTrace(TraceRecord):
    """A row of the source: `text` is the thought, `response` what follows it, `answer` the reference answer."""

    question: str
    text: str
    response: str
    answer: str
    source: str


@dataclass(frozen=True)
class SegmentedTrace(RawTrace):
    """A raw trace with its components. Only rules name the parents in the same stage."""

    components: tuple[Component, ...]
    annotator: str
    parents: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class LinkedTrace(TraceRecord):
    annotator: str
    trace: Trace


@dataclass(frozen=True)
class PackedTrace(LinkedTrace):
    """A linked trace with its trajectory.

    sigma           the stage of each step, from 1
    ratio           steps / stages
    later_results   results that a step uses without depending on the step that says them first
    """

    trajectory: Trajectory
    sigma: tuple[int, ...]
    ratio: float
    later_results: tuple[LaterResult, ...]

    @property
    def short_executions(self) -> int:
        """Return how many steps only plan because their execution is shorter than min_lines."""
        return sum(bool(step.execution) for step in self.trace.steps) - sum(
            len(stage.executions) for stage in self.trajectory.stages
        )


def record_line(record: TraceRecord | Rejection) -> str:
    """Return the record as a JSON line. Fields that are None are left out."""
    row: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json", by_alias=True)
    return to_line({name: value for name, value in row.items() if value is not None})


def parse_record(line: str, kind: type[R], place: str) -> R:
    """Parse a JSON line, the inverse of `record_line`. Raises BadInput, which names the place."""
    try:
        return _adapter(kind).validate_json(line)
    except ValidationError as error:
        raise BadInput(
            f"{place} is not a {kind.__name__} of this version ({error_detail(error)}): write the file again"
        ) from error


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a stage's file. Raises BadInput with the file and line of anything else."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield parse_record(line, kind, f"{path}:{number}")


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[R]) -> TypeAdapter[R]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
