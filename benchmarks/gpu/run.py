"""Run all GPU measurements in a bounded time: .venv/bin/python -m benchmarks.gpu.run --runtime h100 --minutes 60

    ... --trajectories TRAJECTORIES.jsonl            # replays of recorded runs in place of random shapes
    ... --runtime cpu --shape tiny --scale 0.1 --levels 1,4 --rounds 1 --out work/gpu-try    # without a GPU

Each part runs in its own process with a time limit and writes OUT/PART.json, or OUT/PART.partial.json if it was
stopped. Started again with the same options, the command skips finished parts and starts the others anew. A model of 7B
shape with random weights stands for a trained one, so nothing is downloaded.

Parts on a shared runtime: check, replay (realised and promised speed-up), prefix, constants (conf/worker), seeds. Then,
each alone: deterministic, trees (attention in training), shipped (the shipped model), options.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.dummy_model import SHAPES
from benchmarks.gpu.parts import PARTS, SHARED, Setting
from sprint_sgl.console import one_line_errors, say, screen
from sprint_sgl.errors import LaunchFailed
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import RUN_FILE, begin_run, kind_with_run_file
from sprint_sgl.storage.package_files import conf_names

GPU = kind_with_run_file("benchmarks.gpu.run", "--out ")
MIN_SECONDS = 20.0  # a part starts only if more time is left


@dataclass(frozen=True)
class TimeLimits:
    """The deadline of the whole run (monotonic clock), and the most seconds for one part or a start."""

    deadline: float
    part: float

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def next(self) -> float:
        """Seconds that the next part may take."""
        return min(self.left, self.part)


def main(
    runtime: str = "gpu",
    shape: Annotated[str, typer.Option(help=", ".join(SHAPES))] = "7b",
    out: str = "work/gpu",
    trajectories: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    levels: Annotated[str, typer.Option(help="questions at a time, comma-separated")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[float, typer.Option(help="factor on all lengths")] = 1.0,
    minutes: Annotated[float, typer.Option(min=2)] = 60.0,
    part_minutes: Annotated[float, typer.Option(help="time limit of a part, or of a start")] = 20.0,
    parts: Annotated[str, typer.Option(help="parts to run, comma-separated")] = ",".join(PARTS),
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    url: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the measurements that are not done yet, until the time is up."""
    names = check_names(parts.split(","), PARTS, "part")
    check_names([shape], SHAPES, "shape")
    check_names([runtime], conf_names("runtime"), "runtime")
    setting = Setting(runtime, shape, Path(out), trajectories, parse_levels(levels), rounds, scale)
    if only:
        measure(only, replace(setting, url=url))
        return
    with one_line_errors():
        folder = begin_run(out, GPU, setting_values(setting))
    limits = TimeLimits(time.monotonic() + 60 * minutes, 60 * part_minutes)
    todo = [name for name in names if not is_measured(name, setting)]
    together, alone = ([name for name in todo if (name in SHARED) == shared] for shared in (True, False))
    done = not together or run_together(together, setting, limits)
    for name in alone:
        done &= run_part(name, folder, limits)
    for path in sorted(path for path in folder.glob("*.json") if path.name != RUN_FILE):
        screen().print(f"[bold]{path.name}[/bold]")
        screen().print_json(path.read_text())
    raise typer.Exit(int(not done))


def setting_values(setting: Setting) -> dict[str, object]:
    """Return the setting as it is written beside the figures."""
    return {
        name: value for name, value in json.loads(json.dumps(asdict(setting), default=str)).items() if name != "url"
    }


def measure(name: str, setting: Setting) -> None:
    """Run a part; write its figures each time there is a new one."""
    found: dict[str, object] = {"setting": setting_values(setting)}
    for key, value in PARTS[name](setting):
        found[key] = value
        say(f"{key}: {value}")
        with whole_file(partial_path(setting.out, name)) as file:
            file.write(json.dumps(found, indent=2) + "\n")
    partial_path(setting.out, name).rename(setting.out / f"{name}.json")


def partial_path(out: Path, name: str) -> Path:
    """Return the file of a part's figures until the part is complete."""
    return out / f"{name}.partial.json"


def is_measured(name: str, setting: Setting) -> bool:
    """Return whether a part is complete. Raise BadParameter if it was measured with other options."""
    if not (path := setting.out / f"{name}.json").exists():
        return False
    if json.loads(path.read_text()).get("setting") != setting_values(setting):
        raise typer.BadParameter(f"{path} was measured with other options: choose another --out, or remove the file")
    say(f"{name}: already measured, in {path}")
    return True


def run_together(names: Sequence[str], setting: Setting, limits: TimeLimits) -> bool:
    """Run parts on a shared runtime, on a new one if a part has ended it. Return whether all parts were completed."""
    left, done = list(names), True
    while left and limits.left > MIN_SECONDS:
        try:
            with setting.server("shared", startup_limit=limits.next) as server:
                if server.supervisor.poll() is not None:
                    say(f"{', '.join(left)}: the runtime ended before they began")
                    return False
                while left and server.supervisor.poll() is None:
                    done &= run_part(left.pop(0), setting.out, limits, server.url)
        except LaunchFailed as error:
            say(f"{', '.join(left)}: {error}")
            return False
    return done and not left


def check_names(given: Sequence[str], known: Collection[str], what: str) -> Sequence[str]:
    """Return the given names. Raise BadParameter for an unknown one."""
    if unknown := [name for name in given if name not in known]:
        raise typer.BadParameter(f"unknown {what} {unknown[0]!r}; known: {', '.join(known)}")
    return given


def parse_levels(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1, separated by commas. Raise BadParameter for anything else."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise typer.BadParameter(f"--levels must be comma-separated whole numbers of at least 1, got {text!r}")
    return tuple(map(int, words))


def run_part(name: str, out: Path, limits: TimeLimits, url: str | None = None) -> bool:
    """Run a part in its own process, with this command's arguments; log to OUT/PART.log. Return whether it was
    completed.
    """
    begun = time.monotonic()
    if limits.left < MIN_SECONDS:
        say(f"{name}: not started, the time is up; run the same command again to continue here")
        return False
    say(f"{name}: {PARTS[name].__doc__}")
    with (out / f"{name}.log").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.gpu.run", *sys.argv[1:], "--only", name]
        command += ["--url", url] if url else []
        try:
            code = subprocess.run(command, stdout=log, stderr=log, timeout=limits.next, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
    took = f"after {time.monotonic() - begun:.0f} s"
    if code == 0:
        say(f"{name}: done {took}")
    else:
        say(f"{name}: {'stopped' if code is None else f'failed with {code}'} {took}, see {out}/{name}.log")
    return code == 0


if __name__ == "__main__":
    typer.run(main)
