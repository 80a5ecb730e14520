"""Stage 1: rows of a data set become raw traces, by the columns named in the config (paper, section 4: MATH train).

sprint_sgl/tasks/datasets.py reads the rows. A response column with a star gives one trace for every item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from curation.records import RawTrace, Rejection
from curation.stages.responses import (
    ASSISTANT,
    USER,
    UnreadableText,
    find_special_token,
    split_response,
    strip_special_tokens,
    text_of,
)
from curation.teacher.calls import clean
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import DataSource, select_rows, values_at

REQUIRED = {"question": "question", "text": "thought", "answer": "reference answer"}
FIELDS = {**REQUIRED, "response": "response"}


@dataclass
class TraceColumns:
    """The names of a row's columns; a column inside of another is given as outer.inner.

    question    the question
    response    the thought and what follows it, or messages
    answer      the right answer
    id          of the trace, by default a hash of question and response; equal ids get different suffixes
    """

    question: str = "question"
    response: str = "response"
    answer: str = "answer"
    id: str | None = None


@dataclass
class TraceSource(DataSource):
    """Where the traces are read from."""

    columns: TraceColumns = field(default_factory=TraceColumns)


def load_traces(source: TraceSource, shard: int = 0, shards: int = 1) -> Iterator[RawTrace | Rejection]:
    """Yield a trace or a rejection for each response of one shard, in the source's order.

    Raises BadInput if the first row lacks a column or a column is empty in all rows: then the mapping is wrong.
    """
    index, contents = -1, dict[str, str]()  # the digest of question and thought by id
    missing = {path for path in vars(source.columns).values() if path}
    for row in select_rows(source, asdict(source.columns), "source.columns"):
        missing -= {path for path in missing if any(True for _ in values_at(row, path))}
        for response in [*values_at(row, source.columns.response)] or [""]:
            index += 1
            trace, unreadable = _raw_trace(row, response, index, source)
            content = _digest(f"{trace.question}\n{trace.text}")
            if contents.get(trace.id, content) != content:  # another trace with the same id
                trace = replace(trace, id=f"{trace.id}-{content[:6]}")
            problem = unreadable or _problem(trace, contents)
            if not problem:
                contents[trace.id] = content
            if int(_digest(trace.id)[:8], 16) % shards == shard:
                yield trace.reject("load", problem) if problem else trace
    if index < 0:
        raise BadInput(f"{source.path} has no row" + (f" where {source.where}" if source.where else ""))
    if missing:
        raise BadInput(f"no row of {source.path} has {min(missing)!r}: check source.columns")


def _raw_trace(
    row: Mapping[str, Any], response: object, index: int, source: TraceSource
) -> tuple[RawTrace, str | None]:
    """Return the trace of a response, and why its texts cannot be read; None if they can."""
    columns = source.columns
    question, answer = (next(values_at(row, path), None) for path in (columns.question, columns.answer))
    texts, unreadable = {"question": "", "text": "", "response": "", "answer": ""}, None
    try:
        texts["question"] = strip_special_tokens(text_of(question, "question", USER))
        texts["text"], texts["response"] = split_response(text_of(response, "response", ASSISTANT))
        texts["answer"] = text_of(answer, "reference answer").strip()
    except UnreadableText as error:
        unreadable = str(error)
    content = f"{texts['question']}\n{texts['text'] or response}"
    named = next(values_at(row, columns.id), None) if columns.id else None
    id = _digest(content)[:16] if named is None else str(named)
    if columns.id and "*" in columns.response:
        id = f"{id}-{_digest(texts['text'])[:6]}"
    return RawTrace(clean(id), index, **texts, source=source.path), unreadable


def _problem(trace: RawTrace, seen: Container[str]) -> str | None:
    """Return why the trace cannot be used, None if it can."""
    if missing := next((name for field_name, name in REQUIRED.items() if not getattr(trace, field_name)), None):
        return f"no {missing}"
    for field_name, name in FIELDS.items():
        text = getattr(trace, field_name)
        if clean(text) != text:
            return f"half a pair of surrogates in the {name}"
        if find_special_token(text):
            return f"a special token in the {name}"
    return "seen before" if trace.id in seen else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
