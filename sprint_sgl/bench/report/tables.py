"""The paper's Table 2 for a terminal: the figures of every method, and how methods compare on the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from sprint_sgl.bench.failures import Failure
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.lines import Comparison, MethodFigures, MethodRecords
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
NamedComparison = tuple[str, str, Comparison]


def comparison_tables(
    records: Sequence[Record],
    methods: Sequence[str],
    failures: Sequence[Failure] = (),
    groups_of: Mapping[str, str] | None = None,
) -> list[Table]:
    """The figures of each group, and of all where there are several, and the first method against the others.

    `groups_of` has the groups of the questions that failed.
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
        ratios += [(named, sides[0].name, found) for side in sides[1:] if (found := Comparison.of(sides[0], side))]
    return build_tables(figures, ratios)


def build_tables(figures: Sequence[NamedFigures], ratios: Sequence[NamedComparison]) -> list[Table]:
    """A table of figures, and one of ratios where anything is compared; the first column says what of."""
    judges = any(line.judged is not None for _, line in figures)
    found = [
        _table(
            [*FIGURE_COLUMNS, JUDGE_COLUMN] if judges else FIGURE_COLUMNS,
            (_figures_row(*each, judges) for each in figures),
        )
    ]
    return [*found, _table(COMPARISON_COLUMNS, (_comparison_row(*each) for each in ratios))] if ratios else found


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    """A first column that says the same as above stays empty."""
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


def _figures_row(group: str, line: MethodFigures, judges: bool) -> tuple[str, ...]:
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
    return (*figures, "" if line.judged is None else f"{100 * line.judged.value:.1f}") if judges else figures


def _comparison_row(group: str, name: str, found: Comparison) -> tuple[str, ...]:
    """Points and McNemar's p; ratios with their intervals; of seconds the ratio of means."""
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
