"""Components: the steps of a trace as spans of its numbered lines, and the checks of them (appendix A.2)."""

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
    """A reply that cannot be used: `reason` is counted, and the message is sent back to the model.

    A changed message is a changed request, which cached replies no longer answer.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Component:
    """A step as the lines of its phases: spans in order, from 1, both ends included."""

    plan: tuple[Span, ...] = ()
    prompt: str = ""
    execution: tuple[Span, ...] = ()
    comment: tuple[Span, ...] = ()
    description: str = ""

    @property
    def spans(self) -> tuple[Span, ...]:
        return (*self.plan, *self.execution, *self.comment)

    def step(self, lines: Sequence[str], parents: Sequence[int] = ()) -> Step:
        """Return the component with its text. A component without an execution gets no prompt."""
        return Step(
            _text_of(self.plan, lines),
            self.prompt if self.execution else "",
            _text_of(self.execution, lines),
            _text_of(self.comment, lines),
            tuple(parents),
            sum(last - first + 1 for first, last in self.execution),
        )


def _text_of(spans: Sequence[Span], lines: Sequence[str]) -> str:
    return "".join("".join(lines[first - 1 : last]) for first, last in spans).strip()


def check_components(components: Sequence[Component]) -> None:
    """Raise Refused unless phases are in order, every execution has a prompt, and no line is used twice."""
    owner: dict[int, int] = {}
    for number, component in enumerate(components, 1):
        _check_phases(number, component)
        for line in _line_numbers(component.spans):
            if line in owner:
                raise refusal(Reason.OVERLAP, f"Line {line} is in components {owner[line]} and {number}.")
            owner[line] = number
    for number, (before, after) in enumerate(pairwise(components), 2):
        if max(_line_numbers(before.spans)) > min(_line_numbers(after.spans)):
            raise refusal(Reason.ORDER, f"Component {number} begins before component {number - 1} ends.")


def cover(components: Sequence[Component], lines: Sequence[str]) -> tuple[Component, ...]:
    """Return the components with the lines that they left out, each of which joins the phase before it.

    Raises Refused if a line with a letter or digit is left out, or a component names a line that does not exist.
    """
    owners = {line: (index, phase) for index, phase, line in _owners(components)}
    if beyond := [line for line in owners if not 1 <= line <= len(lines)]:
        raise refusal(Reason.OUT_OF_RANGE, f"The trace has lines 1-{len(lines)}; there is no line {beyond[0]}.")
    missing = [line for line in range(1, len(lines) + 1) if line not in owners]
    if gap := [line for line in missing if re.search(r"\w", lines[line - 1])]:
        raise refusal(Reason.GAP, f"No component covers {_format_lines(gap)}.")
    for line in missing:
        owners[line] = owners.get(line - 1) or owners[min(owners)]
    return tuple(_take_lines(component, index, owners) for index, component in enumerate(components))


def _owners(components: Sequence[Component]) -> Iterator[tuple[int, str, int]]:
    for index, component in enumerate(components):
        for phase in PHASES:
            for line in _line_numbers(getattr(component, phase)):
                yield index, phase, line


def _take_lines(component: Component, index: int, owners: Mapping[int, tuple[int, str]]) -> Component:
    plan, execution, comment = (
        tuple(to_spans(sorted(line for line, owner in owners.items() if owner == (index, phase)))) for phase in PHASES
    )
    return replace(component, plan=plan, execution=execution, comment=comment)


def _line_numbers(spans: Sequence[Span]) -> Iterator[int]:
    for first, last in spans:
        yield from range(first, last + 1)


def to_spans(lines: Sequence[int]) -> Iterator[Span]:
    """Yield the spans of sorted line numbers."""
    for _, run in groupby(enumerate(lines), key=lambda pair: pair[1] - pair[0]):
        numbers = [line for _, line in run]
        yield numbers[0], numbers[-1]


def _check_phases(number: int, component: Component) -> None:
    if not component.spans:
        raise refusal(Reason.EMPTY, f"Component {number} names no lines.")
    if component.execution and not component.prompt:
        raise refusal(Reason.NO_PROMPT, f"Component {number} has an execution and no prompt.")
    for before, after in (("plan", "execution"), ("execution", "comment"), ("plan", "comment")):
        earlier, later = getattr(component, before), getattr(component, after)
        if earlier and later and max(last for _, last in earlier) > min(first for first, _ in later):
            raise refusal(Reason.ORDER, f"In component {number} the {after} begins before its {before} ends.")


def graph_of(parents: Sequence[Iterable[int]]) -> nx.DiGraph[int]:
    """Return a graph with an edge from each parent to its child; `parents` are those of components 1, 2 and so on."""
    graph = nx.DiGraph((parent, child) for child, numbers in enumerate(parents, 1) for parent in numbers)
    graph.add_nodes_from(range(1, len(parents) + 1))
    return graph


def drop_redundant_parents(parents: Sequence[Iterable[int]]) -> list[tuple[int, ...]]:
    """Return the parents of components 1, 2 and so on, without those that are ancestors of another parent."""
    reduced = nx.transitive_reduction(graph_of(parents))
    return [tuple(sorted(reduced.predecessors(child))) for child in range(1, len(parents) + 1)]


def refusal(reason: Reason, message: str) -> Refused:
    return Refused(reason.value, message)


def _format_lines(lines: Sequence[int], most: int = 8) -> str:
    shown = ", ".join(str(line) for line in lines[:most])
    return f"lines {shown}" + (f" and {len(lines) - most} more" if len(lines) > most else "")
