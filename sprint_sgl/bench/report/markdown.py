"""Tables of benchmark runs in Markdown, as a file or between two markers of somebody's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sprint_sgl.bench.report.figures import MethodFigures
from sprint_sgl.bench.report.tables import (
    COMPARISON_COLUMNS,
    FIGURE_COLUMNS,
    JUDGE_COLUMN,
    TEXT_COLUMNS,
    comparison_row,
    figures_row,
)
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import whole_file

BEGIN, END = "<!-- report: begin -->", "<!-- report: end -->"


def markdown_section(task: str, lines: Sequence[tuple[str, MethodFigures]]) -> str:
    """Return a task's heading, the table of its figures, and its comparisons; `lines` are (group, figures)."""
    has_judge = any(line.judged is not None for _, line in lines)
    columns = [*FIGURE_COLUMNS, JUDGE_COLUMN] if has_judge else FIGURE_COLUMNS
    parts = [f"### {task}", _table(columns, (figures_row(group, line, has_judge) for group, line in lines))]
    compared = [(group, line.name, line.against) for group, line in lines if line.against]
    if compared:
        parts.append(_table(COMPARISON_COLUMNS, (comparison_row(*each) for each in compared)))
    return "\n\n".join(parts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = [name.replace("\n", " ") for name in columns]
    ends = ["---" if name in TEXT_COLUMNS else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(map(_escape, row))} |" for row in (head, ends, *rows))


def _escape(cell: str) -> str:
    return cell.replace("|", r"\|")


def replace_between_markers(path: Path, text: str) -> None:
    """Put the text between the two markers of a Markdown file. Raises BadInput if the file lacks them."""
    try:
        page = path.read_text()
    except OSError as error:
        raise BadInput(f"--into {path} cannot be read: {error.strerror}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadInput(f"--into {path} has no part to replace: put the lines {BEGIN} and {END} where the tables go")
    with whole_file(path) as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
