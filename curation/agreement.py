"""How far the rules of curation/discourse.py agree with recorded replies of an LLM, beside a baseline.

    python -m curation.agreement recorded=../shared/data/curation_recorded

component_inline_K.txt gives components with their text, from which the trace is rebuilt, and created_dag_K.json their
parents. The recordings leave out the text of comments and how two phases were joined: here each begins a line, each
component a paragraph, which favours a baseline that cuts at paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import combinations
from operator import add
from pathlib import Path

import hydra
import networkx as nx
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from rich import box
from rich.table import Table

from curation import discourse
from curation.components import PHASES, Component, Refused, Span
from curation.numbering import split_lines
from curation.pack import pack
from curation.replies import read_parents
from curation.trace import Trace
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput

CONF = str(Path(__file__).parents[1] / "conf")
NEAR = 1  # lines
GO_ON = "Go on."  # a prompt where none is recorded


@dataclass
class Config:
    recorded: str = MISSING


@dataclass(frozen=True)
class Annotation:
    components: tuple[Component, ...]
    parents: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recording:
    """A trace as its recorded annotation gives it back."""

    name: str
    lines: tuple[str, ...]
    annotation: Annotation


@dataclass(frozen=True)
class Confusion:
    """Counts of yes and no by two annotators, the first taken for right."""

    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(*map(add, astuple(self), astuple(other)))

    @staticmethod
    def of(pairs: Iterable[tuple[bool, bool]]) -> Confusion:
        counts = [0, 0, 0, 0]
        for first, second in pairs:
            counts[2 * (not first) + (not second)] += 1
        return Confusion(*counts)

    @property
    def total(self) -> int:
        return self.both + self.first + self.second + self.neither

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
        return _share(self.both + self.neither, self.total)

    @property
    def kappa(self) -> float:
        """Cohen's: 1 is full agreement, 0 what chance would give."""
        yes = (self.both + self.first) * (self.both + self.second)
        no = (self.second + self.neither) * (self.first + self.neither)
        chance = _share(yes + no, self.total**2)
        return 1.0 if chance == 1 else (self.accuracy - chance) / (1 - chance)


def _share(part: int, whole: int) -> float:
    """Nothing to find and nothing found is agreement."""
    return part / whole if whole else 1.0


@dataclass(frozen=True)
class Packing:
    steps: int = 0
    stages: int = 0

    def __add__(self, other: Packing) -> Packing:
        return Packing(self.steps + other.steps, self.stages + other.stages)

    @property
    def ratio(self) -> float:
        return _share(self.steps, self.stages)


@dataclass(frozen=True)
class Agreement:
    """One annotation against another that is taken for right; sums over traces pool their counts.

    starts    lines at which a component starts, the first line left out
    near      the same, NEAR lines off allowed, each start matched once
    phases    lines whose phase is the same (both) or not (first)
    same      pairs of lines: in one component
    depends   pairs of lines that the right annotation has in two components: the later one needs the earlier one,
              over any number of steps; within one component it does
    right, packing   what the right annotation packs to, and the other
    """

    starts: Confusion = Confusion()
    near: Confusion = Confusion()
    phases: Confusion = Confusion()
    same: Confusion = Confusion()
    depends: Confusion = Confusion()
    right: Packing = Packing()
    packing: Packing = Packing()

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


# The measures


def agreement(right: Annotation, other: Annotation, lines: Sequence[str]) -> Agreement:
    """What `other` has in common with `right` on the same lines."""
    phases = phases_of(right), phases_of(other)
    alike = sum(phases[0][line] == phases[1][line] for line in phases[0])
    return Agreement(
        matched(starts_of(right), starts_of(other), 0),
        matched(starts_of(right), starts_of(other), NEAR),
        Confusion(both=alike, first=len(lines) - alike),
        *line_pairs(right, other, len(lines)),
        packing_of(right, lines),
        packing_of(other, lines),
    )


def line_pairs(right: Annotation, other: Annotation, count: int) -> tuple[Confusion, Confusion]:
    """`same` and `depends` of Agreement."""
    owner, other_owner = owners_of(right), owners_of(other)
    needs, other_needs = needs_of(right), needs_of(other)
    both = [(owner[a], owner[b], other_owner[a], other_owner[b]) for a, b in combinations(range(1, count + 1), 2)]
    same = Confusion.of((a == b, c == d) for a, b, c, d in both)
    return same, Confusion.of(((a, b) in needs, (c, d) in other_needs) for a, b, c, d in both if a != b)


def owners_of(annotation: Annotation) -> dict[int, int]:
    """The component of each line, from 1."""
    return {
        line: number
        for number, component in enumerate(annotation.components, 1)
        for first, last in component.spans
        for line in range(first, last + 1)
    }


def phases_of(annotation: Annotation) -> dict[int, str]:
    return {
        line: phase
        for component in annotation.components
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
    numbered = list(enumerate(annotation.parents, 1))
    graph = nx.DiGraph((parent, child) for child, named in numbered for parent in named)
    graph.add_nodes_from(child for child, _ in numbered)
    return set(nx.transitive_closure(graph, reflexive=True).edges)


def packing_of(annotation: Annotation, lines: Sequence[str]) -> Packing:
    steps = (c.step(lines, named) for c, named in zip(annotation.components, annotation.parents, strict=True))
    packed = pack(Trace("", "", tuple(steps), ""))
    return Packing(packed.steps, len(packed.trajectory.stages))


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


# The recordings

_COMPONENT = re.compile(r"^### Component \d+\s*$", re.M)
_FIELD = re.compile(r"^<(?P<name>\w+)>\n(?P<text>.*?)\n</(?P=name)>", re.M | re.S)


def read_recordings(folder: Path) -> list[Recording]:
    """The recorded annotations in order of their names. Raises BadInput."""
    files = sorted(folder.glob("component_inline_*.txt"))
    if not files:
        raise BadInput(f"{folder} holds no component_inline_*.txt: give recorded=FOLDER")
    return [_recording(file) for file in files]


def _recording(file: Path) -> Recording:
    name = file.stem.rpartition("_")[2]
    graph = file.with_name(f"created_dag_{name}.json")
    bodies = _COMPONENT.split(file.read_text())[1:]
    try:
        parents = read_parents(graph.read_text(), len(bodies))
    except (OSError, Refused) as error:
        raise BadInput(f"{graph} cannot be used: {error}") from None
    lines, components = rebuilt(bodies)
    return Recording(name, tuple(lines), without_empty(components, parents))


def rebuilt(bodies: Sequence[str]) -> tuple[list[str], list[Component]]:
    """The trace's lines, and its components over them; text that two phases repeat belongs to the earlier."""
    lines: list[str] = []
    components = []
    for body in bodies:
        texts = {found["name"]: found["text"].strip() for found in _FIELD.finditer(body)}
        named = [texts.get(phase, "") for phase in PHASES]
        spans = [_appended(lines, "" if text in ("None", *named[:place]) else text) for place, text in enumerate(named)]
        if lines and any(spans):
            lines[-1] += "\n"
        plan, execution, comment = spans
        components.append(Component(plan, texts.get("prompt") or GO_ON, execution, comment))
    return lines, components


def _appended(lines: list[str], text: str) -> tuple[Span, ...]:
    before = len(lines)
    lines += split_lines(f"{text}\n") if text else []
    return ((before + 1, len(lines)),) if text else ()


def without_empty(components: Sequence[Component], parents: Sequence[Sequence[int]]) -> Annotation:
    """A component that was nothing but a comment has no lines here: what needs it needs its parents."""
    kept: list[tuple[Component, tuple[int, ...]]] = []
    numbers: list[set[int]] = []
    for component, named in zip(components, parents, strict=True):
        needs = {number for parent in named for number in numbers[parent - 1]}
        if component.spans:
            kept.append((component, tuple(sorted(needs))))
        numbers.append({len(kept)} if component.spans else needs)
    return Annotation(tuple(component for component, _ in kept), tuple(needs for _, needs in kept))


# The table

COLUMNS: dict[str, Callable[[Agreement], str]] = {
    "start P": lambda a: f"{a.starts.precision:.2f}",
    "R": lambda a: f"{a.starts.recall:.2f}",
    "F1": lambda a: f"{a.starts.f1:.2f}",
    "F1 \u00b11": lambda a: f"{a.near.f1:.2f}",
    "phase": lambda a: f"{a.phases.accuracy:.2f}",
    "same \u03ba": lambda a: f"{a.same.kappa:.2f}",
    "needs": lambda a: f"{a.depends.accuracy:.2f}",
    "F1 ": lambda a: f"{a.depends.f1:.2f}",
    "\u03ba": lambda a: f"{a.depends.kappa:.2f}",
    "steps": lambda a: f"{a.packing.steps} ({a.right.steps})",
    "stages": lambda a: f"{a.packing.stages} ({a.right.stages})",
    "ratio": lambda a: f"{a.packing.ratio:.2f} ({a.right.ratio:.2f})",
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
    return {r.name: agreement(r.annotation, annotate(r.lines), r.lines) for r in recordings}


ConfigStore.instance().store("agreement_schema", Config)


@hydra.main(version_base="1.3", config_path=CONF, config_name="agreement")
def main(raw: Config) -> None:
    with one_line_errors():
        config: Config = OmegaConf.to_object(raw)  # type: ignore[assignment]
        recordings = read_recordings(Path(config.recorded))
        for name, annotate in ANNOTATORS.items():
            screen().print(table(f"{name}; in brackets what is recorded", measured(recordings, annotate)))


if __name__ == "__main__":
    main()
