"""A training's progress in the terminal, read from ms-swift's log, whose other output goes to a file."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from sprint_sgl.console import notes
from sprint_sgl.progress import progress_bars
from training.record import read_log

LOG = "train.log"  # ms-swift's output
POLL = 1.0  # seconds
TAIL = 20  # lines of the log that are shown after a failure


def follow_training(process: subprocess.Popen[bytes], out: Path) -> int:
    """Show the steps of the run in `out` until its process has ended; return the exit status."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[details]}"),
    )
    seen, log = None, out / "logging.jsonl"
    with progress_bars(*columns, console=notes) as progress:
        task = progress.add_task("step", total=None, details="loading")
        while True:
            try:
                return process.wait(POLL)
            except subprocess.TimeoutExpired:
                changed = log.stat().st_mtime_ns if log.is_file() else None
            if changed not in (None, seen) and (lines := read_log(out)):
                seen = changed
                total = str(lines[-1]["global_step/max_steps"]).partition("/")[2]
                progress.update(task, completed=lines[-1]["step"], total=int(total), details=step_details(lines))


def step_details(lines: list[dict[str, Any]]) -> str:
    """Return what the last lines of the log say: losses and speed."""
    last = {key: value for line in lines for key, value in line.items()}
    parts = [f"loss {float(last['loss']):.4f}"] if "loss" in last else []
    if "rollouts/correct" in last:
        parts.append(f"{last['rollouts/correct']:.0%} of rollouts right")
        parts.append(f"{last['rollouts/sequential tokens']:.0f} sequential tokens")
    if "eval_loss" in last:
        parts.append(f"evaluation loss {float(last['eval_loss']):.4f}")
    if "tokens_per_second" in last:
        parts.append(f"{last['tokens_per_second']:,} tokens/s")
    return ", ".join(parts)


def log_tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:]) if log.is_file() else ""
