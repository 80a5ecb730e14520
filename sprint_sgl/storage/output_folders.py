"""Output folders: every command accepts a new folder, an empty folder, or the folder of its own earlier run.

A run is recognised by a file that it writes first. A folder with any other files is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.checkpoints import MODEL_NOTES
from sprint_sgl.storage.files import PARTIAL, make_folder, require_path, whole_file
from sprint_sgl.storage.provenance import git_commit, package_versions

RUN_FILE = "run.json"
LOCK = ".lock"
READ_LIMIT = 2**16  # characters read of a file that may be large
NAMES_SHOWN = 3  # of the files in a refused folder
PACKAGES = ("sprint-sgl", "torch", "transformers")


@dataclass(frozen=True)
class RunMark:
    """A file by which the folder of a run is recognised.

    name    of the file, perhaps with stars
    key     a key of its JSON object, or how a line of its text begins
    value   of the key, if several commands write such a file
    """

    name: str
    key: str = ""
    value: str | None = None

    def is_in(self, folder: Path) -> bool:
        return any(map(self._matches, folder.glob(self.name)))

    def _matches(self, file: Path) -> bool:
        try:
            if file.suffix != ".json":
                with file.open(errors="replace") as lines:
                    return f"\n{self.key}" in f"\n{lines.read(READ_LIMIT)}"
            found = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError):
            return False
        has = isinstance(found, dict) and (self.key in found or not self.key)
        return has and self.value in (None, found.get(self.key))


@dataclass(frozen=True)
class FolderKind:
    """The output folders of one command.

    marks     each is enough to recognise a run
    setting   how the command line names the folder
    without   a file that only another command with the same mark writes
    """

    command: str
    marks: tuple[RunMark, ...]
    setting: str = "out="
    without: str = ""

    def is_in(self, folder: Path) -> bool:
        if self.without and (folder / self.without).exists():
            return False
        return any(mark.is_in(folder) for mark in self.marks)


def kind_with_run_file(command: str, setting: str = "out=") -> FolderKind:
    """Return the kind of folder of a command whose runs call `begin_run`."""
    return FolderKind(command, (RunMark(RUN_FILE, "command", command),), setting)


# The folder of a sweep or of shards holds the folders of its jobs, and perhaps Hydra's settings.
BENCH = FolderKind(
    "sprint-sgl bench",
    (RunMark(RUN_FILE, "methods"), RunMark(f"*=*/{RUN_FILE}", "methods"), RunMark("multirun.yaml", "against:")),
)
CURATION = FolderKind(
    "sprint-sgl curate",
    (
        RunMark("account.json", "lines"),
        RunMark("shard-*-of-*/account.json", "lines"),
        RunMark("multirun.yaml", "teacher:"),
    ),
)
TRAINING = FolderKind("sprint-sgl train", (RunMark(RUN_FILE, "weights"), RunMark("rl.json", "rounds")))
EXPERIMENT = FolderKind("sprint-sgl experiment", (RunMark("steps.json", "steps"),))
REPORT = FolderKind("sprint-sgl report", (RunMark("report.csv", "task,name,"),), "--out ")
EXPORT = FolderKind("training.export", (RunMark(MODEL_NOTES),), without=RUN_FILE)
MINI = kind_with_run_file("training.mini")
COUNTDOWN_ROWS = kind_with_run_file("curation.countdown.rows")
SELF_TRAINING = FolderKind("curation.self_training", (RunMark("account.json", "questions"),))
REPLIES = FolderKind(
    "sprint-sgl curate's teacher", (RunMark("cache.db", "SQLite format 3"), RunMark("batches.lock")), "teacher.cache="
)
KINDS = (BENCH, CURATION, REPLIES, TRAINING, EXPERIMENT, REPORT, EXPORT, MINI, COUNTDOWN_ROWS, SELF_TRAINING)


def output_folder(out: str | Path, kind: FolderKind) -> Path:
    """Return the folder, created if missing.

    Raises BadInput if the name is empty, the folder is not writable, or it holds anything but a run of the command.
    """
    folder = require_path(str(out), kind.setting.strip())
    make_folder(folder, kind.setting)
    try:
        names = sorted(path.name for path in folder.iterdir())
        if _holds_files(folder):
            _refuse_foreign(folder, kind, names)
    except OSError as error:
        raise BadInput(f"{kind.setting}{folder} cannot be read: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{kind.setting}{folder} cannot be written to: give another folder")
    return folder


def _holds_files(folder: Path) -> bool:
    """Return whether there is a file at any depth, apart from locks and partial files of a run that just began."""
    return any(
        path.name != LOCK and path.suffix != PARTIAL and (path.is_symlink() or not path.is_dir())
        for path in folder.rglob("*")
    )


def _refuse_foreign(folder: Path, kind: FolderKind, names: list[str]) -> None:
    if kind.is_in(folder):
        return
    if other := next((each for each in KINDS if each.is_in(folder)), None):
        raise BadInput(f"{kind.setting}{folder} holds a run of {other.command}: give a new or an empty folder")
    some = ", ".join(names[:NAMES_SHOWN] + ["..."] * (len(names) > NAMES_SHOWN))
    raise BadInput(f"{kind.setting}{folder} holds {some} and no run of {kind.command}: give a new or an empty folder")


@contextmanager
def locked_folder(out: str | Path, kind: FolderKind) -> Iterator[Path]:
    """Yield the output folder, locked. Raises BadInput if another run holds it; a killed run leaves no lock."""
    from filelock import FileLock, Timeout

    folder = output_folder(out, kind)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(
            f"another run is writing to {folder}: wait for it, or give another {kind.setting}FOLDER"
        ) from None
    except OSError as error:
        raise BadInput(f"{kind.setting}{folder} cannot be written to: {error.strerror}") from error
    try:
        yield folder
    finally:
        lock.release()


def begin_run(out: str | Path, kind: FolderKind, settings: Mapping[str, Any]) -> Path:
    """Return the output folder with a run.json: command, settings, versions, commit."""
    folder = output_folder(out, kind)
    made_by = {
        "command": kind.command,
        "settings": settings,
        "versions": package_versions(PACKAGES),
        "commit": git_commit(),
    }
    with whole_file(folder / RUN_FILE) as file:
        json.dump(made_by, file, indent=2, default=_json_value)
    return folder


def _json_value(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value)
