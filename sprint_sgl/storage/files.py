"""Files that other processes may read, or that a kill may hit: they appear whole, and are known by their content."""

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

RECORDS = "records.jsonl"  # of a benchmark's run, in its folder
PARTIAL = ".partial"  # ends the name of a file that is being written
NAME_LIMIT = 255  # bytes
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # a write failed, by no fault of the one who writes
SPECIAL_FILES = {
    stat.S_IFDIR: "folder",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Write a text file that appears, complete and on disk, when the block ends without an error.

    A link stays a link, and the file that it names is replaced. Raises BadInput for a folder, a device or the like,
    and where the file cannot be written.
    """
    with _replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_bytes(path: Path) -> Iterator[BinaryIO]:
    """Write a file of bytes, such as a picture, as `whole_file` does one of text."""
    with _replacing(path) as partial, partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield the place of a new file beside the one at that path, whose place and permissions it takes in the end."""
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
    """Open a file to append to. Raises BadInput where it cannot be written; what stands there already stays."""
    with _write_errors(path, path), path.open("a", encoding="utf-8") as file:
        yield file


@contextmanager
def _write_errors(path: Path, opened: Path) -> Iterator[None]:
    """Raises BadInput with the path for an error of the file that is open, no other error of the block."""
    try:
        yield
    except OSError as error:
        if error.filename != str(opened) and not (error.filename is None and error.errno in DISK_ERRORS):
            raise
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error


def _stat_writable(path: Path) -> os.stat_result | None:
    """What the file system says of the file at that path; None where there is none yet.

    Raises BadInput for anything else that is there, and for a file that must not be written to.
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
    """Make the folder and those above it. Raises BadInput where that cannot be, with the setting that names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{setting}{folder} cannot be a folder: {error.strerror}") from error


def require_path(text: str, setting: str) -> Path:
    """Return the path that a setting names. Raises BadInput for an empty one, which would be the current folder."""
    if not text.strip():
        raise BadInput(f"{setting} is empty: give a name")
    return Path(text)


def file_digest(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
