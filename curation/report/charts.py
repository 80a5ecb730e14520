"""Pictures for the report: bars and histograms by matplotlib as SVG, and where a trace's steps stand in its graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from curation.report.shapes import Example, Measure
from curation.stages.base import Funnel
from sprint_sgl.view.pages import chart_style, figure_svg

KEPT, DROPPED = "#2f5d8a", "#d5d9de"
MOST_BARS = 24
PER_ROW = 3


def funnel_svg(funnel: Sequence[Funnel]) -> str:
    with chart_style():
        return figure_svg(funnel_figure(funnel))


def histograms_svg(packed: Sequence[Measure], kept: Sequence[Measure]) -> str:
    with chart_style():
        return figure_svg(histograms_figure(packed, kept))


def funnel_figure(funnel: Sequence[Funnel]) -> Figure:
    """A bar a stage: what it kept, and beside it what it rejected."""
    figure = Figure(figsize=(9, 0.4 + 0.38 * len(funnel)), layout="constrained")
    axes = figure.subplots()
    names, kept = [stage.stage for stage in funnel], [stage.kept for stage in funnel]
    axes.barh(names, kept, color=KEPT, height=0.68)
    axes.barh(names, [stage.read - stage.kept for stage in funnel], left=kept, color=DROPPED, height=0.68)
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
    figure = Figure(figsize=(9, 0.4 + 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, PER_ROW, squeeze=False).flat
    for axes, before, after in zip(panels, packed, kept, strict=True):
        histogram(axes, before, after)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
    return figure


def histogram(axes: Axes, packed: Measure, kept: Measure) -> None:
    """Kept over packed, in the same bars; the outer ones hold what lies beyond packed's 1st and 99th percentile."""
    low, high = packed.quantile(0.01) or 0, packed.quantile(0.99) or 0
    width = bar_width(high - low, packed.bin)
    shift = width / 2 if packed.bin < 1 else (width - 1) / 2
    for measure, color, label in ((packed, DROPPED, "packed"), (kept, KEPT, "kept by the filter")):
        bars = binned(measure.counts, low, high, width)
        axes.bar([left + shift for left in bars], list(bars.values()), 0.9 * width, color=color, label=label)
    axes.set_title(packed.name + (f" ({packed.unit.strip()})" if packed.unit else ""))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=packed.bin >= 1, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def bar_width(span: float, narrowest: float) -> float:
    """The narrowest bar or a round multiple of it, so that few enough cover the span."""
    widths = (narrowest * float(digit * 10**power) for power in count() for digit in (1, 2, 5))
    return next(width for width in widths if span / width < MOST_BARS)


def binned(counts: Counter[float], low: float, high: float, width: float) -> dict[float, int]:
    """The left edge of each bar -> how many; what lies outside low..high goes to the outer bars."""
    bars: Counter[float] = Counter()
    for value, number in counts.items():
        bars[min(max(value, low), high) // width * width] += number
    return dict(sorted(bars.items()))


COLUMN, SLOT, LANE, RADIUS, TOP, BOTTOM = 64, 40, 14, 14, 46, 26  # in the picture's units


@dataclass(frozen=True)
class Node:
    """A step in the picture; a step that does not execute only plans."""

    number: int
    x: float
    y: float
    executes: bool


@dataclass(frozen=True)
class Curve:
    """A piece of the way from a parent to its children; one that `arrives` ends at a step."""

    x1: float
    y1: float
    x2: float
    y2: float
    arrives: bool


@dataclass(frozen=True)
class Band:
    label: str
    x: float
    width: float


@dataclass(frozen=True)
class Picture:
    """A trace's graph, stages from left to right."""

    width: float
    height: float
    bands: tuple[Band, ...]
    curves: tuple[Curve, ...]
    nodes: tuple[Node, ...]
    radius: float = RADIUS


Place = tuple[int, int]  # the number of a step and a column: its own, or one that the way to its children crosses


def graph_of(example: Example) -> nx.DiGraph[int]:
    graph: nx.DiGraph[int] = nx.DiGraph()
    for number, step in enumerate(example.trace.steps, 1):
        graph.add_node(number)
        graph.add_edges_from((parent, number) for parent in step.parents)
    return graph


def picture(example: Example) -> Picture:
    """All curves run to the right: a step whose parent only plans stands beside it in the band of their stage."""
    graph = graph_of(example)
    columns = list(_columns(graph, example.sigma))
    column = {number: index for index, (_, numbers) in enumerate(columns) for number in numbers}
    heights = _heights(graph, column, len(columns))
    top, bottom = min(heights.values(), default=0.0), max(heights.values(), default=0.0)
    at = {place: ((place[1] + 0.5) * COLUMN, y - top + TOP) for place, y in heights.items()}
    nodes = (Node(n, *at[n, column[n]], executes) for n, executes in enumerate(example.executes, 1))
    bands = _bands([stage for stage, _ in columns])
    height = bottom - top + TOP + BOTTOM
    return Picture(COLUMN * len(columns), height, tuple(bands), tuple(_curves(graph, column, at)), tuple(nodes))


def _columns(graph: nx.DiGraph[int], sigma: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Stage and steps of each column; a stage has several where steps need a plan-only step of the same stage."""
    for stage in range(1, max(sigma, default=0) + 1):
        inside = graph.subgraph(number for number, own in enumerate(sigma, 1) if own == stage)
        for generation in nx.topological_generations(inside):
            yield stage, sorted(generation)


def _heights(graph: nx.DiGraph[int], column: dict[int, int], columns: int) -> dict[Place, float]:
    """The y of every step, and of every lane on which a way passes a column without ending there."""
    heights: dict[Place, float] = {}
    for index in range(columns):
        steps = [number for number in graph if column[number] == index]
        lanes = [n for n in graph if column[n] < index < max((column[c] for c in graph.successors(n)), default=0)]
        before = {n: [heights[p, index - 1] for p in graph.predecessors(n)] or [0.0] for n in steps}
        before |= {n: [heights[n, index - 1]] for n in lanes}
        order = sorted(before, key=lambda n: (fmean(before[n]), n))
        sizes = [SLOT if column[n] == index else LANE for n in order]
        y = -sum(sizes) / 2
        for number, size in zip(order, sizes, strict=True):
            heights[number, index] = y + size / 2
            y += size
    return heights


def _curves(graph: nx.DiGraph[int], column: dict[int, int], at: dict[Place, tuple[float, float]]) -> Iterator[Curve]:
    """Each step's ways to its children share lanes until they part."""
    for (number, index), (x, y) in at.items():
        start = x + RADIUS if column[number] == index else x
        for child in graph.successors(number):
            if column[child] == index + 1:
                child_x, child_y = at[child, index + 1]
                yield Curve(start, y, child_x - RADIUS - 5, child_y, arrives=True)
        if (number, index + 1) in at:
            yield Curve(start, y, *at[number, index + 1], arrives=False)


def _bands(stages: Sequence[int]) -> Iterator[Band]:
    for stage in dict.fromkeys(stages):
        yield Band(f"stage {stage}", stages.index(stage) * COLUMN, stages.count(stage) * COLUMN)
