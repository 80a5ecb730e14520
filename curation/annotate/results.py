r"""Which step of a trace uses the result of which other step, on which it should therefore depend.

A result is a value that a step says first and that the question does not say: a number, or the value of an equation
("x = 2\sqrt{3}" says 2\sqrt{3}). 0, 1 and 2 are never results. Other whole numbers below 10, and constants such as 60,
100, 180 or 360, are common: they are results only of a step that states them ("= 8", "is 8", "gives 8"), and used only
where they are stated again ("so the area is 8?"). List numbers, exponents, subscripts and the numbers of cases, steps
and equations are not results.

A step uses a result if its plan or prompt says the value, since a planner writes these before anything is worked out;
or if its execution or comment takes the value as given: first says it without stating it, or says that it was found
earlier. A second method that derives the same value therefore does not use the first method's result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from curation.trace import Step

NO_RESULTS = frozenset("012")
CONSTANTS = frozenset({"10", "60", "90", "100", "180", "360", "1000"})
MIN_VALUE = 3  # characters of an expression; shorter ones coincide by chance

_NUMBER = re.compile(r"(?<![\w.^_\\])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")
_NO_VALUE = re.compile(
    r"(?m)^[ \t]*[-*#]*[ \t]*\(?\d+[.):](?=\s)"  # of a list
    r"|[\^_]\s*(?:\{[^{}]*\}|-?\d+)"
    r"|\b(?:cases?|steps?|equations?|eqs?\.?|methods?|options?|parts?|problems?|scenarios?|approach)\s*\(?\d+\)?"
    r"|\(\d\)",
    re.I,
)
_STATED = re.compile(
    r"(?:[=\u2248\u2261:]|\\approx|\\equiv|\b(?:is|are|was|be|equals?|gives?|get|gets|got|yields?|makes?|becomes?|into"
    r"|have|total of|sum of|answer|exactly|approximately|about|to))"
    r"[\s$*({\[]*(?:\\boxed\{|\\\(|\\\[|-|\\?\$)*",
    re.I,
)
_RECALLED = re.compile(
    r"\b(?:earlier|previous(?:ly)?|recall|remember|(?:we|I)(?:'ve| have| had)? (?:already )?(?:found|got|had|saw"
    r"|computed|calculated|obtained)|(?:from|in|by) (?:my|our) )(?:[^.\n]|\.(?=\d)){0,200}",
    re.I,
)
_TYPESETTING = re.compile(r"\$|\\[()\[\],;! ]|\*\*|\\left|\\right")
_SIGN = r"[-+*/^=\u2248\u00d7\u00f7]"
_AROUND_SIGNS = re.compile(rf"(?<!\s)\s+(?={_SIGN})|(?<={_SIGN})\s+")
_VALUE = re.compile(r"[=\u2248](?=[^\s=,;]*\d)([^\s=\u2248,;:]*[^\s=\u2248,;:.!?])(?![^\s,;:.!?])")


class LaterResult(NamedTuple):
    """Step `user` uses a value that step `source` says first, and that none of the user's ancestors says."""

    user: int
    source: int
    value: str


def find_later_results(steps: Sequence[Step], question: str) -> list[LaterResult]:
    """Return the results that a step uses without depending on their source, each value of a step once."""
    return list(_later_results(steps, question, attach=False))


def add_result_parents(steps: Sequence[Step], question: str) -> list[set[int]]:
    """Return the parents of each step together with the steps whose results it uses."""
    parents = [set(step.parents) for step in steps]
    for use in _later_results(steps, question, attach=True):
        parents[use.user - 1].add(use.source)
    return parents


def _later_results(steps: Sequence[Step], question: str, attach: bool) -> Iterator[LaterResult]:
    """Yield later results in the order of their users; with `attach` the source becomes an ancestor of the user."""
    contents = [_StepValues.of(step) for step in steps]
    given = _StepValues.of(Step(plan=question))
    sources: dict[str, int] = {}
    expressions: list[str] = []
    ancestors: list[set[int]] = []
    for number, (step, own) in enumerate(zip(steps, contents, strict=True), 1):
        before = set(step.parents).union(*(ancestors[parent - 1] for parent in step.parents))
        for value in [*own.used, *filter(own.takes, expressions)]:
            source = sources.get(value)
            if source and not any(contents[ancestor - 1].says(value) for ancestor in before):
                yield LaterResult(number, source, value)
                if attach:
                    before |= {source} | ancestors[source - 1]
        ancestors.append(before)
        for value in own.results:
            if value not in sources and not given.says(value):
                sources[value] = number
                expressions += [] if _is_number(value) else [value]


@dataclass(frozen=True)
class _StepValues:
    """The values in a step's text.

    planned    plan and prompt, with each formula in one piece
    done       execution and comment, likewise
    results    values that may be the step's own, in order
    used       numbers of plan and prompt, common ones only where they are stated; and numbers of execution and comment
               that are first said in words that do not state them
    numbers    all numbers
    """

    planned: str
    done: str
    results: tuple[str, ...]
    used: tuple[str, ...]
    numbers: frozenset[str]

    @staticmethod
    def of(step: Step) -> _StepValues:
        plan_text, done_text = f"{step.plan}\n{step.prompt}", f"{step.execution}\n{step.comment}"
        planned, done = list(_numbers(plan_text)), list(_numbers(done_text))
        first = dict(reversed(done))
        squeezed = _squeeze_formulas(plan_text), _squeeze_formulas(done_text)
        expressions = [
            v for text in squeezed for v in _VALUE.findall(text) if len(v) >= MIN_VALUE and not _is_number(v)
        ]
        in_plan = [value for value, stated in planned if stated or not _is_common(value)]
        assumed = [value for value, stated in first.items() if not (stated or _is_common(value))]
        significant = [value for value, stated in chain(planned, done) if stated or not _is_common(value)]
        return _StepValues(
            *squeezed,
            results=tuple(dict.fromkeys([*significant, *expressions])),
            used=tuple(dict.fromkeys([*in_plan, *assumed])),
            numbers=frozenset(value for value, _ in chain(planned, done)),
        )

    def takes(self, value: str) -> bool:
        """Return whether the step uses this expression."""
        return _find_expression(value, self.planned) is not None or _takes(self.done, value)

    def says(self, value: str) -> bool:
        return value in self.numbers if _is_number(value) else value in self.planned or value in self.done


def _numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the numbers of a text except 0, 1 and 2, and whether each is stated as a value and not recalled."""
    text = _NO_VALUE.sub(" ", text.replace("{,}", ","))
    stated = {found.end() for found in _STATED.finditer(text)}
    recalled = [found.span() for found in _RECALLED.finditer(text)]
    for found in _NUMBER.finditer(text):
        value = _canonical(found[0])
        if value not in NO_RESULTS:
            is_new = _is_common(value) or not any(begin < found.start() < end for begin, end in recalled)
            yield value, found.start() in stated and is_new


def _canonical(number: str) -> str:
    if number.isdecimal() and number[0] != "0":
        return number
    whole, _, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def _is_common(number: str) -> bool:
    return number in CONSTANTS or (len(number) == 1 and number.isdigit())


def _is_number(value: str) -> bool:
    return _NUMBER.fullmatch(value) is not None


def _squeeze_formulas(text: str) -> str:
    """Return the text without spaces and typesetting inside formulas."""
    return _AROUND_SIGNS.sub("", _TYPESETTING.sub("", text.replace("{,}", ",")))


def _find_expression(value: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w.^*/+-]){re.escape(value)}(?![\w^*/]|\.\d)", text) if value in text else None


def _takes(text: str, value: str) -> bool:
    """Return whether the text uses the value before it derives the value itself."""
    found = _find_expression(value, text)
    return found is not None and text[: found.start()][-1:] not in ("=", "\u2248")
