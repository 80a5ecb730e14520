"""Files that other processes may read, or that a kill may hit: they appear whole, and are known by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sprint_sgl.errors import BadInput

RECORDS = "records.jsonl"  # of a benchmark's run, in its folder


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Writes a file that appears, complete and on disk, when the block ends without an error.

    Raises BadInput where its folder cannot be made.
    """
    _make(path.parent)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _make(folder: Path, setting: str = "") -> None:
    """Raises BadInput where there can be no such folder, with the setting that names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{setting}{folder} cannot be a folder: {error.strerror}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time in a folder, else BadInput; a run that was killed leaves no lock behind."""
    from filelock import FileLock, Timeout

    _make(folder, "out=")
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise BadInput(f"another run is writing to {folder}: wait for it, or give another out=FOLDER") from None


def file_digest(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
