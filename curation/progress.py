"""What a person sees of a run: a bar a stage with its rate, what was dropped and why, and the cost so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from curation.stages.base import Funnel, Watch
from sprint_sgl.console import notes

WORST = 3


@contextmanager
def watching(cost: Callable[[], float]) -> Iterator[Watch]:
    """Yields the callback for stages; `cost` gives the dollars paid so far."""
    columns = (TextColumn("{task.description:<8}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}"), console=notes) as progress:
        tasks: dict[str, TaskID] = {}
        kept: list[int] = []

        def watch(funnel: Funnel) -> None:
            if funnel.stage not in tasks:
                total = kept[-1] if kept else None
                tasks[funnel.stage] = progress.add_task(funnel.stage, total=total, said="")
                kept.append(0)
            kept[-1] = funnel.kept
            progress.update(tasks[funnel.stage], completed=funnel.read, said=said(funnel, cost()))

        yield watch
        for task in tasks.values():
            progress.update(task, total=progress.tasks[task].completed)


def said(funnel: Funnel, dollars: float) -> str:
    """The end of a bar: rate, cost, the commonest reasons."""
    parts = ["done before"] if funnel.reused else []
    if funnel.seconds > 0 and not funnel.reused:
        parts.append(f"{funnel.read / funnel.seconds:,.0f}/s")
    if dollars:
        parts.append(f"${dollars:,.2f}")
    worst = sorted(funnel.rejected.items(), key=lambda item: -item[1])[:WORST]
    return "  ".join([*parts, *(f"{reason} {count}" for reason, count in worst)])
