"""Progress on the terminal: one bar per stage, with its rate, the cost so far and the commonest rejections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

from curation.stages.base import Report, StageCounts
from sprint_sgl.console import notes
from sprint_sgl.progress import progress_bars

MOST_REASONS = 3


@contextmanager
def stage_bars(cost: Callable[[], float]) -> Iterator[Report]:
    """Yield the callback to which stages report; `cost` returns the dollars paid so far."""
    columns = (TextColumn("{task.description:<8}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bars(*columns, TextColumn("{task.fields[details]}"), console=notes) as progress:
        tasks: dict[str, TaskID] = {}
        kept: list[int] = []

        def report(counts: StageCounts) -> None:
            if counts.stage not in tasks:
                total = kept[-1] if kept else None
                tasks[counts.stage] = progress.add_task(counts.stage, total=total, details="")
                kept.append(0)
            kept[-1] = counts.kept
            progress.update(tasks[counts.stage], completed=counts.read, details=bar_details(counts, cost()))

        yield report
        for task in tasks.values():
            progress.update(task, total=progress.tasks[task].completed)


def bar_details(counts: StageCounts, dollars: float) -> str:
    """Return the text after a bar: rate, cost, commonest reasons."""
    parts = ["done before"] if counts.reused else []
    if counts.seconds > 0 and not counts.reused:
        parts.append(f"{counts.read / counts.seconds:,.0f}/s")
    if dollars:
        parts.append(f"${dollars:,.2f}")
    commonest = sorted(counts.rejected.items(), key=lambda item: -item[1])[:MOST_REASONS]
    return "  ".join([*parts, *(f"{reason} {count}" for reason, count in commonest)])
