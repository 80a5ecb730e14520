"""Experiments of several steps, listed in conf/experiment/NAME.yaml; each step is one or more entry points.

    sprint-sgl experiment experiment=self_training out=work/self

Commands of one step run side by side. A finished step is not run again; an interrupted step is, and its entry points
resume where they stopped. One folder holds one experiment with one set of values.
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

from sprint_sgl.config import changed_keys, entry_point
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, CommandFailed
from sprint_sgl.progress import PLAIN_EVERY
from sprint_sgl.runtime.supervisor import supervised
from sprint_sgl.storage.files import make_folder, whole_file
from sprint_sgl.storage.output_folders import EXPERIMENT, locked_folder
from sprint_sgl.storage.package_files import conf_names

LOG_TAIL = 2000  # characters
ENTRY_POINTS = ("sprint_sgl.bench.", "curation.", "training.")


@dataclass
class Experiment:
    """Commands to run.

    steps    in order; each is a list of commands (a module with overrides), which run side by side
    values   to which the commands refer as ${experiment.values.NAME}
    """

    steps: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict, metadata={"closed": True})


@dataclass
class ExperimentConfig:
    """Several of these commands in a row; a finished step is not run again.

    out   the folder of the experiment, by default work/NAME; each step writes below it
    """

    out: str = ""
    experiment: Experiment = field(default_factory=Experiment)


def process_arguments(command: str) -> list[str]:
    """Return the arguments of a command's process. Raises BadInput if the command names no entry point of ours."""
    module, *overrides = shlex.split(command) or [""]
    if not module.startswith(ENTRY_POINTS):
        raise BadInput(f"{module!r} is not an entry point: a command begins with one, such as training.train")
    return [sys.executable, "-m", module, *overrides]


@dataclass
class ExperimentProgress:
    """The file in the experiment's folder: the steps as they were started, and the names of the finished ones."""

    steps: dict[str, list[str]]
    done: list[str] = field(default_factory=list)

    @staticmethod
    def of(path: Path, steps: dict[str, list[str]]) -> ExperimentProgress:
        """Return the progress in the file, or a new one. Raises BadInput if the file has other steps."""
        if not path.is_file():
            return ExperimentProgress(steps)
        progress = ExperimentProgress(**json.loads(path.read_text()))
        if others := changed_keys(progress.steps, steps):
            raise BadInput(
                f"{path.parent} contains this experiment with another step {others[0]!r}: choose another out=FOLDER, "
                f"or remove {path} to run all steps again, where each command resumes or refuses by its own rules"
            )
        return progress

    def write(self, path: Path) -> None:
        with whole_file(path) as file:
            json.dump(asdict(self), file, indent=2)


def run_experiment(config: ExperimentConfig) -> None:
    """Run the unfinished steps. Raises BadInput for settings, CommandFailed if a command fails."""
    if not config.experiment.steps:
        names = conf_names("experiment")
        raise BadInput(f"no experiment is chosen: experiment={' or '.join(names)}")
    if any(letter.isspace() for letter in config.out):
        raise BadInput(f"out={config.out!r} must not contain spaces: commands are split at them")
    steps = config.experiment.steps
    plan = {name: [process_arguments(command) for command in commands] for name, commands in steps.items()}
    with locked_folder(config.out, EXPERIMENT) as folder:
        run_steps(steps, plan, folder / "steps.json")


def run_steps(steps: dict[str, list[str]], plan: dict[str, list[list[str]]], path: Path) -> None:
    """Run the steps that the file at `path` does not list as finished, one after the other."""
    progress = ExperimentProgress.of(path, steps)
    progress.write(path)
    for name, commands in plan.items():
        if name in progress.done:
            say(f"{name}: already done", style="dim")
            continue
        for command in steps[name]:
            say(f"{name}: {command}", style="bold")
        run_step(name, commands, path.parent / "logs")
        progress.done.append(name)
        progress.write(path)


def run_step(name: str, commands: Sequence[list[str]], logs: Path) -> None:
    """Run a step's commands side by side and wait for all. Raises CommandFailed, with the end of the log, if one fails.

    A single command writes to the terminal, several write to a log each.
    """
    several = len(commands) > 1
    paths = [logs / f"{name}-{number}.log" for number in range(1, len(commands) + 1)] if several else []
    if several:
        make_folder(logs)
        say(f"{name}: their output is in {', '.join(map(str, paths))}", style="dim")
    outputs: Sequence[Path | None] = paths or [None]
    with ExitStack() as stack:
        running = [
            stack.enter_context(start_command(command, path)) for command, path in zip(commands, outputs, strict=True)
        ]
        codes = wait_and_tell(running, paths) if several else [running[0].wait()]
    for code, path in zip(codes, outputs, strict=True):
        if code:
            end = f"; {path} ends:\n{path.read_text()[-LOG_TAIL:]}" if path else ""
            raise CommandFailed(f"{name} ended with exit status {code}; a new start resumes there{end}")


def wait_and_tell(running: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> list[int]:
    """Wait for all commands and return their exit statuses; now and then say how each one's log ends."""
    while waiting := [each for each in zip(running, logs, strict=True) if each[0].poll() is None]:
        try:
            waiting[0][0].wait(PLAIN_EVERY)
        except subprocess.TimeoutExpired:
            for _, log in waiting:
                say(f"{log.stem}: {last_line(log)}", style="dim")
    return [process.returncode for process in running]


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = log.read_text(errors="replace")[-LOG_TAIL:].split("\n")
    return next((line.rpartition("\r")[2] for line in reversed(lines) if line.strip()), "")


@contextmanager
def start_command(command: list[str], log: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command with its output in the log, or on the terminal; the command ends when this process ends."""
    if log is None:
        with supervised(command) as supervisor:
            yield supervisor
        return
    # Unless limited, each command starts a thread for every core, and they would wait for one another.
    env = {"OMP_NUM_THREADS": "1"} | os.environ
    with log.open("a") as file, supervised(command, env=env, stdout=file, stderr=subprocess.STDOUT) as supervisor:
        yield supervisor


@entry_point("experiment", ExperimentConfig)
def main(config: ExperimentConfig) -> None:
    run_experiment(config)


if __name__ == "__main__":
    main()
