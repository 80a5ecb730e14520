"""Output folders, one rule for every command: a new folder, an empty one, or the folder of an earlier run of the same.

A run is recognised by a file that it writes before any other. Whatever else a folder holds belongs to somebody, and
nothing is written there.
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
from sprint_sgl.storage.files import PARTIAL, given_path, make_folder, whole_file
from sprint_sgl.storage.provenance import commit, versions

RUN = "run.json"
LOCK = ".lock"
MOST_READ = 2**16  # characters of a file that may be large
NAMED = 3  # of the files in a folder that is refused
PACKAGES = ("sprint-sgl", "torch", "transformers")


@dataclass(frozen=True)
class Mark:
    """A file in the folder of a run: a JSON object with that key, or a text with a line that begins so.

    Names may have stars.
    """

    name: str
    key: str = ""
    value: str | None = None  # of the key, where several commands write it

    def is_in(self, folder: Path) -> bool:
        return any(map(self._marks, folder.glob(self.name)))

    def _marks(self, file: Path) -> bool:
        try:
            if file.suffix != ".json":
                with file.open(errors="replace") as lines:
                    return f"\n{self.key}" in f"\n{lines.read(MOST_READ)}"
            found = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError):
            return False
        has = isinstance(found, dict) and (self.key in found or not self.key)
        return has and self.value in (None, found.get(self.key))


@dataclass(frozen=True)
class Kind:
    """The folders of one command: its name, any of the marks that its runs leave, and the setting that names a folder.

    `without` is a file that tells a run of another command, which leaves the same mark.
    """

    command: str
    marks: tuple[Mark, ...]
    setting: str = "out="
    without: str = ""

    def is_in(self, folder: Path) -> bool:
        if self.without and (folder / self.without).exists():
            return False
        return any(mark.is_in(folder) for mark in self.marks)


def begun_by(command: str, setting: str = "out=") -> Kind:
    """The folders of a command whose runs `begin`."""
    return Kind(command, (Mark(RUN, "command", command),), setting)


# Those of a sweep or of shards hold the folders of its jobs, and what Hydra keeps of the settings.
BENCH = Kind(
    "sprint-sgl bench", (Mark(RUN, "methods"), Mark(f"*=*/{RUN}", "methods"), Mark("multirun.yaml", "against:"))
)
CURATION = Kind(
    "sprint-sgl curate",
    (Mark("account.json", "lines"), Mark("shard-*-of-*/account.json", "lines"), Mark("multirun.yaml", "teacher:")),
)
TRAINING = Kind("sprint-sgl train", (Mark(RUN, "weights"),))
EXPERIMENT = Kind("sprint-sgl experiment", (Mark("steps.json", "steps"),))
REPORT = Kind("sprint-sgl report", (Mark("report.csv", "task,name,"),), "--out ")
EXPORT = Kind("training.export", (Mark(MODEL_NOTES),), without=RUN)
MINI = begun_by("training.mini")
COUNTDOWN_ROWS = begun_by("curation.countdown.rows")
SELF_TRAINING = Kind("curation.self_training", (Mark("account.json", "questions"),))
REPLIES = Kind(
    "sprint-sgl curate's teacher", (Mark("cache.db", "SQLite format 3"), Mark("batches.lock")), "teacher.cache="
)
KINDS = (BENCH, CURATION, REPLIES, TRAINING, EXPERIMENT, REPORT, EXPORT, MINI, COUNTDOWN_ROWS, SELF_TRAINING)


def output_folder(out: str | Path, kind: Kind) -> Path:
    """Return the folder, made if it was not there.

    Raises BadInput for one that has no name, cannot be written to, or holds anything but a run of that command.
    """
    folder = given_path(str(out), kind.setting.strip())
    make_folder(folder, kind.setting)
    try:
        names = sorted(path.name for path in folder.iterdir())
        if _holds_files(folder):
            _check_own(folder, kind, names)
    except OSError as error:
        raise BadInput(f"{kind.setting}{folder} cannot be read: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{kind.setting}{folder} cannot be written to: give another folder")
    return folder


def _holds_files(folder: Path) -> bool:
    """Whether there is a file at any depth, but for what a run leaves that has hardly begun."""
    return any(
        path.name != LOCK and path.suffix != PARTIAL and (path.is_symlink() or not path.is_dir())
        for path in folder.rglob("*")
    )


def _check_own(folder: Path, kind: Kind, names: list[str]) -> None:
    if kind.is_in(folder):
        return
    if other := next((each for each in KINDS if each.is_in(folder)), None):
        raise BadInput(f"{kind.setting}{folder} holds a run of {other.command}: give a new or an empty folder")
    some = ", ".join(names[:NAMED] + ["..."] * (len(names) > NAMED))
    raise BadInput(f"{kind.setting}{folder} holds {some} and no run of {kind.command}: give a new or an empty folder")


@contextmanager
def alone(out: str | Path, kind: Kind) -> Iterator[Path]:
    """The output folder for one run at a time, else BadInput; a run that was killed leaves no lock behind."""
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


def begin(out: str | Path, kind: Kind, settings: Mapping[str, Any]) -> Path:
    """Return the output folder with a run.json that says what the run is made by."""
    folder = output_folder(out, kind)
    made_by = {"command": kind.command, "settings": settings, "versions": versions(PACKAGES), "commit": commit()}
    with whole_file(folder / RUN) as file:
        json.dump(made_by, file, indent=2, default=_plain)
    return folder


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value)
