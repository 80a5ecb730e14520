"""How near a run of recorded plans (task=tool_replay) comes to the ideal of their graphs, by method.

    .venv/bin/python -m benchmarks.tool_overlap work/tools

The ideal of a question is the longest chain of sub-questions that need each other, and the planner's own calls: nothing
waits for what it does not need, and the planner never waits for another question's tokens.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.runs import read_run
from sprint_sgl.bench.tool_replay import Latency, PlannedQuestion, ToolReplay
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import DataSource


def ideal_seconds(record: Record, question: PlannedQuestion) -> float:
    return question.longest_path + sum(call.seconds for call in record.trajectory.calls if not call.tool)


def main(
    run: Annotated[Path, typer.Argument(help="a folder that sprint-sgl bench task=tool_replay has written")],
) -> None:
    folder = read_run(run)
    if folder.task != "tool_replay":
        raise BadInput(f"{run} is a run of task={folder.task}: it replays no plans with tools")
    settings = folder.settings["task"]
    latency = {name: settings["latency"][name] for name in ("median", "spread", "seed")}
    task = ToolReplay(DataSource(path=settings["source"]["path"]), Latency(**latency))
    questions = {question.id: question for question in task.questions()}
    found: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for record in (record for side in folder.sides for records in side.records.values() for record in records):
        if not record.correct:
            raise BadInput(f"question {record.id}, {record.method}: {record.reason}")
        ideal = ideal_seconds(record, questions[record.id])
        found[record.method].append((record.trajectory.seconds, ideal, len(record.trajectory.tool_calls)))
    table = Table("method", "questions", "calls", "seconds, mean", "of the ideal, median", "lowest tenth")
    for column in table.columns[1:]:
        column.justify = "right"
    for method, rows in found.items():
        ratios = sorted(ideal / seconds for seconds, ideal, _ in rows)
        table.add_row(
            *(method, f"{len(rows)}", f"{sum(calls for *_, calls in rows):,}"),
            f"{sum(seconds for seconds, *_ in rows) / len(rows):.2f}",
            *(f"{median(ratios):.3f}", f"{ratios[len(ratios) // 10]:.3f}"),
        )
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
