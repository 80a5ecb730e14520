"""The paper's Figures 4 to 6 from our own runs, sweeps, costs, and the promised against the realised speed-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from sprint_sgl.bench.report.figures import MethodFigures
from sprint_sgl.bench.report.findings import LengthBin
from sprint_sgl.bench.report.statistics import IntervalEstimate
from sprint_sgl.view.pages import BAR, CHART_WIDTH, EDGE, PALE_BAR, SERIES

MANY = 4  # methods or settings beyond which only the best are named

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _error_bars(estimate: IntervalEstimate) -> list[list[float]]:
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]


def _draw_curve(axes: Axes, name: str, points: Sequence[tuple[float, IntervalEstimate]]) -> None:
    estimates = [estimate for _, estimate in points]
    below, above = ([arms[k][0] for arms in map(_error_bars, estimates)] for k in (0, 1))
    heights = [estimate.value for estimate in estimates]
    drawn = axes.errorbar([x for x, _ in points], heights, yerr=[below, above], marker="o", capsize=3)
    _write_name(axes, name, points[-1][0], heights[-1], drawn.lines[0].get_color())


def _write_name(axes: Axes, name: str, x: float, y: float, color: Any) -> None:
    """Write a name beside its point, with room for it in the axes."""
    axes.annotate(name, (x, y), (7, 5), textcoords="offset points", color=color, fontsize=8.5)
    axes.margins(x=0.16, y=0.12)


def _label_share_axes(axes: Axes, x: str, y: str) -> None:
    """Label a chart whose heights are shares."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)


def pareto_figure(methods: Sequence[MethodFigures]) -> Figure:
    """Return accuracy over sequential tokens with 95 % intervals (Figure 4)."""
    figure = Figure(figsize=(CHART_WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(methods):
        x, y = method.sequential, method.correct
        beaten = any(
            other.sequential.value < x.value and other.correct.value >= y.value for other in methods if other != method
        )
        axes.errorbar(
            x.value,
            y.value,
            xerr=_error_bars(x),
            yerr=_error_bars(y),
            fmt="o",
            capsize=3,
            color=SERIES[number % len(SERIES)],
        )
        if len(methods) <= MANY or not beaten:
            _write_name(axes, method.name, x.value, y.value, SERIES[number % len(SERIES)])
    _label_share_axes(axes, "sequential tokens", "correct")
    return figure


def reduction_figure(bins_by_method: Mapping[str, Sequence[LengthBin]]) -> Figure | None:
    """Return the share of saved tokens by the baseline's length (Figure 6); None if no method has two bins."""
    curves = {name: bins for name, bins in bins_by_method.items() if len(bins) > 1}
    if not curves:
        return None
    figure = Figure(figsize=(CHART_WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, bins in curves.items():
        _draw_curve(axes, name, [((each.low + each.high) / 2, each.saved) for each in bins])
    axes.axhline(0, color=EDGE, linewidth=0.8)
    _label_share_axes(axes, "sequential tokens of the baseline", "saved")
    return figure


def sweep_figure(setting: str, curves: Mapping[str, Sequence[tuple[float, MethodFigures]]]) -> Figure:
    """Return accuracy and sequential tokens over the values of a setting, with 95 % intervals."""
    figure = Figure(figsize=(CHART_WIDTH, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in curves.items():
        _draw_curve(left, name, [(value, found.correct) for value, found in points])
        _draw_curve(right, name, [(value, found.sequential) for value, found in points])
    _label_share_axes(left, setting, "correct")
    right.set_xlabel(setting)
    right.set_ylabel("sequential tokens")
    right.grid(alpha=0.3)
    return figure


def heat_figure(row: str, column: str, cells: Mapping[tuple[float, float], MethodFigures], name: str) -> Figure:
    """Return a method's accuracy and sequential tokens over two settings, by (row, column) value; cells may lack."""
    rows, columns = (sorted({key[k] for key in cells}) for k in (0, 1))
    figure = Figure(figsize=(CHART_WIDTH, 1.2 + 0.5 * len(rows)), layout="constrained")
    panels: list[tuple[str, str, Callable[[MethodFigures], float]]] = [
        ("correct", "{:.0%}", lambda found: found.correct.value),
        ("sequential tokens", "{:,.0f}", lambda found: found.sequential.value),
    ]
    for axes, (title, form, value) in zip(figure.subplots(1, 2), panels, strict=True):
        grid = np.array([[value(cells[y, x]) if (y, x) in cells else np.nan for x in columns] for y in rows])
        least, most = np.nanmin(grid), np.nanmax(grid)
        for (i, j), found in np.ndenumerate(grid):
            if not np.isnan(found):
                strength = 0.08 + 0.4 * (found - least) / (most - least or 1.0)
                # Rectangles and not imshow, whose pixels are an image that the page's policy forbids.
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, color=SERIES[0], alpha=strength, linewidth=0))
                axes.text(j, i, form.format(found), ha="center", va="center")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), [f"{x:g}" for x in columns])
        axes.set_yticks(range(len(rows)), [f"{y:g}" for y in rows])
        axes.set_xlabel(column)
        axes.set_ylabel(row)
        axes.set_title(f"{name}: {title}")
    return figure


def cost_figure(found: Mapping[str, Sequence[tuple[float, IntervalEstimate]]], dollars_an_hour: float) -> Figure:
    """Return the machine's seconds and dollars per question over the number of concurrent questions."""
    figure = Figure(figsize=(CHART_WIDTH, 4), layout="constrained")
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
    return figure


def stages_figure(found: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]) -> Figure | None:
    """Return the questions that reach each stage, by group, and those whose stage is parallel (Figure 5)."""
    panels = [(name, group, counts) for name, groups in found.items() for group, counts in groups.items() if counts]
    if not panels:
        return None
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(CHART_WIDTH, 0.4 + 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, group, counts) in zip(grid.flat, panels, strict=False):
        _draw_stages(axes, f"{name}: {group}" if group else name, counts)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def _draw_stages(axes: Axes, title: str, counts: Sequence[tuple[int, int]]) -> None:
    numbers = range(1, len(counts) + 1)
    axes.bar(numbers, [reached for reached, _ in counts], color=PALE_BAR, label="reach the stage")
    axes.bar(numbers, [parallel for _, parallel in counts], color=BAR, width=0.5, label="with several prompts")
    axes.set_title(title)
    axes.set_xlabel("stage")
    axes.set_ylabel("answers")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def speed_figure(found: Sequence[tuple[str, float | None, float | None]]) -> Figure | None:
    """Return the speed-up by the clock over the one that token counts promise, by method; None if neither is known."""
    points = [(name, promised, realised) for name, promised, realised in found if promised and realised]
    if not points:
        return None
    figure = Figure(figsize=(CHART_WIDTH, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, promised, realised) in enumerate(points):
        axes.plot(promised, realised, "o", color=SERIES[number % len(SERIES)])
        _write_name(axes, name, promised, realised, SERIES[number % len(SERIES)])
    most = 1.1 * max(value for _, promised, realised in points for value in (promised, realised))
    axes.plot([0, most], [0, most], color=EDGE, linewidth=0.8, linestyle="--")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel("speed-up that sequential tokens promise")
    axes.set_ylabel("speed-up by the clock")
    return figure
