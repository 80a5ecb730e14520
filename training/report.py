"""The page of a run: report.html in its folder, with curves, figures, data, recipe and commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sprint_sgl.view.pages import chart_style, figure_svg, write_page
from training.card import ARGUMENTS, serving_commands, training_figures
from training.record import curves_figure, read_log

TEMPLATE = Path(__file__).with_name("report.html.j2")


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
        figures=list(training_figures(lines)),
        curves=curves,
        evaluations=[line for line in lines if "eval_loss" in line],
        data=record["data"],
        recipe=[(key, arguments[key]) for key in ARGUMENTS if key in arguments],
        command=(run / "command.sh").read_text().strip(),
        serving=serving_commands(run, arguments),
    )
    return run / "report.html"


def lead_sentence(record: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    """Return what was trained, on how much, and what the loss did on the rows that were held out."""
    rows, *held_out = [file["rows"] for file in record["data"].values()]
    said = f"{record['settings']['model']}, fine-tuned on {rows:,} rows"
    evaluated = [float(line["eval_loss"]) for line in lines if "eval_loss" in line]
    if evaluated and held_out:
        said += f"; the loss on {held_out[0]:,} held-out rows went from {evaluated[0]:.4f} to {evaluated[-1]:.4f}"
    elif trained := [float(line["loss"]) for line in lines if "loss" in line]:
        said += f"; the training loss went from {trained[0]:.4f} to {trained[-1]:.4f}, and nothing was evaluated"
    return f"{said}."
