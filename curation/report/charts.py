"""Charts of the report as SVG: the stages' bars, the histograms, and the graph of a trace's steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from curation.report.shapes import Example, Measure
from curation.stages.base import StageCounts
from curation.stages.pack import as_plan_only
from sprint_sgl.view.dag import Dag
from sprint_sgl.view.pages import BAR, CHART_WIDTH, PALE_BAR, chart_style, figure_svg

MOST_BARS = 24
PER_ROW = 3


def funnel_svg(funnel: Sequence[StageCounts]) -> str:
    """Return the bars of the stages; an empty text if no stage rejected a trace, since all bars would be the same."""
    if all(stage.kept == stage.read for stage in funnel):
        return ""
    with chart_style():
        return figure_svg(funnel_figure(funnel))


def histograms_svg(packed: Sequence[Measure], kept: Sequence[Measure]) -> str:
    with chart_style():
        return figure_svg(histograms_figure(packed, kept))


def funnel_figure(funnel: Sequence[StageCounts]) -> Figure:
    """Return one bar per stage: the kept traces, then the rejected ones."""
    figure = Figure(figsize=(CHART_WIDTH, 0.4 + 0.38 * len(funnel)), layout="constrained")
    axes = figure.subplots()
    names, kept = [stage.stage for stage in funnel], [stage.kept for stage in funnel]
    axes.barh(names, kept, color=BAR, height=0.68)
    axes.barh(names, [stage.read - stage.kept for stage in funnel], left=kept, color=PALE_BAR, height=0.68)
    for row, stage in enumerate(funnel):
        axes.annotate(
            f"kept {stage.kept:,} of {stage.read:,}", (stage.read, row), (6, 0), textcoords="offset points", va="center"
        )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max((stage.read for stage in funnel), default=1) or 1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    return figure


def histograms_figure(packed: Sequence[Measure], kept: Sequence[Measure]) -> Figure:
    rows = -(-len(packed) // PER_ROW)
    figure = Figure(figsize=(CHART_WIDTH, 0.4 + 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, PER_ROW, squeeze=False).flat
    for axes, before, after in zip(panels, packed, kept, strict=True):
        histogram(axes, before, after)
    if all(before.counts == after.counts for before, after in zip(packed, kept, strict=True)):
        return figure  # the filter kept all
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
    return figure


def histogram(axes: Axes, packed: Measure, kept: Measure) -> None:
    """Draw kept traces over packed ones. The outer bars include values beyond packed's 1st and 99th percentile."""
    low, high = packed.quantile(0.01) or 0, packed.quantile(0.99) or 0
    width = bar_width(high - low, packed.bin)
    shift = width / 2 if packed.bin < 1 else (width - 1) / 2
    for measure, color, label in ((packed, PALE_BAR, "packed"), (kept, BAR, "kept by the filter")):
        bars = count_bins(measure.counts, low, high, width)
        axes.bar([left + shift for left in bars], list(bars.values()), 0.9 * width, color=color, label=label)
    axes.set_title(packed.name + (f" ({packed.unit.strip()})" if packed.unit else ""))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=packed.bin >= 1, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def bar_width(span: float, narrowest: float) -> float:
    """Return the smallest round multiple of the narrowest bar of which fewer than MOST_BARS cover the span."""
    widths = (narrowest * float(digit * 10**power) for power in count() for digit in (1, 2, 5))
    return next(width for width in widths if span / width < MOST_BARS)


def count_bins(counts: Counter[float], low: float, high: float, width: float) -> dict[float, int]:
    """Return the count of each bar by its left edge. Values outside low..high count in the outer bars."""
    bars: Counter[float] = Counter()
    for value, number in counts.items():
        bars[min(max(value, low), high) // width * width] += number
    return dict(sorted(bars.items()))


def step_graph(example: Example) -> Dag:
    """Return the graph of a trace's steps as they were packed."""
    steps = zip(example.trace.steps, example.executes, strict=True)
    packed = [asdict(step if executes else as_plan_only(step)) for step, executes in steps]
    return Dag.of(packed, example.sigma)
