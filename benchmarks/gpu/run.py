"""What a GPU machine has to show, in a bounded time: .venv/bin/python -m benchmarks.gpu.run --runtime h100 --minutes 60

    ... --trajectories TRAJECTORIES.jsonl            # replays of recorded runs in place of drawn shapes
    ... --runtime cpu --shape tiny --scale 0.1 --levels 1,4 --rounds 1 --out work/gpu-try    # without a GPU

Each part runs in a process of its own with a time limit and leaves OUT/PART.json, or OUT/PART.partial.json if it was
stopped; started again with the same options, the parts that are there are not repeated, and others begin anew. A model
of 7B shape with weights that SGLang makes up stands for a trained one: nothing is downloaded.

Parts that share a runtime: check, replay (realised over promised speed-up), prefix, constants (conf/worker), seeds.
After it, on their own: deterministic, trees (attentions in training), shipped (the shipped model), options.
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
from sprint_sgl.storage.shipped import conf_names

GPU = kind_with_run_file("benchmarks.gpu.run", "--out ")
LEAST = 20.0  # seconds that must be left for a part to begin


@dataclass(frozen=True)
class Limits:
    """When everything is to have ended, on the monotonic clock, and the seconds that one part or a start may take."""

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
    levels: Annotated[str, typer.Option(help="questions at a time, with commas")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[float, typer.Option(help="of all lengths")] = 1.0,
    minutes: Annotated[float, typer.Option(min=2)] = 60.0,
    part_minutes: Annotated[float, typer.Option(help="of one part, or of the start, at most")] = 20.0,
    parts: Annotated[str, typer.Option(help="which, with commas")] = ",".join(PARTS),
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    url: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure what is not measured yet, until the time is up."""
    names = chosen(parts.split(","), PARTS, "part")
    chosen([shape], SHAPES, "shape")
    chosen([runtime], conf_names("runtime"), "runtime")
    setting = Setting(runtime, shape, Path(out), trajectories, numbers(levels), rounds, scale)
    if only:
        measure(only, replace(setting, url=url))
        return
    with one_line_errors():
        folder = begin_run(out, GPU, described(setting))
    limits = Limits(time.monotonic() + 60 * minutes, 60 * part_minutes)
    todo = [name for name in names if not there(name, setting)]
    together, alone = ([name for name in todo if (name in SHARED) == shared] for shared in (True, False))
    done = not together or run_together(together, setting, limits)
    for name in alone:
        done &= run_part(name, folder, limits)
    for path in sorted(path for path in folder.glob("*.json") if path.name != RUN_FILE):
        screen().print(f"[bold]{path.name}[/bold]")
        screen().print_json(path.read_text())
    raise typer.Exit(int(not done))


def described(setting: Setting) -> dict[str, object]:
    """As it is written beside what was measured."""
    return {
        name: value for name, value in json.loads(json.dumps(asdict(setting), default=str)).items() if name != "url"
    }


def measure(name: str, setting: Setting) -> None:
    """Write a part's figures whenever there is another one."""
    found: dict[str, object] = {"setting": described(setting)}
    for key, value in PARTS[name](setting):
        found[key] = value
        say(f"{key}: {value}")
        with whole_file(partial(setting.out, name)) as file:
            file.write(json.dumps(found, indent=2) + "\n")
    partial(setting.out, name).rename(setting.out / f"{name}.json")


def partial(out: Path, name: str) -> Path:
    """Where a part's figures are until it has come to its end."""
    return out / f"{name}.partial.json"


def there(name: str, setting: Setting) -> bool:
    """Whether a part is measured already. Raises typer's error where that was with other options."""
    if not (path := setting.out / f"{name}.json").exists():
        return False
    if json.loads(path.read_text()).get("setting") != described(setting):
        raise typer.BadParameter(f"{path} was measured with other options: give another --out, or remove it")
    say(f"{name}: is there already, in {path}")
    return True


def run_together(names: Sequence[str], setting: Setting, limits: Limits) -> bool:
    """Run parts on one runtime, and on another where one part has ended it. Whether all came to their end."""
    left, done = list(names), True
    while left and limits.left > LEAST:
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


def chosen(given: Sequence[str], known: Collection[str], what: str) -> Sequence[str]:
    """What was given. Raises typer's error for a name that is not known."""
    if unknown := [name for name in given if name not in known]:
        raise typer.BadParameter(f"unknown {what} {unknown[0]!r}; known: {', '.join(known)}")
    return given


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers above 0 with commas between them. Raises typer's error for anything else."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise typer.BadParameter(f"--levels must be whole numbers above 0 with commas, got {text!r}")
    return tuple(map(int, words))


def run_part(name: str, out: Path, limits: Limits, url: str | None = None) -> bool:
    """Run a part with this command's own words; its output goes to OUT/PART.log. Whether it came to its end."""
    begun = time.monotonic()
    if limits.left < LEAST:
        say(f"{name}: not begun, the time is up; the same command goes on here")
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
