r"""Which step of a trace uses which result: what a step may say only if it comes after the step that found it.

A result is a value that some step says first and the question does not: a number, or the value of an equation ("x =
2\sqrt{3}" says 2\sqrt{3}). Common numbers say little. 0, 1 and 2 are never results. Other whole numbers below 10, and
constants such as 60, 100, 180 or 360, are results only of a step that states them ("= 8", "is 8", "gives 8"), and used
only where they are stated again ("so the area is 8?"). Numbers of lists, exponents, subscripts, and of cases, steps and
equations by their number are none.

A step uses a result if its plan or its prompt says it, since a planner writes them before anything is worked out; or
if its execution or comment takes it as given: says it first in other words than those that state it, or says that it
was found earlier. So a second way that arrives at the same value does not use the first one's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from curation.trace import Step

NO_RESULTS = frozenset("012")
CONSTANTS = frozenset({"10", "60", "90", "100", "180", "360", "1000"})
MIN_VALUE = 3  # characters of an expression; shorter ones meet by chance

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


@dataclass(frozen=True)
class Use:
    """Step `user` uses a value that step `source` says first, and none of the user's ancestors says it."""

    user: int
    source: int
    value: str


def unattached(steps: Sequence[Step], question: str) -> list[Use]:
    """The uses of results whose step is no ancestor of their user, each value of a user once."""
    return list(_uses(steps, question, attach=False))


def attached(steps: Sequence[Step], question: str) -> list[set[int]]:
    """The parents of each step, with those added whose results it uses: it then follows all that it needs."""
    parents = [set(step.parents) for step in steps]
    for use in _uses(steps, question, attach=True):
        parents[use.user - 1].add(use.source)
    return parents


def _uses(steps: Sequence[Step], question: str, attach: bool) -> Iterator[Use]:
    """Step by step; with `attach`, what a step uses counts as its parent from then on."""
    said = [_Said.by(step) for step in steps]
    given = _Said.by(Step(plan=question))
    sources: dict[str, int] = {}
    expressions: list[str] = []
    ancestors: list[set[int]] = []
    for number, (step, mine) in enumerate(zip(steps, said, strict=True), 1):
        known = set(step.parents).union(*(ancestors[parent - 1] for parent in step.parents))
        for value in [*mine.used, *filter(mine.takes, expressions)]:
            source = sources.get(value)
            if source and not any(said[each - 1].says(value) for each in known):
                yield Use(number, source, value)
                if attach:
                    known |= {source} | ancestors[source - 1]
        ancestors.append(known)
        for value in mine.results:
            if value not in sources and not given.says(value):
                sources[value] = number
                expressions += [] if _plain(value) else [value]


@dataclass(frozen=True)
class _Said:
    """What a step says: before it is carried out (its plan and prompt), and then.

    results    the values that may be its own, in their order
    used       numbers of the plan and the prompt, common ones only where they are stated, and those that are said later
               and first in other words than those that state them
    numbers    all of them
    """

    before: str
    then: str
    results: tuple[str, ...]
    used: tuple[str, ...]
    numbers: frozenset[str]

    @staticmethod
    def by(step: Step) -> _Said:
        before, then = f"{step.plan}\n{step.prompt}", f"{step.execution}\n{step.comment}"
        planned, carried = list(_numbers(before)), list(_numbers(then))
        first = dict(reversed(carried))
        squeezed = _squeezed(before), _squeezed(then)
        expressions = [v for text in squeezed for v in _VALUE.findall(text) if len(v) >= MIN_VALUE and not _plain(v)]
        meant = [value for value, stated in planned if stated or not _common(value)]
        taken = [value for value, stated in first.items() if not (stated or _common(value))]
        telling = [value for value, stated in chain(planned, carried) if stated or not _common(value)]
        return _Said(
            *squeezed,
            results=tuple(dict.fromkeys([*telling, *expressions])),
            used=tuple(dict.fromkeys([*meant, *taken])),
            numbers=frozenset(value for value, _ in chain(planned, carried)),
        )

    def takes(self, value: str) -> bool:
        """Whether it uses an expression."""
        return _stands(value, self.before) is not None or _takes(self.then, value)

    def says(self, value: str) -> bool:
        return value in self.numbers if _plain(value) else value in self.before or value in self.then


def _numbers(text: str) -> Iterator[tuple[str, bool]]:
    """The numbers of a text but 0, 1 and 2, and whether each is stated as the value of something and not recalled."""
    text = _NO_VALUE.sub(" ", text.replace("{,}", ","))
    stated = {found.end() for found in _STATED.finditer(text)}
    recalled = [found.span() for found in _RECALLED.finditer(text)]
    for found in _NUMBER.finditer(text):
        value = _canonical(found[0])
        if value not in NO_RESULTS:
            anew = _common(value) or not any(begin < found.start() < end for begin, end in recalled)
            yield value, found.start() in stated and anew


def _canonical(number: str) -> str:
    if number.isdecimal() and number[0] != "0":
        return number
    whole, _, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def _common(number: str) -> bool:
    return number in CONSTANTS or (len(number) == 1 and number.isdigit())


def _plain(value: str) -> bool:
    """Whether a value is a number, which `_numbers` finds."""
    return _NUMBER.fullmatch(value) is not None


def _squeezed(text: str) -> str:
    """The text with its formulas in one piece each."""
    return _AROUND_SIGNS.sub("", _TYPESETTING.sub("", text.replace("{,}", ",")))


def _stands(value: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w.^*/+-]){re.escape(value)}(?![\w^*/]|\.\d)", text) if value in text else None


def _takes(text: str, value: str) -> bool:
    """Whether the value stands in the text before the text derives it itself."""
    found = _stands(value, text)
    return found is not None and text[: found.start()][-1:] not in ("=", "\u2248")
