"""The paper's Table 2 for a terminal: a line a group of questions and method, and how the first method compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from programs.benchmark.lines import Against, Line, Side
from programs.benchmark.records import Record
from programs.benchmark.runner import Failure
from programs.benchmark.statistics import Estimate

COLUMNS = ("", "method", "n", "correct, %", "sequential\ntokens", "total\ntokens", "cached", "seconds", "repaired")
JUDGED = "with the\njudge, %"


def comparison(
    records: Sequence[Record],
    methods: Sequence[str],
    failures: Sequence[Failure] = (),
    groups_of: Mapping[str, str] | None = None,
) -> Table:
    """Of each group, and of all where there are several; `groups_of` has the groups of the questions that failed."""
    table = Table(box=box.SIMPLE_HEAD)
    judges = any(record.judged is not None for record in records)
    for name in [*COLUMNS, JUDGED] if judges else COLUMNS:
        table.add_column(name, justify="left" if name in ("", "method") else "right", no_wrap=True)
    groups = sorted({record.group for record in records})
    for group in groups if len(groups) == 1 else [*groups, None]:
        chosen = [record for record in records if group is None or record.group == group]
        left = [each for each in failures if group is None or (groups_of or {}).get(each.id) == group]
        failed = {name: [each.id for each in left if each.method == name] for name in methods}
        sides = [side for name in methods if (side := Side.of(name, chosen, failed[name])).records]
        named = "all" if group is None else group
        for number, side in enumerate(sides):
            table.add_row(named if number == 0 else "", *_figures(Line.of(side.name, side), judges))
        for other in sides[1:]:
            if found := Against.of(sides[0], other):
                table.add_row("", *_compared(found), style="bold")
        table.add_section()
    return table


def _figures(line: Line, judges: bool) -> tuple[str, ...]:
    figures = (
        line.name,
        f"{line.questions:,}",
        f"{100 * line.correct.value:.1f} ({100 * line.correct.low:.0f}-{100 * line.correct.high:.0f})",
        f"{line.sequential.value:,.0f}",
        f"{line.total.value:,.0f}",
        f"{line.cached:.0%}",
        f"{line.seconds:.2f}",
        f"{line.repaired:.1%}",
    )
    return (*figures, "" if line.judged is None else f"{100 * line.judged:.1f}") if judges else figures


def _compared(found: Against) -> tuple[str, ...]:
    """Points and McNemar's p; ratios with their intervals; of seconds the ratio of medians."""
    return (
        f"vs {found.baseline}",
        f"{found.questions:,}",
        f"{found.points:+.1f} (p={found.p:.2g})",
        _ratio(found.sequential),
        _ratio(found.total),
        "",
        f"{1 / found.realised:.2f}",
    )


def _ratio(found: Estimate | None) -> str:
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})" if found else ""
