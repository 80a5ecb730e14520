"""The page of a run: report.html in its folder, with curves, figures, data, recipe and commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sprint_sgl.view.pages import chart_style, figure_svg, write_page
from training.card import asked_command, devices_of, recipe_values, serving_commands, training_figures
from training.record import curves_figure, on_rollouts, read_log

TEMPLATE = Path(__file__).with_name("report.html.j2")
EVALUATED = {"loss": ("eval_loss", ".4f"), "token accuracy": ("eval_token_acc", ".4f")}
EVALUATED_ROLLOUTS = {
    "accuracy": ("evaluation/correct", ".1%"),
    "sequential tokens": ("evaluation/sequential tokens", ",.0f"),
    "total tokens": ("evaluation/total tokens", ",.0f"),
    "stages": ("evaluation/stages", ".2f"),
    "width": ("evaluation/width", ".2f"),
    "repaired": ("evaluation/repaired", ".1%"),
}


def write_training_report(run: Path) -> Path | None:
    """Write report.html from run.json, command.sh and the log. Return None if nothing has been logged yet."""
    lines = read_log(run)
    if not lines:
        return None
    record = json.loads((run / "run.json").read_text())
    arguments = record["settings"]["recipe"]["args"]
    with chart_style():
        figure = curves_figure(lines, columns=2)
        curves = figure_svg(figure) if figure else ""
    write_page(
        TEMPLATE,
        run / "report.html",
        name=run.name,
        lead=lead_sentence(record, lines),
        figures=list(training_figures(lines, devices_of(record))),
        curves=curves,
        unit="questions" if on_rollouts(lines) else "rows",
        evaluations=evaluation_table(lines),
        data=record["data"],
        recipe=list(recipe_values(run, arguments)),
        asked=asked_command(record),
        command=(run / "command.sh").read_text().strip(),
        serving=serving_commands(run, arguments),
    )
    return run / "report.html"


def lead_sentence(record: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    """Return what was trained, on how much, and what the loss did on the rows that were held out."""
    rows, *held_out = [file["rows"] for file in record["data"].values()]
    if on_rollouts(lines):
        figures = ", ".join(f"{name} {value}" for name, value in training_figures(lines) if "evaluated" in name)
        return f"{record['settings']['model']}, trained on its own answers to {rows:,} questions: {figures}."
    said = f"{record['settings']['model']}, fine-tuned on {rows:,} rows"
    if held_out and (evaluated := losses_by_step(lines, "eval_loss")):
        said += f"; the loss on {held_out[0]:,} held-out rows {course(evaluated)}"
    elif trained := losses_by_step(lines, "loss"):
        said += f"; the training loss {course(trained)}, and nothing was evaluated"
    return f"{said}."


def losses_by_step(lines: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return the steps after which a loss was logged, and its values."""
    return [(int(line["step"]), float(line[name])) for line in lines if name in line]


def course(losses: list[tuple[int, float]]) -> str:
    """Return how a loss changed, and since which step; of one that was logged once, what it was."""
    (step, first), (last_step, last) = losses[0], losses[-1]
    place = f"after step {step:,}" if step else "before the first step"
    if len(losses) == 1:
        return f"was {first:.4f} {place}"
    return f"went from {first:.4f} {place} to {last:.4f} after step {last_step:,}"


def evaluation_table(lines: list[dict[str, Any]]) -> list[list[str]]:
    """Return the head and the rows of a table of the evaluations; an empty list without any."""
    columns = EVALUATED_ROLLOUTS if on_rollouts(lines) else EVALUATED
    rows = [
        [str(line["step"]), *(f"{float(line[key]):{unit}}" if key in line else "" for key, unit in columns.values())]
        for line in lines
        if next(iter(columns.values()))[0] in line
    ]
    return [["step", *columns], *rows] if rows else []
