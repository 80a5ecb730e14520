"""How far the rules of curation/annotate/discourse.py agree with recorded replies of an LLM, beside a baseline.

python -m benchmarks.agreement recorded=../shared/data/curation_recorded
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Self

import networkx as nx
from omegaconf import MISSING
from rich import box
from rich.table import Table

from benchmarks.recorded import GO_ON, Annotation, Recording, read_recordings
from curation.annotate import discourse
from curation.annotate.components import PHASES, Component, graph_of
from curation.stages.pack import pack
from curation.trace import Trace
from sprint_sgl.config import entry_point
from sprint_sgl.console import screen

NEAR = 1  # lines


@dataclass
class Config:
    recorded: str = MISSING


@dataclass(frozen=True)
class Summed:
    """A dataclass whose instances add up field by field."""

    def __add__(self, other: Self) -> Self:
        values = (getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        return type(self)(*values)


@dataclass(frozen=True)
class Confusion(Summed):
    """Counts of yes and no by two annotators, the first taken for right."""

    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    @staticmethod
    def of(pairs: Iterable[tuple[bool, bool]]) -> Confusion:
        counts = Counter(pairs)
        return Confusion(counts[True, True], counts[True, False], counts[False, True], counts[False, False])

    @property
    def precision(self) -> float:
        return _share(self.both, self.both + self.second)

    @property
    def recall(self) -> float:
        return _share(self.both, self.both + self.first)

    @property
    def f1(self) -> float:
        return _share(2 * self.both, 2 * self.both + self.first + self.second)

    @property
    def accuracy(self) -> float:
        return _share(self.both + self.neither, sum(astuple(self)))

    @property
    def kappa(self) -> float:
        """Cohen's: 1 is full agreement, 0 what chance would give."""
        yes = (self.both + self.first) * (self.both + self.second)
        no = (self.second + self.neither) * (self.first + self.neither)
        chance = _share(yes + no, sum(astuple(self)) ** 2)
        return 1.0 if chance == 1 else (self.accuracy - chance) / (1 - chance)


def _share(part: int, whole: int) -> float:
    """Nothing to find and nothing found is agreement."""
    return part / whole if whole else 1.0


@dataclass(frozen=True)
class Agreement(Summed):
    """One annotation against another that is taken for right; sums over traces pool their counts.

    starts    lines at which a component starts, the first line left out
    near      the same, NEAR lines off allowed, each start matched once
    phases    lines whose phase is the same (both) or not (first)
    same      pairs of lines: in one component
    needs     pairs of lines that the right annotation has in two components: the later one needs the earlier one,
              over any number of steps; within one component it does
    steps, stages   to which the other annotation packs, and the right one, as the filter counts them
    """

    starts: Confusion = Confusion()
    near: Confusion = Confusion()
    phases: Confusion = Confusion()
    same: Confusion = Confusion()
    needs: Confusion = Confusion()
    steps: int = 0
    stages: int = 0
    right_steps: int = 0
    right_stages: int = 0


# The measures


def agreement(right: Annotation, other: Annotation, lines: Sequence[str]) -> Agreement:
    """What `other` has in common with `right` on the same lines."""
    owner, other_owner = owners_of(right), owners_of(other)
    alike = sum(owner[line][1] == other_owner[line][1] for line in owner)
    return Agreement(
        matched(starts_of(right), starts_of(other), 0),
        matched(starts_of(right), starts_of(other), NEAR),
        Confusion(both=alike, first=len(lines) - alike),
        *line_pairs(right, other, len(lines)),
        *packed(other, lines),
        *packed(right, lines),
    )


def line_pairs(right: Annotation, other: Annotation, count: int) -> tuple[Confusion, Confusion]:
    """`same` and `needs` of Agreement."""
    owner, other_owner = owners_of(right), owners_of(other)
    needs, other_needs = needs_of(right), needs_of(other)
    pairs = combinations(range(1, count + 1), 2)
    owners = [(owner[a][0], owner[b][0], other_owner[a][0], other_owner[b][0]) for a, b in pairs]
    same = Confusion.of((a == b, c == d) for a, b, c, d in owners)
    return same, Confusion.of(((a, b) in needs, (c, d) in other_needs) for a, b, c, d in owners if a != b)


def owners_of(annotation: Annotation) -> dict[int, tuple[int, str]]:
    """The component of each line, from 1, and its phase."""
    return {
        line: (number, phase)
        for number, component in enumerate(annotation.components, 1)
        for phase in PHASES
        for first, last in getattr(component, phase)
        for line in range(first, last + 1)
    }


def starts_of(annotation: Annotation) -> list[int]:
    return [min(first for first, _ in component.spans) for component in annotation.components[1:]]


def matched(right: Sequence[int], other: Sequence[int], within: int) -> Confusion:
    """Sorted places matched one to one, from the left."""
    left, found = list(other), 0
    for place in right:
        near = next((candidate for candidate in left if abs(candidate - place) <= within), None)
        if near is not None:
            left.remove(near)
            found += 1
    return Confusion(found, len(right) - found, len(left))


def needs_of(annotation: Annotation) -> set[tuple[int, int]]:
    """(earlier, later) for each two components of which the later needs the earlier; each needs itself."""
    return set(nx.transitive_closure(graph_of(annotation.parents), reflexive=True).edges)


def packed(annotation: Annotation, lines: Sequence[str]) -> tuple[int, int]:
    """Steps and stages, as the filter counts them."""
    steps = (c.step(lines, named) for c, named in zip(annotation.components, annotation.parents, strict=True))
    sigma = pack(Trace("", "", tuple(steps), "")).sigma
    return len(sigma), max(sigma)


# The annotators


def by_rules(lines: Sequence[str]) -> Annotation:
    components, parents = discourse.annotate("", lines)
    return Annotation(components, tuple(parents))


def by_paragraphs(lines: Sequence[str]) -> Annotation:
    """The baseline: each paragraph is a component which begins with a line of plan and needs the one before it."""
    starts = [n for n in range(len(lines)) if n == 0 or lines[n - 1].endswith("\n\n")]
    ends = [*starts[1:], len(lines)]
    components = tuple(
        Component(plan=((start + 1, start + 1),), prompt=GO_ON, execution=((start + 2, end),))
        if end - start > 1
        else Component(plan=((start + 1, end),))
        for start, end in zip(starts, ends, strict=True)
    )
    return Annotation(components, tuple((n,) if n else () for n in range(len(components))))


ANNOTATORS: dict[str, Callable[[Sequence[str]], Annotation]] = {
    "rules": by_rules,
    "paragraphs, each after the one before": by_paragraphs,
}


# The table

COLUMNS: dict[str, Callable[[Agreement], str]] = {
    "start P": lambda a: f"{a.starts.precision:.2f}",
    "R": lambda a: f"{a.starts.recall:.2f}",
    "F1": lambda a: f"{a.starts.f1:.2f}",
    "F1 \u00b11": lambda a: f"{a.near.f1:.2f}",
    "phase": lambda a: f"{a.phases.accuracy:.2f}",
    "same \u03ba": lambda a: f"{a.same.kappa:.2f}",
    "needs": lambda a: f"{a.needs.accuracy:.2f}",
    "F1 ": lambda a: f"{a.needs.f1:.2f}",
    "\u03ba": lambda a: f"{a.needs.kappa:.2f}",
    "steps": lambda a: f"{a.steps} ({a.right_steps})",
    "stages": lambda a: f"{a.stages} ({a.right_stages})",
    "ratio": lambda a: f"{_share(a.steps, a.stages):.2f} ({_share(a.right_steps, a.right_stages):.2f})",
}


def table(title: str, rows: Mapping[str, Agreement]) -> Table:
    """One line a trace and one for all, whose counts are pooled."""
    result = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("trace", *COLUMNS):
        result.add_column(name, justify="right")
    for name, row in ({**rows, "all": sum(rows.values(), Agreement())}).items():
        style = "bold" if name == "all" else None
        result.add_row(name, *(figure(row) for figure in COLUMNS.values()), style=style)
    return result


def measured(recordings: Sequence[Recording], annotate: Callable[[Sequence[str]], Annotation]) -> dict[str, Agreement]:
    """By trace; what is recorded packs by the lines that its replies name."""
    return {
        r.name: replace(agreement(r.annotation, annotate(r.lines), r.lines), right_steps=r.steps, right_stages=r.stages)
        for r in recordings
    }


@entry_point("agreement", Config)
def main(config: Config) -> None:
    recordings = read_recordings(Path(config.recorded))
    for name, annotate in ANNOTATORS.items():
        screen().print(table(f"{name}; in brackets what is recorded", measured(recordings, annotate)))


if __name__ == "__main__":
    main()
