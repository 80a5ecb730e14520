"""Atomic writes: a file appears complete or not at all, also if the process is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from sprint_sgl.errors import BadInput

RECORDS = "records.jsonl"  # in the folder of a benchmark's run
PARTIAL = ".partial"  # suffix of a file that is being written
NAME_LIMIT = 255  # bytes
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # a full or broken disk
SPECIAL_FILES = {
    stat.S_IFDIR: "folder",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Write a text file that appears on disk when the block ends without an error.

    A symbolic link stays, and its target is replaced. Raises BadInput for a folder, a device or the like, and if the
    file cannot be written.
    """
    with _replacement(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_bytes(path: Path) -> Iterator[BinaryIO]:
    """Write a binary file, otherwise as `whole_file`."""
    with _replacement(path) as partial, partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces the file at `path` in the end and keeps its permissions."""
    before = _stat_writable(path)
    target = Path(os.path.realpath(path))
    make_folder(target.parent)
    name = f"{target.name}{PARTIAL}"
    fits = len(os.fsencode(name)) <= NAME_LIMIT
    partial = target.with_name(name if fits else f"{hashlib.sha256(os.fsencode(name)).hexdigest()}{PARTIAL}")
    try:
        with _write_errors(path, partial):
            yield partial
            if before:
                partial.chmod(stat.S_IMODE(before.st_mode))
            partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def open_to_append(path: Path) -> Iterator[TextIO]:
    """Open a text file to append to. Raises BadInput if it cannot be written."""
    with _write_errors(path, path), path.open("a", encoding="utf-8") as file:
        yield file


@contextmanager
def _write_errors(path: Path, opened: Path) -> Iterator[None]:
    """Turn errors of the open file into BadInput with `path`; other errors of the block pass."""
    try:
        yield
    except OSError as error:
        if error.filename != str(opened) and not (error.filename is None and error.errno in DISK_ERRORS):
            raise
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error


def _stat_writable(path: Path) -> os.stat_result | None:
    """Return the status of an existing file, or None if nothing is at the path.

    Raises BadInput for a folder, a device or the like, and for a read-only file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error
    if kind := SPECIAL_FILES.get(stat.S_IFMT(found.st_mode)):
        raise BadInput(f"{path} is a {kind}: give the name of a file")
    if not os.access(path, os.W_OK):
        raise BadInput(f"{path} is read-only: give the name of another file")
    return found


def make_folder(folder: Path, setting: str = "") -> None:
    """Create the folder and its parents. Raises BadInput, with the setting that names the folder, if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{setting}{folder} cannot be a folder: {error.strerror}") from error


def require_path(text: str, setting: str) -> Path:
    """Return the path in a setting. Raises BadInput for an empty text, which would mean the current folder."""
    if not text.strip():
        raise BadInput(f"{setting} is empty: give a name")
    return Path(text)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
