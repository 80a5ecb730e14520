"""The steps of a curated trace as a graph: one column for each stage, lines from parents (paper, section 3.2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMN, ROW, MARGIN, TOP, BOW = 150, 44, 60, 44, 40  # pixels


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
        """SVG path data of each edge, from left to right; a bow if both ends are in one column."""
        found = []
        for node in self.nodes:
            for parent in (self.nodes[number - 1] for number in node.parents):
                half = (node.x - parent.x) / 2
                out, back = (half, -half) if half else (BOW, BOW)
                bends = f"{parent.x + out:g} {parent.y} {node.x + back:g} {node.y}"
                found.append(f"M{parent.x} {parent.y} C{bends} {node.x} {node.y}")
        return found
