"""Rows of a data set on the Hugging Face hub (streamed) or in a local file.

A column is a path into the row: `problem`, `messages.-1.content`, or `generations.*` for every item of a list.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sprint_sgl.console import say, wait_notice
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import RECORDS

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass
class DataSource:
    """Which rows to read.

    path     hub name, a .jsonl, .json, .parquet or .csv file, or the folder of a benchmark's run
    name     configuration of a hub data set
    split    of a hub data set
    where    values that columns must have, as {COLUMN: VALUE}; 17 is also the text "17"
    limit    maximum number of rows, after `where`
    """

    path: str = "???"
    name: str | None = None
    split: str = "train"
    where: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None

    @property
    def file(self) -> Path | None:
        """The local file, or None for a hub data set."""
        path = Path(self.path)
        if (run := path / RECORDS).is_file():
            return run
        return path if path.suffix in FORMATS else None


def read_rows(source: DataSource) -> Iterator[Mapping[str, Any]]:
    """Yield the source's rows. Raises BadInput for a missing file or a data set that does not open."""
    path = source.file
    if path is None:
        if source.path and Path(source.path).is_dir():  # `datasets` reads a copy of a hub data set as the data set
            say(f"path={source.path} is a folder: it is read as a data set of the hub")
            return _hub_rows(source)
        # A hub name is NAME or ORG/NAME; a NAME with a suffix is a file of an unknown kind.
        if not source.path or source.path.count("/") > 1 or ("/" not in source.path and Path(source.path).suffix):
            raise BadInput(f"path={source.path!r} is neither a .jsonl, .json, .parquet or .csv file nor a hub name")
        return _hub_rows(source)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise BadInput(f"{path} {what}: path=FILE names a .jsonl, .json, .parquet or .csv file, or a hub data set")
    return _file_rows(path)


def _file_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.stat().st_size:
        raise BadInput(f"{path} is empty")
    if path.suffix != ".parquet":
        with path.open("rb") as file:
            if b"\0" in (start := file.read(200)) or start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise BadInput(f"{path} is not in UTF-8, but as it seems in UTF-16: save it in UTF-8")
    yield from READERS.get(path.suffix, _table_rows)(path)


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read JSON lines without `datasets`, which wants one type a column and rejects Python's escaped emoji."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.removeprefix(codecs.BOM_UTF8)) if line.strip() else None
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path}, line {number}: not JSON in UTF-8: {_first_line(error)}") from error
            if isinstance(row, dict):
                yield row
            elif line.strip():
                raise BadInput(f"{path}, line {number}: a row is a JSON object, with its columns as keys")


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read CSV with every cell as text: 007 stays 007, and NA is a text."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                if None in row or None in row.values():
                    cells = "more" if None in row else "fewer"
                    raise BadInput(f"{path}, line {rows.line_num}: {cells} cells than there are columns")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{path}, line {rows.line_num}: not CSV in UTF-8: {_first_line(error)}") from error


def _table_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        yield from load_dataset(FORMATS[path.suffix], data_files=str(path), split="train", streaming=True)
    except (DatasetGenerationError, ValueError, TypeError) as error:  # TypeError: a line is not an object
        raise BadInput(f"{path} does not read as {path.suffix}: {_first_line(error)}") from error


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read a file that is a list of objects, one object, or JSON lines: `datasets` crashes on a bare null."""
    try:
        whole = json.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except json.JSONDecodeError:
        yield from _json_lines(path)
        return
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON in UTF-8: {_first_line(error)}") from error
    rows = whole if isinstance(whole, list) else [whole]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}, item {number}: a row is a JSON object, with its columns as keys")
        yield row


READERS = {".jsonl": _json_lines, ".json": _json_rows, ".csv": _csv_rows}


def _hub_rows(source: DataSource) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it says each of its retries
    try:
        with wait_notice(f"asking the hub for {source.path}"):
            rows = load_dataset(source.path, source.name, split=source.split, streaming=True)
        yield from rows
    except (DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
        raise BadInput(
            f"data set {source.path!r} ({source.name or 'default'}, {source.split}): {_first_line(error)}; "
            "name a local file, which ends in .jsonl, .json, .parquet or .csv"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _is_value(found: list[Any], value: object) -> bool:
    return found == [value] or list(map(str, found)) == [str(value)]


def select_rows(
    source: DataSource, columns: Mapping[str, str | None] | None = None, key: str = "columns"
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows that match `where`, up to `limit`. Raises BadInput as `read_rows` does.

    columns   role -> column, from the config's `key`; BadInput if the first row lacks one
    """
    left, unchecked = source.limit, columns or {}
    for row in read_rows(source):
        if left == 0:
            return
        if all(_is_value([*values_at(row, path)], value) for path, value in source.where.items()):
            _check_columns(row, unchecked, key)
            unchecked = {}
            yield row
            left = None if left is None else left - 1


def values_at(row: object, path: str) -> Iterator[Any]:
    """Yield the values at a path such as `conversations.-1.value`; a star stands for every item of a list."""
    head, _, rest = path.partition(".")
    for item in _children(row, head):
        if rest:
            yield from values_at(item, rest)
        else:
            yield item


def _check_columns(row: Mapping[str, Any], columns: Mapping[str, str | None], key: str) -> None:
    for role, path in columns.items():
        if path and path.partition(".")[0] not in row:
            raise BadInput(f"no column {path!r} for {key}.{role}; the rows have {', '.join(sorted(row))}")


def _children(value: object, key: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if key in value:
            yield value[key]
    elif isinstance(value, list | tuple):
        if key == "*":
            yield from value
        elif key.lstrip("-").isdigit() and -len(value) <= int(key) < len(value):
            yield value[int(key)]
