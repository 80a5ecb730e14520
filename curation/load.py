"""Stage 1: rows of a data set become thoughts, with the columns named in the config (paper, section 4: MATH train).

A hub name goes to Hugging Face `datasets`, streamed; a path that ends in .jsonl, .json or .parquet is read from
this disk. A column is a path into the row: `problem`, `messages.-1.content`, or with a star `generations.*`, which
makes one thought of every item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.stages import Record, Rejection
from sprint_sgl.errors import BadInput

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
THOUGHTS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
SOLUTION_TAGS = ("<|begin_of_solution|>", "<|end_of_solution|>")


@dataclass
class Columns:
    """Where a row keeps what; `id` may be missing, then the id is a hash of question and response."""

    question: str = "question"
    response: str = "response"
    answer: str = "answer"
    id: str | None = None


@dataclass
class Source:
    """What is read.

    path     hub name, or a .jsonl, .json or .parquet file
    name     configuration of a hub data set
    where    column path -> the value that a row must have there
    limit    rows at most, after `where`
    """

    path: str = "???"
    name: str | None = None
    split: str = "train"
    columns: Columns = field(default_factory=Columns)
    where: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None


def rows(source: Source) -> Iterator[Mapping[str, Any]]:
    """The source's rows, streamed. Raises BadInput for a file that is not there or a data set that does not open."""
    path = Path(source.path)
    if path.suffix not in FORMATS:
        return _hub_rows(source)
    if not path.is_file():
        raise BadInput(f"{path} is not there: source.path=FILE names a .jsonl or .parquet file, or a hub data set")
    return _file_rows(path)


def _file_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    if not path.stat().st_size:
        raise BadInput(f"{path} is empty")
    try:
        yield from load_dataset(FORMATS[path.suffix], data_files=str(path), split="train", streaming=True)
    except (DatasetGenerationError, ValueError) as error:
        raise BadInput(f"{path} does not read as {path.suffix}: {_first_line(error)}") from error


def _hub_rows(source: Source) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield from load_dataset(source.path, source.name, split=source.split, streaming=True)
    except (DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
        raise BadInput(
            f"data set {source.path!r} ({source.name or 'default'}, {source.split}): {_first_line(error)}; "
            "a local file ends in .jsonl or .parquet"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def thoughts(source: Source, shard: int = 0, shards: int = 1) -> Iterator[Record | Rejection]:
    """One record a response, in the source's order, those of one shard; what cannot be read is a rejection.

    Raises BadInput where a column is missing from the first row: the mapping is wrong, not the row.
    """
    index, seen = -1, set[str]()
    for number, row in enumerate(chosen_rows(source)):
        if number == 0:
            _check_columns(row, source.columns)
        for response in values(row, source.columns.response):
            index += 1
            record = _record(row, response, index, source)
            if int(_digest(record["id"])[:8], 16) % shards != shard:
                continue
            if problem := _problem(record, seen):
                yield Rejection(record["id"], index, "load", problem)
            else:
                seen.add(record["id"])
                yield record


def chosen_rows(source: Source) -> Iterator[Mapping[str, Any]]:
    """The rows that `where` chooses, up to `limit`. Raises BadInput as `rows` does."""
    left = source.limit
    for row in rows(source):
        if left == 0:
            return
        if all(list(values(row, path)) == [value] for path, value in source.where.items()):
            yield row
            left = None if left is None else left - 1


def _record(row: Mapping[str, Any], response: object, index: int, source: Source) -> Record:
    columns = source.columns
    question, answer = (next(values(row, path), "") for path in (columns.question, columns.answer))
    text, solution = split_response(str(response or ""))
    named = next(values(row, columns.id), None) if columns.id else None
    id = _digest(f"{question}\n{text}")[:16] if named is None else str(named)
    if columns.id and "*" in columns.response:
        id = f"{id}-{_digest(text)[:6]}"
    return {
        "id": id,
        "index": index,
        "question": str(question or "").strip(),
        "text": text,
        "response": solution,
        "answer": str(answer if answer is not None else "").strip(),
        "source": source.path,
    }


def split_response(response: str) -> tuple[str, str]:
    """A response as the thought and what follows it; without marks all of it is the thought."""
    for opening, closing in THOUGHTS:
        if closing in response:
            thought, _, rest = response.partition(closing)
            thought = thought.partition(opening)[2] if opening in thought else thought
            for tag in SOLUTION_TAGS:
                rest = rest.replace(tag, "")
            return thought.strip(), rest.strip()
    for opening, _ in THOUGHTS:
        response = response.removeprefix(opening)
    return response.strip(), ""


def _problem(record: Record, seen: set[str]) -> str | None:
    for field_name, name in (("question", "question"), ("text", "thought"), ("answer", "reference answer")):
        if not record[field_name]:
            return f"no {name}"
    return "seen before" if record["id"] in seen else None


def _check_columns(row: Mapping[str, Any], columns: Columns) -> None:
    for role in ("question", "response", "answer", "id"):
        path = getattr(columns, role)
        if path and path.partition(".")[0] not in row:
            raise BadInput(f"no column {path!r} for source.columns.{role}; the rows have {', '.join(sorted(row))}")


def values(row: object, path: str) -> Iterator[Any]:
    """What stands at a path such as `conversations.-1.value`; every item for a star; nothing where it ends early."""
    head, _, rest = path.partition(".")
    for item in _at(row, head):
        if rest:
            yield from values(item, rest)
        else:
            yield item


def _at(value: object, key: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if key in value:
            yield value[key]
    elif isinstance(value, list | tuple):
        if key == "*":
            yield from value
        elif key.lstrip("-").isdigit() and -len(value) <= int(key) < len(value):
            yield value[int(key)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
