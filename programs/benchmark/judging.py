"""A judge's verdicts on answers that the rules could not read: asked once, kept beside the records, reported apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from programs.benchmark.records import Key, Record, whole_lines
from sprint_sgl.tasks.task import Question

VERDICTS = "judged.jsonl"
Judge = Callable[[Question, str], bool | None]


def judge(records: Sequence[Record], by: Judge, path: Path, concurrency: int = 8) -> None:
    """Asks about what has no verdict yet. Raises RequestFailed where the judge does not answer; the rest is kept."""
    known = read_verdicts(path)
    asked = [record for record in records if not record.read and record.key not in known]
    with ThreadPoolExecutor(concurrency) as pool, path.open("a") as file:
        for record, verdict in zip(asked, pool.map(lambda each: _verdict(each, by), asked), strict=True):
            file.write(json.dumps({"key": record.key, "right": verdict}) + "\n")
            file.flush()


def _verdict(record: Record, by: Judge) -> bool | None:
    text = record.trajectory.final_answer or record.trajectory.thought
    return by(Question(record.id, record.question, record.gold), text) if text else False


def read_verdicts(path: Path) -> dict[Key, bool | None]:
    """By record; nothing where no judge was asked."""
    rows = map(json.loads, whole_lines(path))
    return {(row["key"][0], row["key"][1], row["key"][2]): row["right"] for row in rows}


def judged(records: Sequence[Record], path: Path) -> list[Record]:
    """The records with the verdicts that there are."""
    known = read_verdicts(path)
    return [replace(record, judged=known.get(record.key)) for record in records]
