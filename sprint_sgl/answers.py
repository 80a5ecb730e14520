r"""Answers: taking them out of model text, comparing them, and checking Countdown equations exactly.

Paper, appendix A.4: final answers stand in `\boxed{}`; Math-Verify with SymPy compares them. Departure: a
Countdown answer is an expression, and is checked by arithmetic instead of by equivalence to a solution.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sprint_sgl.countdown import Problem
from sprint_sgl.grading_worker import WORKER, Comparison, Match

SHORT_ANSWER = 200  # characters of an unboxed final answer that still count as an answer
LONGEST_EXPRESSION = 500  # characters
DEEPEST_EXPRESSION = 50  # brackets and signs around one number

_BOX_TOKEN = re.compile(
    r"\\?\\(?P<box>boxed|fbox)(?![A-Za-z])\s*(?:(?P<open>\{)|(?P<bare>[-+]?[\d.][^\s{}$\\]*))?|\\.|(?P<brace>[{}])",
    re.DOTALL,
)


def extract_answer(text: str) -> str | None:
    r"""The final answer in model text, or None if there is none to recognise. Raises on no text.

    Looked for in the last `<Final_answer>`, else in what follows the last `</think>`, else everywhere: the content
    of the last balanced `\boxed{}`, else of the last `<answer>`, else a final answer of one short line itself.
    """
    final = _last_tagged(text, "Final_answer")
    place = final or text.rpartition("</think>")[2].strip() or text
    found = _last_box(place) or _last_tagged(place, "answer")
    if found or not final or "boxed" in final or "\n" in final or len(final) > SHORT_ANSWER:
        return found
    return final


def read_answer(final: str, thought: str = "") -> str:
    """What is graded of a whole response, by whatever method: the answer in its final part, or in the thought where
    there is no final part; else the final part itself."""
    return extract_answer(final or thought) or final.strip()


def _last_tagged(text: str, tag: str) -> str | None:
    """The content of the last <tag>..</tag> that is not blank; the closing tag may be missing at the end."""
    found, start = None, None
    for mark in re.finditer(rf"<(/?){tag}>", text, re.IGNORECASE):
        if not mark[1]:
            start = mark.end()
        elif start is not None:
            found, start = text[start : mark.start()].strip() or found, None
    if start is not None:
        found = text[start:].partition("</think>")[0].strip() or found
    return found


def _last_box(text: str) -> str | None:
    """The content of the box that opens last among those that are balanced and not blank."""
    return next((box for start, end in sorted(_boxes(text), reverse=True) if (box := text[start:end].strip())), None)


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    """Where the contents of all balanced boxes start and end; one pass over the text."""
    braces: list[int | None] = []
    for token in _BOX_TOKEN.finditer(text):
        if token["bare"]:
            yield token.start("bare"), token.start("bare") + len(token["bare"].rstrip(".,;:)"))
        elif token["open"]:
            braces.append(token.end())
        elif token["brace"] == "{":
            braces.append(None)
        elif token["brace"] and braces and (start := braces.pop()) is not None:
            yield start, token.start()


_LAYOUT = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[,;:!]|\\(?:quad|qquad)(?![A-Za-z])")
_WORDING = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SIGNS = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])|°|\\?%|\\?\$")
_MATH = re.compile(r"\$|\\\(|\\\[|\\boxed")
_FORMULA = re.compile(r"(?:\$\$?|\\[(\[])((?:(?!\$|\\[()\[\]]).)*)(?:\$\$?|\\[)\]])", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:(?:\d{1,3}(?:[ ,]\d{3})+|\d+)(?:[.,]\d+)?|\.\d+)\s*%?")
_UNIT = re.compile(r"(cm|mm|km|m|kg|g|ft|in|mi|lb|oz|ml|pct|[A-Za-z]{4,}( [A-Za-z]{2,})*)\.?", re.IGNORECASE)
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[ ,]+[A-Za-z]{2,}")


def same_answer(given: str, gold: str, time_limit: float = 5.0) -> bool:
    """Whether the given answer means the same as the gold one; also False if that takes over time_limit seconds."""
    return compared(given, gold, time_limit) is Match.SAME


def compared(given: str, gold: str, time_limit: float = 5.0) -> Match:
    """What comparing the two comes to, within time_limit seconds.

    The order matters to math-verify: the gold answer decides how equations and intervals are read. Works in any
    thread; threads take turns at one worker process. Its start, at the first call and after a time-out, comes on
    top of the limit. Raises RuntimeError if the worker cannot be started.
    """
    plain = _plain(given)
    if plain and plain == _plain(gold):
        return Match.SAME
    return WORKER.compare(Comparison(_readings(gold), _readings(given), time_limit))


def _plain(answer: str) -> str:
    """The answer without what only concerns its looks: equal results mean equal answers."""
    text = _LAYOUT.sub("", _bare(answer))
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", _SIGNS.sub("", text))
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"([\^_])\{(\w)\}", r"\1\2", _WORDING.sub(r"\1", text)).strip().rstrip(".")
    if re.fullmatch(r"\((\w)\)", text):
        return text[1]
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        return text.replace(",", "")
    return " ".join(text.split()) if re.search(r"\w\s+\w", text) else "".join(text.split())


def _bare(answer: str) -> str:
    """The inside of an answer that is all one formula or has one box."""
    if answer.count("boxed") == 1:
        return _last_box(answer) or answer
    formula = _FORMULA.fullmatch(answer.strip())
    return formula[1] if formula else answer


def _readings(answer: str) -> tuple[str, ...]:
    """The texts, formulas marked as such, in which math-verify is to look for the answer."""
    text = " ".join(_bare(answer).replace(r"\$", "").replace(r"\%", "%").split())
    text = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi", re.sub("√ *([0-9]+)", r"\\sqrt{\1}", text))
    number = _NUMBER.match(text)
    if number and _UNIT.fullmatch(text[number.end() :].strip()):
        text = number[0]
    if _MATH.search(text):
        return (answer,)
    return (text, f"${text}$") if _NUMBER.fullmatch(text) or _PROSE.search(text) else (f"${text}$",)


@dataclass(frozen=True)
class Verdict:
    correct: bool
    reason: str
    value: Fraction | None


_SPACING = re.compile(r"\$|~|\\[()\[\],;:! ]|\\(?:left|right|[bB]igg?[lr]?|quad|qquad|displaystyle)(?![A-Za-z])")
_SYMBOL = re.compile(r"\s*(\\[A-Za-z]+|\\[{}]|[0-9]+|.)", re.DOTALL)
_SPELLINGS = {
    **dict.fromkeys((r"\times", r"\cdot", r"\ast", *"\u00d7\u00b7\u22c5\u2217x"), "*"),
    **dict.fromkeys((r"\div", *"\u00f7\u2215\u2044"), "/"),
    **dict.fromkeys("\u2212\u2013", "-"),
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    r"\{": "(",
    r"\}": ")",
    "[": "(",
    "]": ")",
}


class _Unreadable(Exception):
    """Says what in the expression cannot be read."""


class _Reader:
    """Reads one expression into its exact value, keeping the numbers that it uses."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols, self._at, self._depth = symbols, 0, 0
        self.used: list[int] = []

    def whole(self) -> Fraction:
        return self._until("")

    @property
    def _next(self) -> str:
        return self._symbols[self._at] if self._at < len(self._symbols) else ""

    def _take(self, *wanted: str) -> str:
        """The next symbol if it is one of those, which is then read; else nothing."""
        symbol = self._next if self._next in wanted else ""
        self._at += bool(symbol)
        return symbol

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            term = self._product()
            value = value + term if sign == "+" else value - term
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while sign := self._take("*", "/"):
            factor = self._factor()
            value = value * factor if sign == "*" else _divided(value, factor)
        return value

    def _factor(self) -> Fraction:
        self._depth += 1
        if self._depth > DEEPEST_EXPRESSION:
            raise _Unreadable(f"more than {DEEPEST_EXPRESSION} levels deep")
        value = self._unit()
        self._depth -= 1
        return value

    def _unit(self) -> Fraction:
        if self._take("-"):
            return -self._factor()
        if self._take("("):
            return self._until(")")
        if self._take("{"):
            return self._until("}")
        if self._take(r"\frac"):
            return _divided(self._braced(), self._braced())
        number = self._next
        self._expect(number if number.isdecimal() else "a number")
        self.used.append(int(number))
        return Fraction(number)

    def _braced(self) -> Fraction:
        self._expect("{")
        return self._until("}")

    def _until(self, closing: str) -> Fraction:
        value = self._sum()
        self._expect(closing)
        return value

    def _expect(self, symbol: str) -> None:
        if self._next != symbol:
            raise _Unreadable(f"unexpected '{self._next}'" if self._next else "it ends too early")
        self._at += 1


def _divided(value: Fraction, by: Fraction) -> Fraction:
    if not by:
        raise ZeroDivisionError(f"divides {_shortened(str(value))} by 0")
    return value / by


def check_countdown(expression: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether the expression makes the target from all the numbers, each once; exact, and raises on no text.

    Reads + - * / with brackets and signs, in plain or LaTeX spelling. Of an equation the expression is the first side
    that is more than a number; of the others those that can be read must have its value. The reason names each fault;
    value is that of the expression, None if it cannot be read or divides by 0.
    """
    if len(expression) > LONGEST_EXPRESSION:
        return Verdict(False, f"has {len(expression)} characters, over {LONGEST_EXPRESSION}", None)
    sides: list[tuple[Fraction, list[int]]] = []
    refused: list[str] = []
    for side in [part for part in map(str.strip, expression.split("=")) if part] or [""]:
        reader = _Reader(_symbols(side))
        try:
            sides.append((reader.whole(), reader.used))
        except _Unreadable as fault:
            refused.append(f"cannot read '{_shortened(side)}': {fault}")
        except ZeroDivisionError as fault:
            refused.append(str(fault))
    value, used = next((side for side in sides if len(side[1]) > 1), sides[0] if sides else (None, []))
    if value is None or (refused and len(used) < 2):
        return Verdict(False, refused[0], None)
    faults = list(_misuses(Counter(used), Counter(numbers)))
    if value != target:
        faults.append(f"is {_shortened(str(value))}, not {target}")
    faults += [f"is {value}, not {_shortened(str(other))}" for other, _ in sides if other not in (value, target)]
    return Verdict(not faults, "; ".join(faults) or f"makes {target}", value)


def _symbols(expression: str) -> list[str]:
    found = (match[1] for match in _SYMBOL.finditer(_SPACING.sub(" ", expression).rstrip(" .,;")))
    return [_SPELLINGS.get(symbol, symbol) for symbol in found]


def _misuses(used: Counter[int], given: Counter[int]) -> Iterator[str]:
    for number in used - given:
        if number not in given:
            yield f"uses {number}, which is not given"
        else:
            yield f"uses {number} {_times(used[number])}" + (f", given {_times(given[number])}" * (given[number] > 1))
    if left := given - used:
        yield f"leaves {', '.join(map(str, sorted(left.elements())))} unused"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


_LIST = re.compile(
    r"\b(?P<verb>use|using|numbers?|inputs?|from|of|with|have|given|combin(?:e|ing)|countdown)\b[^\d.?!]{0,40}?"
    r"(?<!\d)(?P<list>\d{1,6}(?:(?:\s*[,;&]\s*(?:and\s+)?|\s+and\s+|\s+)\d{1,6})+)(?![\d%]|\.\d)",
    re.IGNORECASE,
)
_TARGET = re.compile(
    r"(?:\b(?:mak(?:e|es|ing)|targets?|goal|equals?|equal to|reach(?:es)?|gets?|obtain|results?|evaluates?|value)\b"
    r"|[-=]>|[\u2192\u21d2])[^\d.?!]{0,25}?(?P<target>-?(?:\d{1,3}(?:,\d{3})+|\d{1,9}))(?![\d%]|\.\d)",
    re.IGNORECASE,
)

_COMMON = {"of", "with", "have", "given", "from"}  # words before two numbers in any text


def countdown_problem(question: str) -> Problem | None:
    """The numbers and the target that a free-form question names, or None if it is not recognisably Countdown."""
    listed = _LIST.search(question)
    if listed is None or (listed["verb"].lower() in _COMMON and len(re.findall(r"\d+", listed["list"])) < 3):
        return None
    rest = f"{question[: listed.start('list')]}.{question[listed.end('list') :]}"
    target = _TARGET.search(rest)
    if target is None:
        return None
    numbers = tuple(int(number) for number in re.findall(r"\d+", listed["list"]))
    return Problem(numbers, int(target["target"].replace(",", "")))
