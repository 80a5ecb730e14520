"""Files of JSON lines that belong to no stage: training rows, traces and benchmark records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import whole_file


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the object of each line. Raises BadInput with the file and line of anything else."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield _parse_object(line, f"{path}:{number}")


def _parse_object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{place} is not a JSON object")
    return value


def to_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a line for each row and return their number. The file appears when it is complete."""
    count = 0
    with whole_file(path) as file:
        for row in rows:
            file.write(to_line(row))
            count += 1
    return count
