"""Experiments of several steps, each one or more entry points of this repository, in conf/experiment/NAME.yaml.

    sprint-sgl experiment experiment=self_training out=work/self

Commands of one step run side by side. A step that has ended is not run again while it and all before it read the
same; one that was interrupted is run again, and its entry point goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore

from sprint_sgl.console import notes, one_line_errors
from sprint_sgl.errors import BadInput
from sprint_sgl.settings import settings

CONF = str(Path(__file__).parents[1] / "conf")
LOG_TAIL = 2000
ENTRY_POINTS = ("programs.", "curation.", "training.")


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
    module, *overrides = shlex.split(command)
    if not module.startswith(ENTRY_POINTS):
        raise BadInput(f"{module!r} is no entry point: a step's command begins with one, such as training.train")
    return [sys.executable, "-m", module, *overrides]


def digests(steps: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Each step's name with a digest of its commands and of all before them."""
    whole = hashlib.sha256()
    for name, commands in steps.items():
        whole.update(json.dumps(commands).encode())
        yield name, whole.hexdigest()


def run(config: Config) -> None:
    """Runs what is not done. Raises BadInput where a command fails, with the end of its log."""
    steps, out = config.experiment.steps, Path(config.out)
    plan = {name: [words(command) for command in commands] for name, commands in steps.items()}
    record = out / "steps.json"
    done: dict[str, str] = json.loads(record.read_text()) if record.is_file() else {}
    for name, digest in digests(steps):
        if done.get(name) == digest:
            notes.print(f"{name}: done before", style="dim", highlight=False)
            continue
        for command in steps[name]:
            notes.print(f"{name}: {command}", style="bold", markup=False, highlight=False, soft_wrap=True)
        side_by_side(name, plan[name], out / "logs")
        done[name] = digest
        out.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(done, indent=2) + "\n")


def side_by_side(name: str, commands: Sequence[list[str]], logs: Path) -> None:
    """Waits for all; one alone writes to the terminal, several into a log each. Raises BadInput where one fails."""
    paths = [logs / f"{name}-{number}.log" for number in range(1, len(commands) + 1)] if len(commands) > 1 else [None]
    if len(commands) > 1:
        logs.mkdir(parents=True, exist_ok=True)
        notes.print(f"{name}: their output is in {', '.join(map(str, paths))}", style="dim", highlight=False)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command, path in zip(commands, paths, strict=True):
            running.append(start(command, path, threads=max(1, (os.cpu_count() or 1) // len(commands))))
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            stop(process)
    for code, path in zip(codes, paths, strict=True):
        if code:
            end = f"; {path} ends:\n{path.read_text()[-LOG_TAIL:]}" if path else ""
            raise BadInput(f"{name} ended with exit status {code}; started again it goes on from there{end}")


def start(command: list[str], log: Path | None, threads: int) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, so that what it starts ends with it."""
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a")) if log else None
        env = {"OMP_NUM_THREADS": str(threads)} | os.environ
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, process_group=0)


def stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


ConfigStore.instance().store("experiment_schema", Config)


@hydra.main(version_base="1.3", config_path=CONF, config_name="experiment")
def main(raw: Config) -> None:
    with one_line_errors():
        run(settings(raw, Config))


if __name__ == "__main__":
    main()
