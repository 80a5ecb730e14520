"""The sentence with which a report opens: what a method costs and gains against the baseline, and what is noise."""

from __future__ import annotations

from collections.abc import Sequence

from sprint_sgl.bench.report.figures import MethodComparison, MethodFigures
from sprint_sgl.bench.report.statistics import IntervalEstimate

FEW = 30  # questions below which no difference is worth a claim
SIGNIFICANT = 0.05


def headline(line: MethodFigures, concurrency: int | None) -> str:
    """Return the sentence; "" for the baseline. `concurrency` is that of the run, if it is known."""
    if (against := line.against) is None:
        return ""
    parts = [text for text in (_tokens(against), _clock(against, concurrency), _accuracy(against)) if text]
    *first, last = parts
    said = f"{', '.join(first)} and {last}" if first else last
    few = ": too few to tell" if against.questions < FEW else ""
    return f"{line.name} {said} ({against.questions:,} questions{few})."


def extremes(lines: Sequence[MethodFigures]) -> str:
    """Return a sentence about many methods or settings: the most accurate one, and the one with the fewest tokens."""
    best = max(lines, key=lambda line: (line.correct.value, -line.sequential.value))
    cheapest = min(lines, key=lambda line: (line.sequential.value, -line.correct.value))
    said = f"Of {len(lines)} settings {best.name} is the most accurate ({_point(best)})"
    return f"{said}." if best is cheapest else f"{said}, and {cheapest.name} needs the fewest ({_point(cheapest)})."


def _point(line: MethodFigures) -> str:
    return f"{line.correct.value:.0%} with {line.sequential.value:,.0f} sequential tokens"


def _tokens(against: MethodComparison) -> str:
    if against.sequential is None:
        return ""
    if includes_one(against.sequential):
        return f"has about as many sequential tokens as {against.baseline}"
    value = against.sequential.value
    if 0.45 <= value <= 0.55:
        return f"needs half the sequential tokens of {against.baseline} ({value:.2f})"
    return f"needs {value:.2f} times the sequential tokens of {against.baseline}"


def _clock(against: MethodComparison, concurrency: int | None) -> str:
    if against.realised is None:
        return ""
    loaded = f" with {concurrency} questions at a time" if concurrency and concurrency > 1 else ""
    if includes_one(against.realised):
        return f"is about as fast by the clock{loaded}"
    return f"is {against.realised.value:.2f} times as fast by the clock{loaded}"


def _accuracy(against: MethodComparison) -> str:
    if not against.points:
        return "is as accurate"
    way = "more" if against.points > 0 else "less"
    found = f"is {abs(against.points):.1f} points {way} accurate"
    return found if against.p < SIGNIFICANT else f"{found}, which may be chance (p = {against.p:.2g})"


def includes_one(ratio: IntervalEstimate) -> bool:
    """Return whether a ratio's interval has the value of no difference."""
    return ratio.low <= 1 <= ratio.high
