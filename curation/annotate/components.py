"""Components: the steps of a trace as spans of its numbered lines, and what must hold of them (appendix A.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby, pairwise

import networkx as nx

from curation.trace import Step

Span = tuple[int, int]
PHASES = ("plan", "execution", "comment")


class Reason(Enum):
    """Why a reply about components or their parents is refused."""

    NO_COMPONENTS = "no components"
    NUMBERING = "component numbers"
    UNREADABLE = "unreadable lines"
    OUT_OF_RANGE = "lines outside the trace"
    OVERLAP = "overlap"
    GAP = "gap"
    ORDER = "phases out of order"
    NO_PROMPT = "no prompt"
    EMPTY = "empty component"
    NO_DICTIONARY = "no parent dictionary"
    TWICE = "a component with two entries"
    MISSING = "a component without a key"
    UNKNOWN = "an unknown component"
    BACKWARD = "an edge backward"


class Refused(Exception):
    """A reply that cannot be used: the reason is counted, the message is what the model is told."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Component:
    """A step by the lines of its phases: inclusive spans, from 1, in order."""

    plan: tuple[Span, ...] = ()
    prompt: str = ""
    execution: tuple[Span, ...] = ()
    comment: tuple[Span, ...] = ()
    description: str = ""

    @property
    def spans(self) -> tuple[Span, ...]:
        return (*self.plan, *self.execution, *self.comment)

    def step(self, lines: Sequence[str], parents: Sequence[int] = ()) -> Step:
        """The component with its text; a component without an execution needs no prompt."""
        return Step(
            _text(self.plan, lines),
            self.prompt if self.execution else "",
            _text(self.execution, lines),
            _text(self.comment, lines),
            tuple(parents),
            sum(last - first + 1 for first, last in self.execution),
        )


def _text(spans: Sequence[Span], lines: Sequence[str]) -> str:
    return "".join("".join(lines[first - 1 : last]) for first, last in spans).strip()


def check_components(components: Sequence[Component]) -> None:
    """Phases in order, a prompt for every execution, no line twice. Raises Refused."""
    owner: dict[int, int] = {}
    for number, component in enumerate(components, 1):
        _check_phases(number, component)
        for line in _numbers(component.spans):
            if line in owner:
                raise refused(Reason.OVERLAP, f"Line {line} is in components {owner[line]} and {number}.")
            owner[line] = number
    for number, (before, after) in enumerate(pairwise(components), 2):
        if max(_numbers(before.spans)) > min(_numbers(after.spans)):
            raise refused(Reason.ORDER, f"Component {number} begins before component {number - 1} ends.")


def cover(components: Sequence[Component], lines: Sequence[str]) -> tuple[Component, ...]:
    """The components, which leave out no line with a letter or digit in it; what they leave out joins the phase
    before it. Raises Refused."""
    owners = {line: (index, phase) for index, phase, line in _owners(components)}
    if beyond := [line for line in owners if not 1 <= line <= len(lines)]:
        raise refused(Reason.OUT_OF_RANGE, f"The trace has lines 1-{len(lines)}; there is no line {beyond[0]}.")
    missing = [line for line in range(1, len(lines) + 1) if line not in owners]
    if said := [line for line in missing if re.search(r"\w", lines[line - 1])]:
        raise refused(Reason.GAP, f"No component covers {_listed(said)}.")
    for line in missing:
        owners[line] = owners.get(line - 1) or owners[min(owners)]
    return tuple(_with_lines(component, index, owners) for index, component in enumerate(components))


def _owners(components: Sequence[Component]) -> Iterator[tuple[int, str, int]]:
    for index, component in enumerate(components):
        for phase in PHASES:
            for line in _numbers(getattr(component, phase)):
                yield index, phase, line


def _with_lines(component: Component, index: int, owners: Mapping[int, tuple[int, str]]) -> Component:
    plan, execution, comment = (
        tuple(runs(sorted(line for line, owner in owners.items() if owner == (index, phase)))) for phase in PHASES
    )
    return replace(component, plan=plan, execution=execution, comment=comment)


def _numbers(spans: Sequence[Span]) -> Iterator[int]:
    for first, last in spans:
        yield from range(first, last + 1)


def runs(lines: Sequence[int]) -> Iterator[Span]:
    """Sorted line numbers as spans."""
    for _, run in groupby(enumerate(lines), key=lambda pair: pair[1] - pair[0]):
        numbers = [line for _, line in run]
        yield numbers[0], numbers[-1]


def _check_phases(number: int, component: Component) -> None:
    if not component.spans:
        raise refused(Reason.EMPTY, f"Component {number} names no lines.")
    if component.execution and not component.prompt:
        raise refused(Reason.NO_PROMPT, f"Component {number} has an execution and no prompt.")
    for before, after in (("plan", "execution"), ("execution", "comment"), ("plan", "comment")):
        earlier, later = getattr(component, before), getattr(component, after)
        if earlier and later and max(last for _, last in earlier) > min(first for first, _ in later):
            raise refused(Reason.ORDER, f"In component {number} the {after} begins before its {before} ends.")


def graph_of(parents: Sequence[Iterable[int]]) -> nx.DiGraph[int]:
    """The dependencies of components 1, 2 and so on: an edge from each parent to its child."""
    graph = nx.DiGraph((parent, child) for child, named in enumerate(parents, 1) for parent in named)
    graph.add_nodes_from(range(1, len(parents) + 1))
    return graph


def without_redundant(parents: Sequence[Iterable[int]]) -> list[tuple[int, ...]]:
    """The parents of components 1, 2 and so on, less those that another parent already stands for."""
    reduced = nx.transitive_reduction(graph_of(parents))
    return [tuple(sorted(reduced.predecessors(child))) for child in range(1, len(parents) + 1)]


def refused(reason: Reason, message: str) -> Refused:
    return Refused(reason.value, message)


def _listed(lines: Sequence[int], most: int = 8) -> str:
    shown = ", ".join(str(line) for line in lines[:most])
    return f"lines {shown}" + (f" and {len(lines) - most} more" if len(lines) > most else "")
