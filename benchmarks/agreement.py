"""Agreement of the rules of curation/annotate/discourse.py, and of a baseline, with recorded replies of an LLM.

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
class AgreementConfig:
    recorded: str = MISSING


@dataclass(frozen=True)
class Addable:
    """A dataclass whose instances are added field by field."""

    def __add__(self, other: Self) -> Self:
        values = (getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        return type(self)(*values)


@dataclass(frozen=True)
class Confusion(Addable):
    """Counts of yes and no by two annotators, of whom the first is the reference."""

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
        """Return Cohen's kappa: 1 is full agreement, 0 is chance."""
        yes = (self.both + self.first) * (self.both + self.second)
        no = (self.second + self.neither) * (self.first + self.neither)
        chance = _share(yes + no, sum(astuple(self)) ** 2)
        return 1.0 if chance == 1 else (self.accuracy - chance) / (1 - chance)


def _share(part: int, whole: int) -> float:
    """Return part / whole, 1 for 0 / 0: nothing to find and nothing found is agreement."""
    return part / whole if whole else 1.0


@dataclass(frozen=True)
class Agreement(Addable):
    """Counts that compare an annotation with a reference. Sums over traces pool the counts.

    starts    lines at which a component starts, without the first line
    near      the same with a tolerance of NEAR lines, each start matched once
    phases    lines with the same phase (both) or another phase (first)
    same      pairs of lines: are they in one component?
    needs     pairs of lines that the reference has in two components: does the later line need the earlier line,
              directly, indirectly, or since both are in one component?
    steps, stages               of the packed annotation, as the filter counts them
    right_steps, right_stages   of the packed reference
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
    """Compare `other` with the reference `right` on the same lines."""
    owner, other_owner = owners_of(right), owners_of(other)
    alike = sum(owner[line][1] == other_owner[line][1] for line in owner)
    return Agreement(
        match_places(starts_of(right), starts_of(other), 0),
        match_places(starts_of(right), starts_of(other), NEAR),
        Confusion(both=alike, first=len(lines) - alike),
        *compare_line_pairs(right, other, len(lines)),
        *count_packed(other, lines),
        *count_packed(right, lines),
    )


def compare_line_pairs(right: Annotation, other: Annotation, count: int) -> tuple[Confusion, Confusion]:
    """Return `same` and `needs` of Agreement."""
    owner, other_owner = owners_of(right), owners_of(other)
    needs, other_needs = needs_of(right), needs_of(other)
    pairs = combinations(range(1, count + 1), 2)
    owners = [(owner[a][0], owner[b][0], other_owner[a][0], other_owner[b][0]) for a, b in pairs]
    same = Confusion.of((a == b, c == d) for a, b, c, d in owners)
    return same, Confusion.of(((a, b) in needs, (c, d) in other_needs) for a, b, c, d in owners if a != b)


def owners_of(annotation: Annotation) -> dict[int, tuple[int, str]]:
    """Return the number of each line's component and the line's phase, by the line's number from 1."""
    return {
        line: (number, phase)
        for number, component in enumerate(annotation.components, 1)
        for phase in PHASES
        for first, last in getattr(component, phase)
        for line in range(first, last + 1)
    }


def starts_of(annotation: Annotation) -> list[int]:
    return [min(first for first, _ in component.spans) for component in annotation.components[1:]]


def match_places(right: Sequence[int], other: Sequence[int], within: int) -> Confusion:
    """Match sorted places one to one, from the left."""
    left, found = list(other), 0
    for place in right:
        near = next((candidate for candidate in left if abs(candidate - place) <= within), None)
        if near is not None:
            left.remove(near)
            found += 1
    return Confusion(found, len(right) - found, len(left))


def needs_of(annotation: Annotation) -> set[tuple[int, int]]:
    """Return (earlier, later) for all components of which the later needs the earlier; each needs itself."""
    return set(nx.transitive_closure(graph_of(annotation.parents), reflexive=True).edges)


def count_packed(annotation: Annotation, lines: Sequence[str]) -> tuple[int, int]:
    """Return the numbers of steps and stages, as the filter counts them."""
    steps = (c.step(lines, numbers) for c, numbers in zip(annotation.components, annotation.parents, strict=True))
    sigma = pack(Trace("", "", tuple(steps), "")).sigma
    return len(sigma), max(sigma)


# The annotators


def by_rules(lines: Sequence[str]) -> Annotation:
    components, parents = discourse.annotate("", lines)
    return Annotation(components, tuple(parents))


def by_paragraphs(lines: Sequence[str]) -> Annotation:
    """Annotate as the baseline: each paragraph is a component, begins with a line of plan and needs the one before."""
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
    """Return a table with a row for each trace, and one for all with pooled counts."""
    result = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("trace", *COLUMNS):
        result.add_column(name, justify="right")
    for name, row in ({**rows, "all": sum(rows.values(), Agreement())}).items():
        style = "bold" if name == "all" else None
        result.add_row(name, *(figure(row) for figure in COLUMNS.values()), style=style)
    return result


def measure(recordings: Sequence[Recording], annotate: Callable[[Sequence[str]], Annotation]) -> dict[str, Agreement]:
    """Return the agreement by trace. Steps and stages of the reference come from the lines that the replies name."""
    return {
        r.name: replace(agreement(r.annotation, annotate(r.lines), r.lines), right_steps=r.steps, right_stages=r.stages)
        for r in recordings
    }


@entry_point("agreement", AgreementConfig)
def main(config: AgreementConfig) -> None:
    recordings = read_recordings(Path(config.recorded))
    for name, annotate in ANNOTATORS.items():
        screen().print(table(f"{name} (in brackets: the recorded replies)", measure(recordings, annotate)))


if __name__ == "__main__":
    main()
