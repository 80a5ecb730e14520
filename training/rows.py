"""Training rows as they lie in a file: one user's and one assistant's message, the context and what is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sprint_sgl.errors import BadInput
from sprint_sgl.rows import Row

ROLES = ["user", "assistant"]
WANTED = "rows are one JSON object a line; dataset=FOLDER/NAME names NAME.train.jsonl and NAME.valid.jsonl"


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises BadInput, with the line's number, for what ms-swift would stumble over."""
    if not path.is_file():
        raise BadInput(f"{path} is not there: {WANTED}")
    count = 0
    with path.open("rb") as file:
        for count, line in enumerate(file, 1):
            yield _checked(line, f"{path}, line {count}")
    if not count:
        raise BadInput(f"{path} is empty: {WANTED}")


@contextmanager
def naming_line(path: Path, number: int) -> Iterator[None]:
    """Put the file and the line before what a BadInput says that is raised within."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}, line {number}: {error}") from None


def _checked(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode())
        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is JSON and no text
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON in UTF-8 ({error})") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        raise BadInput(f"{where}: no column 'messages'; rows are {{'messages': [a user's, an assistant's]}}")
    if [message.get("role") if isinstance(message, dict) else None for message in messages] != ROLES:
        raise BadInput(f"{where}: 'messages' must be one user's and one assistant's, in this order")
    if not all(isinstance(message.get("content"), str) and message["content"] for message in messages):
        raise BadInput(f"{where}: a message has no text")
    if others := sorted({key for message in messages for key in message} - {"role", "content"}):
        raise BadInput(
            f"{where}: a message has {others[0]!r} beside role and content, which would change what is trained"
        )
    return dict(row)
