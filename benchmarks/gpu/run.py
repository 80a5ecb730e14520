"""What a GPU machine has to show, in a bounded time: .venv/bin/python -m benchmarks.gpu.run --runtime h100 --minutes 60

    ... --trajectories TRAJECTORIES.jsonl            # replays of recorded runs in place of drawn shapes
    ... --runtime cpu --shape tiny --scale 0.1 --levels 1,4 --rounds 1 --out work/gpu-try    # without a GPU

Each part runs in a process of its own with a time limit and leaves OUT/PART.json; started again with the same options,
the parts that are there are not repeated, and one that was stopped begins anew. A model of 7B shape with weights that
SGLang makes up stands for a trained one: nothing is downloaded.

Parts: check, replay (realised over promised speed-up), prefix, constants (conf/worker), seeds, options.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.dummy_model import SHAPES
from benchmarks.gpu.parts import PARTS, Setting
from sprint_sgl.console import say, screen
from sprint_sgl.files import whole_file
from sprint_sgl.shipped import conf_names

LEAST = 60.0  # seconds that must be left for a part to begin


def main(
    runtime: str = "gpu",
    shape: Annotated[str, typer.Option(help=", ".join(SHAPES))] = "7b",
    out: Path = Path("work/gpu"),
    trajectories: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    levels: Annotated[str, typer.Option(help="questions at a time, with commas")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[float, typer.Option(help="of all lengths")] = 1.0,
    minutes: Annotated[float, typer.Option(min=2)] = 60.0,
    parts: Annotated[str, typer.Option(help="which, with commas")] = ",".join(PARTS),
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure what is not measured yet, until the time is up."""
    names = chosen(parts.split(","), PARTS, "part")
    chosen([shape], SHAPES, "shape")
    chosen([runtime], conf_names("runtime"), "runtime")
    setting = Setting(runtime, shape, out, trajectories, numbers(levels), rounds, scale)
    said = json.loads(json.dumps(asdict(setting), default=str))
    if only:
        found = PARTS[only](setting)
        with whole_file(out / f"{only}.json") as file:
            file.write(json.dumps({"setting": said, **found}, indent=2) + "\n")
        return
    out.mkdir(parents=True, exist_ok=True)
    deadline, failed = time.monotonic() + 60 * minutes, False
    for name in names:
        if (path := out / f"{name}.json").exists():
            if json.loads(path.read_text()).get("setting") != said:
                raise typer.BadParameter(f"{path} was measured with other options: give another --out, or remove it")
            say(f"{name}: is there already, in {path}")
            continue
        if (left := deadline - time.monotonic()) < LEAST:
            say(f"{name}: not begun, the time is up; the same command goes on here")
            continue
        failed |= not run_part(name, out, left)
    for path in sorted(out.glob("*.json")):
        screen().print(f"[bold]{path.name}[/bold]")
        screen().print_json(path.read_text())
    raise typer.Exit(int(failed))


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


def run_part(name: str, out: Path, limit: float) -> bool:
    """Run a part with this command's own words; its output goes to OUT/PART.log. Whether it came to its end."""
    say(f"{name}: {PARTS[name].__doc__}")
    begun = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.gpu.run", *sys.argv[1:], "--only", name]
        try:
            code = subprocess.run(command, stdout=log, stderr=log, timeout=limit, check=False).returncode
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
