"""What a benchmark keeps of each question: one JSON line, written as the question is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Trajectory, reason

RecordKey = tuple[str, str, int]


@dataclass(frozen=True)
class Record:
    """One question answered once by one method.

    read     whether the rules found an answer to grade
    judged   a judge's verdict on an answer that they did not find; its file is that of sprint_sgl/bench/judging.py
    """

    method: str
    id: str
    sample: int
    group: str
    question: str
    gold: str
    answer: str
    correct: bool
    reason: str
    read: bool
    trajectory: Trajectory
    judged: bool | None = None

    @property
    def key(self) -> RecordKey:
        return self.method, self.id, self.sample

    def to_json(self) -> str:
        row = {name: getattr(self, name) for name in PLAIN_FIELDS}
        return json.dumps(row | {"trajectory": self.trajectory.to_dict()}, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Record:
        row = json.loads(line)
        return Record(**row | {"trajectory": Trajectory.from_dict(row["trajectory"])})


PLAIN_FIELDS = [each.name for each in fields(Record) if each.name not in ("trajectory", "judged")]


def read_records(path: Path) -> list[Record]:
    """The finished ones. Raises BadInput for a line that is no record."""
    return parse_lines(path, Record.from_json, "record")


def complete_lines(path: Path) -> list[str]:
    """The file's lines, none where there is no file, without a last one that is not finished. Raises BadInput."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]  # the last one may end inside of a character
    try:
        return whole.decode().split("\n") if whole else []
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no text in UTF-8: {error}") from error


T = TypeVar("T")


def parse_lines(path: Path, read: Callable[[str], T], what: str) -> list[T]:
    """What `read` makes of the file's lines. Raises BadInput for a line that is no such thing."""
    found = []
    for number, line in enumerate(complete_lines(path), 1):
        try:
            found.append(read(line))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise BadInput(f"{path}, line {number} is no {what} ({reason(error)}): mend it or take it out") from error
    return found


def truncate_partial_line(path: Path) -> None:
    """Cuts off a last line that an interruption left unfinished, before more is appended."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
