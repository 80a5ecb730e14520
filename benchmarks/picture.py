"""Draw a run over its tokens: the planner, its executors, and the sequential model's run of the same question below.

    python -m benchmarks.picture docs/images/run.json docs/images/plan.svg --baseline docs/images/baseline.json \
        --terminal docs/images/terminal.svg

Trajectories are what `sprint-sgl solve --json` prints and what a record of a benchmark holds. The x axis is the
critical path in tokens (paper, section 4.1), so that the picture does not depend on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from html import escape
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sprint_sgl import protocol
from sprint_sgl.cli.solve import judge_answer
from sprint_sgl.console import one_line_errors
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.storage.files import whole_file
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.terminal import StageText, cost_table, stage_panel
from sprint_sgl.view.timeline import PLANNER, Bar, bars_by_tokens

LEFT, WIDTH, RIGHT = 150, 760, 30  # pixels
LANE, THICK, TOP = 26, 16, 44
COLUMNS = 112  # of the terminal
FONT_FILE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # rich names files of a content network
PLAN, EXECUTION, BASELINE = "#3f51b5", "#ef8f1c", "#8a8f98"


def picture(run: Trajectory, baseline: Trajectory | None) -> str:
    """Return the SVG. Bars that the answer waits for are opaque, all others are pale."""
    bars = bars_by_tokens(run)
    lanes = max(bar.lane for bar in bars) + 1
    longest = max(run.sequential_tokens, baseline.sequential_tokens if baseline else 0)
    height = TOP + LANE * (lanes + 2 if baseline else lanes) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#24292f">',
        f"<title>{escape(run.question)}: {run.sequential_tokens} sequential tokens</title>",
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-weight="600">{escape(run.question)}</text>',
        *lane_labels(lanes),
        *(bar_shape(bar, WIDTH / longest) for bar in bars),
        *end_mark(run.sequential_tokens, WIDTH / longest, lanes),
    ]
    if baseline:
        lines += baseline_lane(baseline, WIDTH / longest, lanes)
    lines.append(f'<text x="{LEFT}" y="{height - 14}" fill="#57606a">tokens that the answer waits for</text>')
    return "\n".join([*lines, "</svg>", ""])


def lane_labels(lanes: int) -> Iterator[str]:
    for lane in range(lanes):
        name = "planner" if lane == PLANNER else f"executor {lane}"
        yield f'<text x="{LEFT - 12}" y="{TOP + LANE * lane + 13}" text-anchor="end">{name}</text>'


def bar_shape(bar: Bar, scale: float) -> str:
    colour, opacity = PLAN if bar.lane == PLANNER else EXECUTION, 1 if bar.critical else 0.35
    place = f'x="{LEFT + bar.start * scale:.1f}" y="{TOP + LANE * bar.lane}"'
    size = f'width="{max(1.0, (bar.end - bar.start) * scale - 1):.1f}" height="{THICK}" rx="2"'
    label = f"<title>{bar.name}: {bar.tokens} tokens</title>"
    return f'<rect {place} {size} fill="{colour}" opacity="{opacity}">{label}</rect>'


def end_mark(tokens: int, scale: float, lanes: int) -> Iterator[str]:
    x, y = LEFT + tokens * scale, TOP + LANE * lanes
    yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{y - 6}" stroke="{PLAN}" stroke-dasharray="3 3"/>'
    yield f'<text x="{x + 8:.1f}" y="{TOP + 13}" fill="{PLAN}" font-weight="600">SPRINT: {tokens} tokens</text>'


def baseline_lane(baseline: Trajectory, scale: float, lanes: int) -> Iterator[str]:
    y, width = TOP + LANE * (lanes + 0.5), baseline.sequential_tokens * scale
    yield f'<text x="{LEFT - 12}" y="{y + 13}" text-anchor="end">sequential</text>'
    yield f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{THICK}" rx="2" fill="{BASELINE}"/>'
    label = f"sequential model: {baseline.sequential_tokens} tokens"
    yield f'<text x="{LEFT + width - 8:.1f}" y="{y + 13}" text-anchor="end" fill="#ffffff">{label}</text>'


def terminal_picture(run: Trajectory, baseline: Trajectory | None) -> str:
    """Return what `sprint-sgl solve` leaves on a terminal as an SVG that loads no font."""
    console = Console(record=True, file=StringIO(), width=COLUMNS, force_terminal=True, color_system="truecolor")
    for number, stage in enumerate(run.stages, 1):
        texts = {j: execution.text for j, execution in enumerate(stage.executions, 1)}
        plan = protocol.render_plan(number, stage.prompts, stage.tail)
        console.print(stage_panel(number, StageText(plan, texts)))
    answer = protocol.render_final_answer(run.final_answer)
    console.print(stage_panel(len(run.stages) + 1, StageText(answer), partial(judge_answer, run.question)))
    answers = [("SPRINT", run), *([("sequential", baseline)] if baseline else [])]
    rows = [(name, read_answer(each.final_answer, each.thought), each) for name, each in answers]
    console.print(cost_table(rows, COLUMNS))
    drawn = console.export_svg(title=f'sprint-sgl solve "{run.question}"', unique_id="terminal")
    return FONT_FILE.sub("", drawn)


def main(
    run: Annotated[Path, typer.Argument(dir_okay=False, exists=True)],
    out: Annotated[Path, typer.Argument(dir_okay=False)],
    baseline: Annotated[Path | None, typer.Option(dir_okay=False, exists=True, help="a sequential run")] = None,
    terminal: Annotated[Path | None, typer.Option(dir_okay=False, help="also the terminal's view, as SVG")] = None,
) -> None:
    """Draw the trajectory RUN (JSON) as OUT (SVG)."""
    drawn = Trajectory.from_json(run.read_bytes())
    other = Trajectory.from_json(baseline.read_bytes()) if baseline else None
    with whole_file(out) as file:
        file.write(picture(drawn, other))
    if terminal:
        with whole_file(terminal) as file:
            file.write(terminal_picture(drawn, other))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
