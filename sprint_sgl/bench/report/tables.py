"""The paper's Table 2 for a terminal: the figures of every method, and comparisons on the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from sprint_sgl.bench.failures import QuestionFailure
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.figures import MethodComparison, MethodFigures, MethodRecords
from sprint_sgl.bench.report.statistics import IntervalEstimate

FIGURE_COLUMNS = (
    "",
    "method",
    "n",
    "correct, %",
    "sequential\ntokens",
    "total\ntokens",
    "cached",
    "seconds",
    "repaired",
)
JUDGE_COLUMN = "with the\njudge, %"
COMPARISON_COLUMNS = ("", "method", "against", "n", "points", "p", "sequential\ntokens", "total\ntokens", "seconds")
TEXT_COLUMNS = ("", "method", "against")

NamedFigures = tuple[str, MethodFigures]
NamedComparison = tuple[str, str, MethodComparison]


def comparison_tables(
    records: Sequence[Record],
    methods: Sequence[str],
    failures: Sequence[QuestionFailure] = (),
    groups_of: Mapping[str, str] | None = None,
) -> list[Table]:
    """Return the tables of one run: figures by group and in total, and the first method against each other method.

    `groups_of` maps the ids of failed questions to their groups.
    """
    figures: list[NamedFigures] = []
    ratios: list[NamedComparison] = []
    groups = sorted({record.group for record in records})
    for group in groups if len(groups) == 1 else [*groups, None]:
        chosen = [record for record in records if group is None or record.group == group]
        left = [each for each in failures if group is None or (groups_of or {}).get(each.id) == group]
        failed = {name: [each.id for each in left if each.method == name] for name in methods}
        sides = [side for name in methods if (side := MethodRecords.of(name, chosen, failed[name])).records]
        named = "all" if group is None else group
        figures += [(named, MethodFigures.of(side.name, side)) for side in sides]
        ratios += [
            (named, sides[0].name, found) for side in sides[1:] if (found := MethodComparison.of(sides[0], side))
        ]
    return build_tables(figures, ratios)


def build_tables(figures: Sequence[NamedFigures], ratios: Sequence[NamedComparison]) -> list[Table]:
    """Return a table of figures, and one of comparisons if there are any; the first column names the group or task."""
    has_judge = any(line.judged is not None for _, line in figures)
    found = [
        _table(
            [*FIGURE_COLUMNS, JUDGE_COLUMN] if has_judge else FIGURE_COLUMNS,
            (figures_row(*each, has_judge) for each in figures),
        )
    ]
    return [*found, _table(COMPARISON_COLUMNS, (comparison_row(*each) for each in ratios))] if ratios else found


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    """Return a table whose first column is left empty where it repeats the row above."""
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in columns:
        table.add_column(
            name, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=name not in TEXT_COLUMNS, overflow="fold"
        )
    above = None
    for first, *others in rows:
        if above not in (None, first):
            table.add_section()
        table.add_row("" if first == above else first, *others)
        above = first
    return table


def figures_row(group: str, line: MethodFigures, has_judge: bool) -> tuple[str, ...]:
    """Return the cells of FIGURE_COLUMNS, and of JUDGE_COLUMN if there is a judge."""
    figures = (
        group,
        line.name,
        f"{line.questions:,}",
        f"{100 * line.correct.value:.1f} ({100 * line.correct.low:.0f}-{100 * line.correct.high:.0f})",
        f"{line.sequential.value:,.0f}",
        f"{line.total.value:,.0f}",
        f"{line.cached:.0%}",
        f"{line.seconds:.2f}",
        f"{line.repaired:.1%}",
    )
    return (*figures, "" if line.judged is None else f"{100 * line.judged.value:.1f}") if has_judge else figures


def comparison_row(group: str, name: str, found: MethodComparison) -> tuple[str, ...]:
    """Return percentage points and their p-value, ratios with intervals, and the ratio of mean seconds."""
    return (
        group,
        name,
        found.baseline,
        f"{found.questions:,}",
        f"{found.points:+.1f}",
        f"{found.p:.2g}",
        _format_ratio(found.sequential),
        _format_ratio(found.total),
        f"{1 / found.realised.value:.2f}" if found.realised else "",
    )


def _format_ratio(found: IntervalEstimate | None) -> str:
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})" if found else ""
