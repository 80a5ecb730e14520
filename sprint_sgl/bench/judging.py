"""A judge's verdicts on answers that the rules could not read: asked for once, kept beside the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rich.progress import track

from sprint_sgl.bench.records import Record, RecordKey, parse_lines, truncate_partial_line
from sprint_sgl.console import notes
from sprint_sgl.errors import SprintError
from sprint_sgl.storage.files import open_to_append
from sprint_sgl.tasks.base import Question

VERDICTS = "judged.jsonl"


class AnswerJudge(Protocol):
    """The interface of sprint_sgl.tasks.judge.OpenAIJudge."""

    model: str

    def __call__(self, question: Question, answer: str) -> bool | None: ...


def ask_judge(records: Sequence[Record], by: AnswerJudge, path: Path, concurrency: int = 8) -> None:
    """Ask about the unreadable answers without a verdict of this judge, and append the verdicts to the file.

    Raises RequestFailed if the judge did not answer, after all other verdicts have been written.
    """
    judged = read_verdicts(path, by.model)
    unjudged = [record for record in records if not record.read and record.key not in judged]
    failure: SprintError | None = None
    truncate_partial_line(path)
    with ThreadPoolExecutor(concurrency) as pool, open_to_append(path) as file:
        futures = {pool.submit(_verdict, record, by): record for record in unjudged}
        for future in track(as_completed(futures), "judging", len(futures), console=notes, disable=not futures):
            try:
                file.write(json.dumps({"key": futures[future].key, "right": future.result(), "by": by.model}) + "\n")
                file.flush()
            except SprintError as error:
                failure = failure or error
    if failure:
        raise failure


def _verdict(record: Record, by: AnswerJudge) -> bool | None:
    text = record.trajectory.final_answer or record.trajectory.thought
    return by(Question(record.id, record.question, record.gold), text) if text else False


def read_verdicts(path: Path, by: str | None = None) -> dict[RecordKey, bool | None]:
    """Return each record's last verdict, by the judge with model `by` or by any judge. Empty if there is no file."""
    rows = parse_lines(path, _parse_verdict, "verdict")
    return {key: right for model, key, right in rows if by in (None, model)}


def _parse_verdict(line: str) -> tuple[str, RecordKey, bool | None]:
    row = json.loads(line)
    method, id, sample = row["key"]
    return row["by"], (method, id, sample), row["right"]


def add_verdicts(records: Sequence[Record], path: Path) -> list[Record]:
    """Return the records with the verdicts of the file."""
    verdicts = read_verdicts(path)
    return [replace(record, judged=verdicts.get(record.key)) for record in records]
