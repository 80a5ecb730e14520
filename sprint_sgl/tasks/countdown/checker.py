"""Check Countdown expressions in exact arithmetic, and find the problem in a question's text.

Departure from the paper, which compares with a solution (appendix A.4): any expression that makes the target is right.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sprint_sgl.tasks.countdown.problem import Problem
from sprint_sgl.tasks.question import last_question

LONGEST_EXPRESSION = 500  # characters
DEEPEST_EXPRESSION = 50  # nested brackets and signs


@dataclass(frozen=True)
class Verdict:
    correct: bool
    reason: str
    value: Fraction | None


_SPACING = re.compile(r"\$|~|\\[()\[\],;:! ]|\\(?:left|right|[bB]igg?[lr]?|quad|qquad|displaystyle)(?![A-Za-z])")
_SYMBOL = re.compile(r"\s*(\\[A-Za-z]+|\\[{}]|[0-9]+|.)", re.DOTALL)
_SPELLINGS = {
    **dict.fromkeys((r"\times", r"\cdot", r"\ast", *"\u00d7\u00b7\u22c5\u2217xX"), "*"),
    **dict.fromkeys((r"\div", *"\u00f7\u2215\u2044"), "/"),
    **dict.fromkeys("\u2212\u2013", "-"),
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
}
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}


class _UnreadableExpression(Exception):
    """The expression cannot be read; the message says where."""


class _ArithmeticReader:
    """Evaluates one expression exactly and keeps the numbers that it uses."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols, self._at, self._depth = symbols, 0, 0
        self.used: list[int] = []
        self.negated: Counter[int] = Counter()  # how often each used number has a sign of its own

    def whole(self) -> Fraction:
        return self._until("")

    @property
    def _next(self) -> str:
        return self._symbols[self._at] if self._at < len(self._symbols) else ""

    def _take(self, *wanted: str) -> str:
        """Consume and return the next symbol if it is wanted, else return ""."""
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
        while sign := self._take("*", "/") or ("*" if self._next in _CLOSING else ""):
            factor = self._factor()
            value = value * factor if sign == "*" else _divide(value, factor)
        return value

    def _factor(self) -> Fraction:
        self._depth += 1
        if self._depth > DEEPEST_EXPRESSION:
            raise _UnreadableExpression(f"more than {DEEPEST_EXPRESSION} levels deep")
        value = self._unit()
        self._depth -= 1
        return value

    def _unit(self) -> Fraction:
        if self._take("+"):
            return self._factor()
        if self._take("-"):
            if self._next.isdecimal():
                self.negated[int(self._next)] += 1
            return -self._factor()
        if opening := self._take(*_CLOSING):
            return self._until(_CLOSING[opening])
        if self._take(r"\frac"):
            return _divide(self._braced(), self._braced())
        number = self._next
        self._expect(number if number.isdecimal() else "a number")
        self.used.append(int(number))
        return Fraction(number)

    def _braced(self) -> Fraction:
        """Read an argument of \\frac; one digit needs no braces."""
        if len(self._next) == 1 and self._next.isdecimal():
            return self._unit()
        self._expect("{")
        return self._until("}")

    def _until(self, closing: str) -> Fraction:
        value = self._sum()
        self._expect(closing)
        return value

    def _expect(self, symbol: str) -> None:
        if self._next != symbol:
            raise _UnreadableExpression(f"unexpected '{self._next}'" if self._next else "it ends too early")
        self._at += 1


def _divide(value: Fraction, by: Fraction) -> Fraction:
    if not by:
        raise ZeroDivisionError(f"divides {_shorten(str(value))} by 0")
    return value / by


def check_countdown(expression: str, numbers: Sequence[int], target: int) -> Verdict:
    """Return whether the expression makes the target from all the numbers, each used once. Never raises on a text.

    Reads + - * / with brackets and signs, in plain or LaTeX notation; given numbers may be negative. In an equation,
    the first side with more than one number is the expression, and every other readable side must have its value. The
    verdict's reason names each fault; its value is None if the expression cannot be read or divides by 0.
    """
    if len(expression) > LONGEST_EXPRESSION:
        return Verdict(False, f"has {len(expression)} characters, over {LONGEST_EXPRESSION}", None)
    expression = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", expression.strip("`* "))
    given = Counter(numbers)
    sides: list[tuple[Fraction, list[int]]] = []
    refused: list[str] = []
    for side in [part for part in map(str.strip, expression.split("=")) if part] or [""]:
        reader = _ArithmeticReader(_symbols(side))
        try:
            sides.append((reader.whole(), _sign_numbers(reader.used, reader.negated, given)))
        except _UnreadableExpression as fault:
            refused.append(f"cannot read '{_shorten(side)}': {fault}")
        except ZeroDivisionError as fault:
            refused.append(str(fault))
    value, used = next((side for side in sides if len(side[1]) > 1), sides[0] if sides else (None, []))
    if value is None or (refused and len(used) < 2):
        return Verdict(False, refused[0], None)
    faults = list(_misuses(Counter(used), given))
    if value != target:
        faults.append(f"is {_shorten(str(value))}, not {target}")
    faults += [f"is {value}, not {_shorten(str(other))}" for other, _ in sides if other not in (value, target)]
    return Verdict(not faults, "; ".join(faults) or f"makes {target}", value)


def _symbols(expression: str) -> list[str]:
    text = unicodedata.normalize("NFKC", _SPACING.sub(" ", expression)).rstrip(" .,;")
    return [_SPELLINGS.get(found[1], found[1]) for found in _SYMBOL.finditer(text)]


def _sign_numbers(used: Sequence[int], negated: Counter[int], given: Counter[int]) -> list[int]:
    """Return the used numbers as given: -3 is the given -3 if there is one, else 3 with a sign."""
    left, signs, found = Counter(given), Counter(negated), []
    for number in used:
        negative = signs[number] > 0 and left[-number] > 0
        signs[number] -= negative
        found.append(-number if negative else number)
        left[found[-1]] -= 1
    return found


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


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


_MINUS = "[-\u2212\u2013]"
_NUMBER = rf"\(?(?<![\w.]){_MINUS}?\d{{1,6}}(?![\d%]|\.\d)\)?"
_SEPARATOR = r"(?:\s*[,;&]\s*(?:and\s+)?|\s+and\s+|\s+)"
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_LIST = re.compile(
    r"(?:\b(?P<verb>use|using|numbers?|nums|inputs?|from|of|with|have|given|combin(?:e|ing)|countdown)\b[^\d.?!]{0,40}?|^\W*)"
    rf"(?P<list>{_NUMBER}(?:{_SEPARATOR}{_NUMBER})+)",
    re.IGNORECASE,
)
_TARGET = re.compile(
    r"(?:\b(?:mak(?:e|es|ing)|targets?|goal|equals?|equal to|reach(?:es)?|gets?|obtain|results?|evaluates?|value"
    r"|create|produce|hit|arrive at)\b"
    rf"|[-=]>|[\u2192\u21d2])[^\d.?!]{{0,25}}?(?P<target>{_MINUS}?(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}}))(?![\d%]|\.\d)",
    re.IGNORECASE,
)
_COMMON = {"of", "with", "have", "given", "from"}  # may precede two numbers in any text


def verdict_on(question: str, answer: str) -> Verdict | None:
    """Return the verdict on an answer to a Countdown problem; None if the question is not one."""
    problem = countdown_problem(question)
    return check_countdown(answer, problem.numbers, problem.target) if problem else None


def countdown_problem(question: str) -> Problem | None:
    """Return the problem in a free-form question, the last one of a conversation, or None if it is not recognisable as
    Countdown."""
    text = re.sub(r"\$|\\[()\[\]]", "", unicodedata.normalize("NFKC", last_question(question)))
    text = re.sub(r"\b(\d+)[- ]game\b", r"game, target \1,", text)
    listed = _LIST.search(text)
    if listed is None or ((listed["verb"] or "with").lower() in _COMMON and len(read_numbers(listed["list"])) < 3):
        return None
    found = _TARGET.search(f"{text[: listed.start('list')]}.{text[listed.end('list') :]}")
    if found is None:
        return None
    (target,) = read_numbers(found["target"].replace(",", ""))
    return Problem(tuple(read_numbers(_join_thousands(listed["list"], target))), target)


def read_numbers(text: str) -> list[int]:
    """Return the whole numbers in a text, in order."""
    return [int(number) for number in re.findall(r"(?<!\w)-?\d+", re.sub(_MINUS, "-", text))]


def _join_thousands(listed: str, target: int) -> str:
    """Return the list with 1,000 as 1000, unless the comma separates two numbers.

    A comma separates if nothing else does, or if the number would be far above the target (100,200 to make 350).
    """
    joined = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), listed)
    numbers = read_numbers(joined)
    if len(numbers) < 2 or re.search(r"\d,\d", joined):
        return listed
    plausible = re.search(r",0", listed) or re.search(r",\s", listed) or max(numbers) <= 10 * abs(target)
    return joined if plausible else listed
