"""The paper's Table 2 for a terminal: the figures of every method, and how methods compare on the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from sprint_sgl.bench.failures import Failure
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.lines import Against, Line, Side
from sprint_sgl.bench.report.statistics import Estimate

FIGURES = ("", "method", "n", "correct, %", "sequential\ntokens", "total\ntokens", "cached", "seconds", "repaired")
JUDGED = "with the\njudge, %"
RATIOS = ("", "method", "against", "n", "points", "p", "sequential\ntokens", "total\ntokens", "seconds")
WORDS = ("", "method", "against")

Named = tuple[str, Line]
Compared = tuple[str, str, Against]


def comparison(
    records: Sequence[Record],
    methods: Sequence[str],
    failures: Sequence[Failure] = (),
    groups_of: Mapping[str, str] | None = None,
) -> list[Table]:
    """The figures of each group, and of all where there are several, and the first method against the others.

    `groups_of` has the groups of the questions that failed.
    """
    figures: list[Named] = []
    ratios: list[Compared] = []
    groups = sorted({record.group for record in records})
    for group in groups if len(groups) == 1 else [*groups, None]:
        chosen = [record for record in records if group is None or record.group == group]
        left = [each for each in failures if group is None or (groups_of or {}).get(each.id) == group]
        failed = {name: [each.id for each in left if each.method == name] for name in methods}
        sides = [side for name in methods if (side := Side.of(name, chosen, failed[name])).records]
        named = "all" if group is None else group
        figures += [(named, Line.of(side.name, side)) for side in sides]
        ratios += [(named, sides[0].name, found) for side in sides[1:] if (found := Against.of(sides[0], side))]
    return tables(figures, ratios)


def tables(figures: Sequence[Named], ratios: Sequence[Compared]) -> list[Table]:
    """A table of figures, and one of ratios where anything is compared; the first column says what of."""
    judges = any(line.judged is not None for _, line in figures)
    found = [_table([*FIGURES, JUDGED] if judges else FIGURES, (_figures(*each, judges) for each in figures))]
    return [*found, _table(RATIOS, (_ratios(*each) for each in ratios))] if ratios else found


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Table:
    """A first column that says the same as above stays empty."""
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=name not in WORDS, overflow="fold")
    above = None
    for first, *others in rows:
        if above not in (None, first):
            table.add_section()
        table.add_row("" if first == above else first, *others)
        above = first
    return table


def _figures(group: str, line: Line, judges: bool) -> tuple[str, ...]:
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


def _ratios(group: str, name: str, found: Against) -> tuple[str, ...]:
    """Points and McNemar's p; ratios with their intervals; of seconds the ratio of means."""
    return (
        group,
        name,
        found.baseline,
        f"{found.questions:,}",
        f"{found.points:+.1f}",
        f"{found.p:.2g}",
        _ratio(found.sequential),
        _ratio(found.total),
        f"{1 / found.realised.value:.2f}" if found.realised else "",
    )


def _ratio(found: Estimate | None) -> str:
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})" if found else ""
