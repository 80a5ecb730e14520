"""Convert released trajectories to tree rows: .venv/bin/python -m benchmarks.released_rows FILE.jsonl OUT

Each line of FILE has `problem` and `response`. `train cost dataset=OUT` reads the result, OUT.train.jsonl. The text
between the tags is unchanged; the lines around the tags follow our format.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from curation.jsonl import read_jsonl, write_jsonl
from curation.stages.reformat import RowFormat, sprint_row
from sprint_sgl import protocol
from sprint_sgl.console import one_line_errors, say
from sprint_sgl.protocol.prompts import prompt_style


def main(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], out: Path) -> None:
    """Write the rows of a file of released trajectories."""
    style, lines = prompt_style("sprint"), list(read_jsonl(file))
    if missing := [number for number, line in enumerate(lines, 1) if not {"problem", "response"} <= line.keys()]:
        raise typer.BadParameter(f"{file}, line {missing[0]}: `problem` or `response` is missing")
    found = [replace(protocol.parse(line["response"]), question=line["problem"]) for line in lines]
    rows = [sprint_row(trajectory, style, RowFormat.tree) for trajectory in found if trajectory.stages]
    if not rows:
        raise typer.BadParameter(f"{file}: no response has stages")
    with one_line_errors():
        count = write_jsonl(Path(f"{out}.train.jsonl"), iter(rows))
    say(f"{out}.train.jsonl: {count} rows")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
