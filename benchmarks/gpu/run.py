"""What a GPU machine has to show, in a bounded time: .venv/bin/python -m benchmarks.gpu.run --runtime h100 --minutes 60

    ... --trajectories TRAJECTORIES.jsonl            # replays of recorded runs in place of drawn shapes
    ... --runtime cpu --shape tiny --scale 0.1       # every part, tried without a GPU

Each part runs in a process of its own with a time limit and leaves OUT/PART.json; started again, the parts that are
there are not repeated. A model of 7B shape with weights that SGLang makes up stands for a trained one: nothing is
downloaded. Parts: check, replay (realised over promised speed-up), prefix, constants (conf/worker), seeds, options.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.parts import PARTS, Setting
from sprint_sgl.console import say, screen
from sprint_sgl.files import whole_file

LEAST = 60.0  # seconds that must be left for a part to begin


def main(
    runtime: str = "gpu",
    shape: str = "7b",
    out: Path = Path("work/gpu"),
    trajectories: Path | None = None,
    levels: Annotated[str, typer.Option(help="questions at a time, with commas")] = "1,4,16,64",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[float, typer.Option(help="of the lengths of recorded trajectories")] = 1.0,
    minutes: Annotated[float, typer.Option(min=1)] = 60.0,
    parts: Annotated[str, typer.Option(help="which, with commas")] = ",".join(PARTS),
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure what is not measured yet, until the time is up."""
    setting = Setting(runtime, shape, out, trajectories, tuple(map(int, levels.split(","))), rounds, scale)
    if only:
        found = PARTS[only](setting)
        with whole_file(out / f"{only}.json") as file:
            file.write(json.dumps({"runtime": runtime, "shape": shape, **found}, indent=2) + "\n")
        return
    if unknown := [name for name in parts.split(",") if name not in PARTS]:
        raise typer.BadParameter(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    out.mkdir(parents=True, exist_ok=True)
    deadline, failed = time.monotonic() + 60 * minutes, False
    for name in parts.split(","):
        if (out / f"{name}.json").exists():
            say(f"{name}: is there already, in {out}/{name}.json")
            continue
        if (left := deadline - time.monotonic()) < LEAST:
            say(f"{name}: not begun, the time is up; the same command goes on here")
            continue
        failed |= not run_part(name, out, left)
    for path in sorted(out.glob("*.json")):
        screen().print(f"[bold]{path.name}[/bold]")
        screen().print_json(path.read_text())
    raise typer.Exit(int(failed))


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
