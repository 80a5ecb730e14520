"""The steps of a curated trace as a graph: one column for each stage, arrows from parents (paper, section 3.2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMN, ROW, MARGIN, TOP, RADIUS = 150, 44, 60, 44, 13  # pixels
DIAGONAL = round(RADIUS * 0.7)
BEND, BOW, WIDEST_BOW = 60, 9, 60  # of an edge to another column, and of one in a column, for each row


@dataclass(frozen=True)
class DagNode:
    """A step: `parents` are the steps that it needs, `about` is its prompt or plan, `row` its place in the column."""

    number: int
    stage: int
    parents: tuple[int, ...]
    about: str
    executed: bool
    row: int

    @property
    def x(self) -> int:
        return Dag.column(self.stage)

    @property
    def y(self) -> int:
        return TOP + ROW * self.row


@dataclass(frozen=True)
class Dag:
    nodes: tuple[DagNode, ...]
    radius = RADIUS

    @staticmethod
    def of(steps: Sequence[Mapping[str, Any]], stages: Sequence[int]) -> Dag:
        """Return the graph of a trace's steps, with the stage of each. Raises KeyError, ValueError or TypeError."""
        rows: Counter[int] = Counter()
        nodes = []
        for number, (step, stage) in enumerate(zip(steps, stages, strict=True), 1):
            parents = tuple(map(int, step["parents"]))
            if stage < 1 or not all(0 < parent < number for parent in parents):
                raise ValueError(f"step {number} of stage {stage} names the parents {parents}")
            about = step["prompt"] or step["plan"]
            nodes.append(DagNode(number, stage, parents, about, bool(step["execution"]), rows[stage]))
            rows[stage] += 1
        return Dag(tuple(nodes))

    @staticmethod
    def column(stage: int) -> int:
        return MARGIN + COLUMN * (stage - 1)

    @property
    def stages(self) -> int:
        return max((node.stage for node in self.nodes), default=0)

    @property
    def width(self) -> int:
        return self.column(self.stages) + MARGIN

    @property
    def height(self) -> int:
        return TOP + ROW * (1 + max((node.row for node in self.nodes), default=0))

    @property
    def edges(self) -> list[str]:
        """SVG path data of each edge, from the rim of the parent to the rim of the node."""
        return [_edge(self.nodes[number - 1], node) for node in self.nodes for number in node.parents]


def _edge(parent: DagNode, node: DagNode) -> str:
    """Return an edge: from left to right between columns; in a column straight down, or a bow around steps between."""
    if parent.stage != node.stage:
        start, end = parent.x + RADIUS, node.x - RADIUS
        return f"M{start} {parent.y} C{start + BEND} {parent.y} {end - BEND} {node.y} {end} {node.y}"
    rows = node.row - parent.row
    if rows == 1:
        return f"M{parent.x} {parent.y + RADIUS} V{node.y - RADIUS}"
    side, bow = parent.x - DIAGONAL, parent.x - DIAGONAL - min(BOW * rows, WIDEST_BOW)
    start, end = parent.y + DIAGONAL, node.y - DIAGONAL
    return f"M{side} {start} C{bow} {start + DIAGONAL} {bow} {end - DIAGONAL} {side} {end}"
