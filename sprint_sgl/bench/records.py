"""The record of each question of a benchmark: one JSON line, written as the question is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Trajectory, error_detail

RecordKey = tuple[str, str, int]


@dataclass(frozen=True)
class Record:
    """One question answered once by one method.

    read     whether the rules found an answer to grade
    judged   a judge's verdict on an answer that the rules could not read; kept in a file of its own (judging.py)
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
    """Return the records in a file. Raises BadInput for a line that is not a record."""
    return parse_lines(path, Record.from_json, "record")


def complete_lines(path: Path) -> list[str]:
    """Return the file's lines without an unfinished last one; [] if there is no file. Raises BadInput."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]  # an unfinished line may end inside a character
    try:
        return whole.decode().split("\n") if whole else []
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error}") from error


T = TypeVar("T")


def parse_lines(path: Path, parse: Callable[[str], T], what: str) -> list[T]:
    """Return the file's lines, each parsed. Raises BadInput, which names `what` was expected, for a malformed line."""
    parsed = []
    for number, line in enumerate(complete_lines(path), 1):
        try:
            parsed.append(parse(line))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            message = f"{path}, line {number} is not a {what} ({error_detail(error)}): repair or remove it"
            raise BadInput(message) from error
    return parsed


def truncate_partial_line(path: Path) -> None:
    """Remove an unfinished last line, which an interrupted run leaves, before more is appended."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
