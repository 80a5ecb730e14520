"""Files of training rows: one JSON object a line, with a user message (context) and an assistant message (trained)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.training_rows import Row, row_text, tree_format

ROLES = ["user", "assistant"]
EXPECTED = (
    "a file has one JSON object a line; dataset=FOLDER/NAME reads NAME.train.jsonl and NAME.valid.jsonl, "
    "dataset=FILE.jsonl that file alone"
)
SAMPLE = 100  # rows by which the kind of a file is told


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file. Raise BadInput, with file and line, for a row that ms-swift could not train on."""
    if not path.is_file():
        raise BadInput(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}: {EXPECTED}")
    count = 0
    with path.open("rb") as file:
        for count, line in enumerate(file, 1):
            yield _parse_row(line, f"{path}, line {count}")
    if not count:
        raise BadInput(f"{path} is empty: {EXPECTED}")


def rows_kind(path: Path) -> str | None:
    """Return which rows a file begins with: the format of rows that plan, or "rft"; None if it has several."""
    kinds = {_row_kind(row) for row in islice(read_rows(path), SAMPLE)}
    return kinds.pop() if len(kinds) == 1 else None


def _row_kind(row: Row) -> str:
    text = row_text(row)
    written = (name for name, each in protocol.FORMATS.items() if each.open_plan(1).strip() in text)
    return tree_format(row) or next(written, "rft")


@contextmanager
def locate_errors(path: Path, number: int) -> Iterator[None]:
    """Prefix the message of a BadInput raised inside the block with file and line."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}, line {number}: {error}") from None


def _parse_row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode())
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate is valid JSON and cannot be encoded
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON in UTF-8 ({error})") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        raise BadInput(f"{where}: no list 'messages'; a row is {{'messages': [user message, assistant message]}}")
    if [message.get("role") if isinstance(message, dict) else None for message in messages] != ROLES:
        raise BadInput(f"{where}: 'messages' must be a user message and an assistant message, in this order")
    if not all(isinstance(message.get("content"), str) and message["content"] for message in messages):
        raise BadInput(f"{where}: a message has no text")
    if others := sorted({key for message in messages for key in message} - {"role", "content"}):
        raise BadInput(
            f"{where}: a message has the key {others[0]!r} beside role and content, which may change what is trained"
        )
    return dict(row)
