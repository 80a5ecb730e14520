"""Measure the grader's accuracy: on pairs from other graders' tests, on near misses, and on reference solutions.

python benchmarks/bench_grader.py pairs ../shared/data/grader_pairs_dev.jsonl       # rows of gold, pred, equal
python benchmarks/bench_grader.py near-misses ../shared/data/math500.jsonl          # rows with an answer
python benchmarks/bench_grader.py solutions ../shared/data/math500.jsonl            # rows with solution and answer

`solutions` exits with 1 if a reference solution is graded wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from benchmarks.near_misses import near_misses
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import compare

app = typer.Typer(add_completion=False, help=__doc__)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text().splitlines())


@app.command()
def pairs(path: Path) -> None:
    """List the pairs on which the grader disagrees with the expected verdict, with the grader's reason."""
    table = Table("gold", "answer", "expected", "ours", "why", "from")
    count = 0
    for count, pair in enumerate(read_rows(path), 1):  # noqa: B007
        found = compare(pair["pred"], pair["gold"])
        if (found.match is Match.SAME) != pair["equal"]:
            expected = "same" if pair["equal"] else "different"
            texts = (Text(pair[key][-120:]) for key in ("gold", "pred"))
            table.add_row(*texts, expected, found.match.value, found.reason, pair.get("source", ""))
    agreed = count - table.row_count
    screen().print(table, f"{agreed} of {count} agree ({agreed / count:.1%})", highlight=False)


@app.command(name="near-misses")
def near(path: Path, column: str = "answer") -> None:
    """Change a digit, sign, base, exponent, variable, unit or bracket of each gold answer; list what is graded
    correct."""
    found: Counter[tuple[str, str]] = Counter()
    right = Table("change", "gold", "near miss", title="Graded correct (check each: some keep the value)")
    for gold in sorted({row[column] for row in read_rows(path)}):
        for change, other in near_misses(gold):
            match = compare(other, gold).match
            found[change, match.value] += 1
            if match is Match.SAME:
                right.add_row(change, Text(gold), Text(other))
    table = Table("change", *(match.value for match in Match))
    for change in dict.fromkeys(change for change, _ in found):
        table.add_row(change, *(str(found[change, match.value]) for match in Match))
    screen().print(right, table, f"{found.total():,} near misses, {right.row_count} graded correct", highlight=False)


@app.command()
def solutions(path: Path) -> None:
    """Grade each reference solution against its own answer."""
    wrong = Table("answer", "read from the solution", "why")
    count = 0
    for count, row in enumerate(read_rows(path), 1):  # noqa: B007
        answer = extract_answer(row["solution"])
        found = compare(answer or "", row["answer"])
        if found.match is not Match.SAME:
            wrong.add_row(Text(row["answer"]), Text(str(answer)), found.reason)
    screen().print(wrong, f"{count - wrong.row_count} of {count} graded correct", highlight=False)
    raise typer.Exit(1 if wrong.row_count else 0)


if __name__ == "__main__":
    with one_line_errors():
        app()
