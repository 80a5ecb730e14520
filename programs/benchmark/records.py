"""What a benchmark keeps of each question: one JSON line, written as the question is finished."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from sprint_sgl.trajectory import Trajectory

RECORDS = "records.jsonl"
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Record:
    """One question answered once by one method.

    read     whether the rules found an answer to grade
    judged   a judge's verdict on an answer that they did not find; its file is that of programs/benchmark/judging.py
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
    def key(self) -> Key:
        return self.method, self.id, self.sample

    def to_json(self) -> str:
        row = {name: getattr(self, name) for name in PLAIN}
        return json.dumps(row | {"trajectory": self.trajectory.to_dict()}, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Record:
        row = json.loads(line)
        return Record(**row | {"trajectory": Trajectory.from_dict(row["trajectory"])})


PLAIN = [each.name for each in fields(Record) if each.name not in ("trajectory", "judged")]


def read_records(path: Path) -> list[Record]:
    """The finished ones."""
    return [Record.from_json(line) for line in whole_lines(path)]


def whole_lines(path: Path) -> list[str]:
    """The file's lines, none where there is no file; a last one that an interruption cut off is dropped from it."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines := lines[:-1]))
    return lines
