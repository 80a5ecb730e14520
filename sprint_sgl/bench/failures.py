"""The questions of a benchmark that could not be asked, one JSON line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sprint_sgl.bench.records import Record, RecordKey, parse_lines
from sprint_sgl.storage.files import whole_file

FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class QuestionFailure:
    """A question that a method could not be asked, and the error."""

    method: str
    id: str
    sample: int
    error: str

    @property
    def key(self) -> RecordKey:
        return self.method, self.id, self.sample


def read_failures(path: Path) -> list[QuestionFailure]:
    """Return the failures in a file. Raises BadInput for a line that is not a failure."""
    return parse_lines(path, lambda line: QuestionFailure(**json.loads(line)), "failure")


def drop_answered(failures: Sequence[QuestionFailure], records: Sequence[Record]) -> list[QuestionFailure]:
    """Return the failures without a record: a run that was killed may have answered one and not updated the file."""
    answered = {record.key for record in records}
    return [failure for failure in failures if failure.key not in answered]


def write_failures(path: Path, failures: Sequence[QuestionFailure]) -> None:
    """Write the failures; without any, remove the file."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as file:
        file.writelines(json.dumps(vars(failure)) + "\n" for failure in failures)
