"""Experiments of several steps, each one or more entry points of this repository, in conf/experiment/NAME.yaml.

    sprint-sgl experiment experiment=self_training out=work/self

Commands of one step run side by side. A step that has ended is not run again; one that was interrupted is, and its
entry point goes on where it stopped. One folder holds one experiment with one set of values.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sprint_sgl.config import changed, entry_point
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.supervisor import supervised
from sprint_sgl.storage.files import make_folder, whole_file
from sprint_sgl.storage.output_folders import EXPERIMENT, alone
from sprint_sgl.storage.shipped import conf_names

LOG_TAIL = 2000
ENTRY_POINTS = ("sprint_sgl.bench.", "curation.", "training.")


@dataclass
class Experiment:
    """`steps`, in order: each a list of commands, a module and its overrides. `values` are for them to refer to."""

    steps: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    out: str
    experiment: Experiment = field(default_factory=Experiment)


def words(command: str) -> list[str]:
    """The process of a step's command. Raises BadInput for what is no entry point of ours."""
    module, *overrides = shlex.split(command) or [""]
    if not module.startswith(ENTRY_POINTS):
        raise BadInput(f"{module!r} is no entry point: a step's command begins with one, such as training.train")
    return [sys.executable, "-m", module, *overrides]


@dataclass
class Record:
    """What is kept in the experiment's folder: its steps as they were begun, and those that have ended."""

    steps: dict[str, list[str]]
    done: list[str] = field(default_factory=list)

    @staticmethod
    def of(path: Path, steps: dict[str, list[str]]) -> Record:
        """The record there, or a new one. Raises BadInput if it is of other steps."""
        if not path.is_file():
            return Record(steps)
        found = Record(**json.loads(path.read_text()))
        if others := changed(found.steps, steps):
            raise BadInput(
                f"{path.parent} holds this experiment with another step {others[0]!r}: choose another out=FOLDER, or "
                f"remove {path} to keep what is there, where each command goes on by rules of its own"
            )
        return found

    def write(self, path: Path) -> None:
        with whole_file(path) as file:
            json.dump(asdict(self), file, indent=2)


def run(config: Config) -> None:
    """Runs what is not done. Raises BadInput for no steps, and where a command fails, with the end of its log."""
    if not config.experiment.steps:
        names = conf_names("experiment")
        raise BadInput(f"no experiment is chosen: experiment={' or '.join(names)}")
    if any(letter.isspace() for letter in config.out):
        raise BadInput(f"out={config.out!r}: commands are split at spaces, so that the folder's name can have none")
    steps = config.experiment.steps
    plan = {name: [words(command) for command in commands] for name, commands in steps.items()}
    with alone(config.out, EXPERIMENT) as folder:
        in_order(steps, plan, folder / "steps.json")


def in_order(steps: dict[str, list[str]], plan: dict[str, list[list[str]]], path: Path) -> None:
    """Runs what the record at that path does not have, step after step."""
    record = Record.of(path, steps)
    record.write(path)
    for name, commands in plan.items():
        if name in record.done:
            say(f"{name}: done before", style="dim")
            continue
        for command in steps[name]:
            say(f"{name}: {command}", style="bold")
        side_by_side(name, commands, path.parent / "logs")
        record.done.append(name)
        record.write(path)


def side_by_side(name: str, commands: Sequence[list[str]], logs: Path) -> None:
    """Waits for all; one alone writes to the terminal, several into a log each. Raises BadInput where one fails."""
    shared = len(commands) > 1
    paths = [logs / f"{name}-{number}.log" for number in range(1, len(commands) + 1)] if shared else [None]
    if shared:
        make_folder(logs)
        say(f"{name}: their output is in {', '.join(map(str, paths))}", style="dim")
    with ExitStack() as stack:
        running = [stack.enter_context(started(command, path)) for command, path in zip(commands, paths, strict=True)]
        codes = [supervisor.wait() for supervisor in running]
    for code, path in zip(codes, paths, strict=True):
        if code:
            end = f"; {path} ends:\n{path.read_text()[-LOG_TAIL:]}" if path else ""
            raise BadInput(f"{name} ended with exit status {code}; started again it goes on from there{end}")


@contextmanager
def started(command: list[str], log: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """The command with a log or on the terminal; it ends with us, however we end."""
    if log is None:
        with supervised(command) as supervisor:
            yield supervisor
        return
    # Commands that share the cores and do not know it would wait for one another at every operation.
    env = {"OMP_NUM_THREADS": "1"} | os.environ
    with log.open("a") as file, supervised(command, env=env, stdout=file, stderr=subprocess.STDOUT) as supervisor:
        yield supervisor


@entry_point("experiment", Config)
def main(config: Config) -> None:
    run(config)


if __name__ == "__main__":
    main()
