"""Progress of long work: bars on a terminal, and now and then a plain line in a file or a pipe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task

from sprint_sgl.console import print_plain

PLAIN_EVERY = 30.0  # seconds between two plain lines


@contextmanager
def progress_bars(*columns: ProgressColumn, console: Console) -> Iterator[Progress]:
    """Yield rich's progress; where the console is not a terminal, a plain line is printed every PLAIN_EVERY seconds.

    The line ends with the task's field `details`, if it has one.
    """
    with Progress(*columns, console=console) as progress:
        ended = threading.Event()
        printer = threading.Thread(target=_print_progress, args=(progress, ended), daemon=True)
        if not console.is_terminal:
            printer.start()
        try:
            yield progress
        finally:
            ended.set()


def _print_progress(progress: Progress, ended: threading.Event) -> None:
    begun: dict[int, tuple[float, float]] = {}
    while not ended.wait(PLAIN_EVERY):
        for task in progress.tasks:
            if not task.finished:
                seen = begun.setdefault(task.id, (task.completed, task.elapsed or 0.0))
                print_plain(progress.console, progress_line(task, *seen))


def progress_line(task: Task, begun_at: float = 0.0, begun_after: float = 0.0) -> str:
    """Return a task's progress as text: what is done, the rate, the time left.

    The rate is of what was done since `begun_at`, the state after `begun_after` seconds.
    """
    done, elapsed = task.completed - begun_at, (task.elapsed or 0.0) - begun_after
    if task.total is None and not task.completed:
        waited = timedelta(seconds=round(task.elapsed or 0.0))
        return f"{task.description.strip()}: {task.fields.get('details', 'starting')}, {waited} so far"
    of = f" of {task.total:,.0f}" if task.total is not None else ""
    parts = [f"{task.description.strip()}: {task.completed:,.0f}{of}"]
    if done > 0 and elapsed > 0:
        rate = done / elapsed
        parts.append(f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each")
        if task.total is not None:
            parts.append(f"{timedelta(seconds=round((task.total - task.completed) / rate))} left")
    if details := task.fields.get("details"):
        parts.append(str(details))
    return ", ".join(parts)
