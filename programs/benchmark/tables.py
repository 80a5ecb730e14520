"""The paper's Table 2 for a terminal: a line a group of questions and method, and how the first method compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from rich import box
from rich.table import Table

from programs.benchmark.records import Record
from programs.benchmark.statistics import Estimate, mcnemar, mean, ratio_of_means
from sprint_sgl.show import critical_path
from sprint_sgl.trajectory import Trajectory

Value = Callable[[Trajectory], float]


@dataclass(frozen=True)
class Side:
    """One method's records, question by question: figures are means over a question's samples."""

    name: str
    records: dict[str, list[Record]]

    @staticmethod
    def of(name: str, records: Sequence[Record]) -> Side:
        found: dict[str, list[Record]] = {}
        for record in records:
            if record.method == name:
                found.setdefault(record.id, []).append(record)
        return Side(name, found)

    def common(self, other: Side) -> list[str]:
        """The questions that both have answered."""
        return [id for id in self.records if id in other.records]

    def correct(self, ids: Sequence[str] | None = None) -> list[float]:
        return [fmean(record.correct for record in self.records[id]) for id in self._ids(ids)]

    def values(self, value: Value, ids: Sequence[str] | None = None) -> list[float]:
        return [fmean(value(record.trajectory) for record in self.records[id]) for id in self._ids(ids)]

    def _ids(self, ids: Sequence[str] | None) -> Sequence[str]:
        return list(self.records) if ids is None else ids

    def share(self, holds: Callable[[Record], bool]) -> float:
        return fmean(holds(record) for records in self.records.values() for record in records)


def seconds(trajectory: Trajectory) -> float:
    return trajectory.seconds


def total(trajectory: Trajectory) -> float:
    return trajectory.total_tokens


def cached(trajectory: Trajectory) -> float:
    return trajectory.cached_share


def malformed(record: Record) -> bool:
    return bool(record.trajectory.repairs)


def right_with_judge(record: Record) -> bool:
    return record.correct or bool(record.judged)


def comparison(records: Sequence[Record], methods: Sequence[str]) -> Table:
    """Of each group, and of all where there are several."""
    table = Table(box=box.SIMPLE_HEAD)
    judges = any(record.judged is not None for record in records)
    names = ["", "method", "n", "correct, %", "sequential\ntokens", "total\ntokens", "cached", "seconds", "malformed"]
    for name in [*names, "with the\njudge, %"] if judges else names:
        table.add_column(name, justify="left" if name in ("", "method") else "right", no_wrap=True)
    groups = sorted({record.group for record in records})
    for group in groups if len(groups) == 1 else [*groups, None]:
        chosen = [record for record in records if group is None or record.group == group]
        named = "all" if group is None else group
        sides = [side for name in methods if (side := Side.of(name, chosen)).records]
        for number, side in enumerate(sides):
            table.add_row(named if number == 0 else "", side.name, *_figures(side, judges))
        for other in sides[1:]:
            table.add_row("", f"vs {other.name}", *_compared(sides[0], other), style="bold")
        table.add_section()
    return table


def _figures(side: Side, judges: bool) -> tuple[str, ...]:
    correct = mean(side.correct())
    figures = (
        f"{len(side.records):,}",
        f"{100 * correct.value:.1f} ({100 * correct.low:.0f}-{100 * correct.high:.0f})",
        f"{fmean(side.values(critical_path)):,.0f}",
        f"{fmean(side.values(total)):,.0f}",
        f"{fmean(side.values(cached)):.0%}",
        f"{median(side.values(seconds)):.2f}",
        f"{side.share(malformed):.1%}",
    )
    return (*figures, f"{100 * side.share(right_with_judge):.1f}") if judges else figures


def _compared(side: Side, other: Side) -> tuple[str, ...]:
    """On the questions that both answered: points and McNemar's p, ratios with their intervals."""
    ids = side.common(other)
    if not ids:
        return ()
    ours, theirs = side.correct(ids), other.correct(ids)
    p = mcnemar([value >= 0.5 for value in ours], [value >= 0.5 for value in theirs])
    times = median(side.values(seconds, ids)) / median(other.values(seconds, ids))
    return (
        f"{len(ids):,}",
        f"{100 * (fmean(ours) - fmean(theirs)):+.1f} (p={p:.2g})",
        _ratio(side, other, critical_path, ids),
        _ratio(side, other, total, ids),
        "",
        f"{times:.2f}",
        "",
    )


def _ratio(side: Side, other: Side, value: Value, ids: Sequence[str]) -> str:
    under = other.values(value, ids)
    if not any(under):
        return ""
    found: Estimate = ratio_of_means(side.values(value, ids), under)
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"
