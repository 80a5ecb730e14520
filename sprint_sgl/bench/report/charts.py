"""The paper's Figures 4 to 6 from our own runs, sweeps, costs, and the promised against the realised speed-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from sprint_sgl.bench.report.figures import MethodFigures
from sprint_sgl.bench.report.findings import LengthBin
from sprint_sgl.bench.report.statistics import IntervalEstimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACHED_COLOR, PARALLEL_COLOR = "#d5d9de", "#2f5d8a"


def _error_bars(estimate: IntervalEstimate) -> list[list[float]]:
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]


def _draw_curve(axes: Axes, name: str, points: Sequence[tuple[float, IntervalEstimate]]) -> None:
    estimates = [estimate for _, estimate in points]
    below, above = ([arms[k][0] for arms in map(_error_bars, estimates)] for k in (0, 1))
    heights = [estimate.value for estimate in estimates]
    axes.errorbar([x for x, _ in points], heights, yerr=[below, above], marker="o", capsize=3, label=name)


def _label_share_axes(axes: Axes, x: str, y: str) -> None:
    """Label a chart whose heights are shares."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def pareto_figure(methods: Sequence[MethodFigures]) -> Figure:
    """Return accuracy over sequential tokens with 95 % intervals (Figure 4)."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(methods):
        x, y = method.sequential, method.correct
        axes.errorbar(
            x.value,
            y.value,
            xerr=_error_bars(x),
            yerr=_error_bars(y),
            fmt="o",
            capsize=3,
            color=f"C{number % 10}",
            label=method.name,
        )
    _label_share_axes(axes, "sequential tokens", "correct")
    return figure


def reduction_figure(bins_by_method: Mapping[str, Sequence[LengthBin]]) -> Figure | None:
    """Return the share of saved tokens by the baseline's length (Figure 6); None if there are no bins."""
    if not any(bins_by_method.values()):
        return None
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, bins in bins_by_method.items():
        _draw_curve(axes, name, [((each.low + each.high) / 2, each.saved) for each in bins])
    axes.axhline(0, color="#888888", linewidth=0.8)
    _label_share_axes(axes, "sequential tokens of the baseline", "saved")
    return figure


def sweep_figure(setting: str, curves: Mapping[str, Sequence[tuple[float, MethodFigures]]]) -> Figure:
    """Return accuracy and sequential tokens over the values of a setting, with 95 % intervals."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in curves.items():
        _draw_curve(left, name, [(value, found.correct) for value, found in points])
        _draw_curve(right, name, [(value, found.sequential) for value, found in points])
    _label_share_axes(left, setting, "correct")
    right.set_xlabel(setting)
    right.set_ylabel("sequential tokens")
    right.grid(alpha=0.3)
    return figure


def cost_figure(found: Mapping[str, Sequence[tuple[float, IntervalEstimate]]], dollars_an_hour: float) -> Figure:
    """Return the machine's seconds and dollars per question over the number of concurrent questions."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in found.items():
        _draw_curve(axes, name, points)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("concurrent questions")
    axes.set_ylabel("seconds of the machine per question")
    a_second = dollars_an_hour / 3600
    dollars = axes.secondary_yaxis(
        "right", functions=(partial(np.multiply, a_second), partial(np.multiply, 1 / a_second))
    )
    dollars.set_ylabel(f"dollars per question, at ${dollars_an_hour:g} an hour")
    for axis in (axes.yaxis, dollars.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def stages_figure(found: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]) -> Figure | None:
    """Return the questions that reach each stage, by group, and those whose stage is parallel (Figure 5)."""
    panels = [(name, group, counts) for name, groups in found.items() for group, counts in groups.items() if counts]
    if not panels:
        return None
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, group, counts) in zip(grid.flat, panels, strict=False):
        _draw_stages(axes, f"{name}: {group}" if group else name, counts)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    grid[0][0].legend(frameon=False, fontsize=8)
    return figure


def _draw_stages(axes: Axes, title: str, counts: Sequence[tuple[int, int]]) -> None:
    numbers = range(1, len(counts) + 1)
    axes.bar(numbers, [reached for reached, _ in counts], color=REACHED_COLOR, label="reach the stage")
    axes.bar(
        numbers, [parallel for _, parallel in counts], color=PARALLEL_COLOR, width=0.5, label="with several prompts"
    )
    axes.set_title(title)
    axes.set_xlabel("stage")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def speed_figure(found: Sequence[tuple[str, float | None, float | None]]) -> Figure | None:
    """Return the speed-up by the clock over the one that token counts promise, by method; None if neither is known."""
    points = [(name, promised, realised) for name, promised, realised in found if promised and realised]
    if not points:
        return None
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, promised, realised) in enumerate(points):
        axes.plot(promised, realised, "o", color=f"C{number % 10}", label=name)
    most = 1.1 * max(value for _, promised, realised in points for value in (promised, realised))
    axes.plot([0, most], [0, most], color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xlabel("speed-up that sequential tokens promise")
    axes.set_ylabel("speed-up by the clock")
    axes.legend(frameon=False, fontsize=8)
    return figure
