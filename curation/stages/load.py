"""Stage 1: rows of a data set become thoughts, with the columns named in the config (paper, section 4: MATH train).

Where rows come from is sprint_sgl/tasks/datasets.py's. A response column with a star makes one thought of every item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from curation.stages.base import Record, Rejection
from curation.stages.responses import (
    ASSISTANT,
    USER,
    Unreadable,
    special_token,
    split_response,
    text_of,
    without_special,
)
from curation.teacher.calls import clean
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import DataSource, select_rows, values_at

NEEDED = {"question": "question", "text": "thought", "answer": "reference answer"}
NAMES = {**NEEDED, "response": "response"}


@dataclass
class Columns:
    """Where a row keeps what; `id` may be missing, then the id is a hash of question and response.

    Two traces under one id are told apart by what is in them.
    """

    question: str = "question"
    response: str = "response"
    answer: str = "answer"
    id: str | None = None


@dataclass
class Source(DataSource):
    columns: Columns = field(default_factory=Columns)


def thoughts(source: Source, shard: int = 0, shards: int = 1) -> Iterator[Record | Rejection]:
    """One record a response, in the source's order, those of one shard; what cannot be read is a rejection.

    Raises BadInput where the first row has no such column, or no row has anything there: the mapping is wrong, not the
    row.
    """
    index, seen = -1, dict[str, str]()
    missing = {path for path in vars(source.columns).values() if path}
    for row in select_rows(source, asdict(source.columns), "source.columns"):
        missing -= {path for path in missing if any(True for _ in values_at(row, path))}
        for response in [*values_at(row, source.columns.response)] or [""]:
            index += 1
            record, unreadable = _record(row, response, index, source)
            content = _digest(f"{record['question']}\n{record['text']}")
            if seen.get(record["id"], content) != content:  # another trace under the same id
                record["id"] = f"{record['id']}-{content[:6]}"
            if problem := unreadable or _problem(record, seen):
                outcome: Record | Rejection = Rejection(record["id"], index, "load", problem)
            else:
                seen[record["id"]], outcome = content, record
            if int(_digest(record["id"])[:8], 16) % shards == shard:
                yield outcome
    if index < 0:
        raise BadInput(f"{source.path} has no row" + (f" where {source.where}" if source.where else ""))
    if missing:
        raise BadInput(f"no row of {source.path} has {min(missing)!r}: look at source.columns")


def _record(row: Mapping[str, Any], response: object, index: int, source: Source) -> tuple[Record, str | None]:
    """The record of a response, and why it cannot be used."""
    columns = source.columns
    question, answer = (next(values_at(row, path), None) for path in (columns.question, columns.answer))
    texts, unreadable = {"question": "", "text": "", "response": "", "answer": ""}, None
    try:
        texts["question"] = without_special(text_of(question, "question", USER))
        texts["text"], texts["response"] = split_response(text_of(response, "response", ASSISTANT))
        texts["answer"] = text_of(answer, "reference answer").strip()
    except Unreadable as error:
        unreadable = str(error)
    content = f"{texts['question']}\n{texts['text'] or response}"
    named = next(values_at(row, columns.id), None) if columns.id else None
    id = _digest(content)[:16] if named is None else str(named)
    if columns.id and "*" in columns.response:
        id = f"{id}-{_digest(texts['text'])[:6]}"
    return {"id": clean(id), "index": index, **texts, "source": source.path}, unreadable


def _problem(record: Record, seen: Container[str]) -> str | None:
    if missing := next((name for field_name, name in NEEDED.items() if not record[field_name]), None):
        return f"no {missing}"
    for field_name, name in NAMES.items():
        if clean(record[field_name]) != record[field_name]:
            return f"half a pair of surrogates in the {name}"
        if special_token(record[field_name]):
            return f"a special token in the {name}"
    return "seen before" if record["id"] in seen else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
