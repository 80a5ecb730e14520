"""Answers that differ from a gold answer in a digit, sign, base, exponent, variable, unit or bracket."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_WORDS = re.compile(r"\\[A-Za-z]+|\\.")
_UNITS = ("cm", "inches", "degrees", "cents", "miles", "hours")
_BRACKETS = {"(": "[", "[": "(", ")": "]", "]": ")"}


def _digits(answer: str) -> Iterator[str]:
    for digit in re.finditer(r"\d", answer):
        for step in (1, 5):
            other = str((int(digit[0]) + step) % 10)
            yield answer[: digit.start()] + other + answer[digit.end() :]


def _dropped_digits(answer: str) -> Iterator[str]:
    for digit in re.finditer(r"(?<=\d)\d|\d(?=\d)", answer):
        yield answer[: digit.start()] + answer[digit.end() :]


def _signs(answer: str) -> Iterator[str]:
    for sign in re.finditer(r"[-+]", answer):
        yield answer[: sign.start()] + ("-" if sign[0] == "+" else "+") + answer[sign.end() :]
    yield f"-{answer}" if not answer.startswith("-") else answer[1:]


def _bases(answer: str) -> Iterator[str]:
    for base in re.finditer(r"_\{?(\d)\}?", answer):
        yield answer[: base.start()]
        yield f"{answer[: base.start()]}_{int(base[1]) + 1}"


def _exponents(answer: str) -> Iterator[str]:
    for power in re.finditer(r"\^(?:\{(-?\d+)\}|(\d))", answer):
        value = int(power[1] or power[2])
        for other in (value + 1, -value):
            yield f"{answer[: power.start()]}^{{{other}}}{answer[power.end() :]}"
        yield answer[: power.start()] + answer[power.end() :]


def _variables(answer: str) -> Iterator[str]:
    plain = _WORDS.sub(lambda word: "\\" * len(word[0]), re.sub(r"\\(?:text|mbox)\{[^}]*\}", _hidden, answer))
    for letter in re.finditer(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", plain):
        for other in ("q", letter[0].swapcase()):
            yield answer[: letter.start()] + other + answer[letter.end() :]
    for digit in re.finditer(r"\d(?![\d}])", answer):
        yield f"{answer[: digit.end()]}t{answer[digit.end() :]}"


def _hidden(found: re.Match[str]) -> str:
    return "\\" * len(found[0])


def _units(answer: str) -> Iterator[str]:
    for text in re.finditer(r"\\(?:text|mbox)\{\s*([A-Za-z]+)\s*\}", answer):
        for unit in _UNITS:
            if unit[:2] != text[1][:2]:
                yield f"{answer[: text.start(1)]}{unit}{answer[text.end(1) :]}"


def _brackets(answer: str) -> Iterator[str]:
    for bracket in re.finditer(r"[()\[\]]", answer):
        yield answer[: bracket.start()] + _BRACKETS[bracket[0]] + answer[bracket.end() :]


def _constants(answer: str) -> Iterator[str]:
    for constant, other in ((r"\pi", "e"), (r"\sqrt", r"\sqrt[3]"), (r"\frac", r"\binom"), (r"\infty", "9")):
        if constant in answer:
            yield answer.replace(constant, other, 1)
            yield answer.replace(constant, "", 1)


CHANGES: dict[str, Callable[[str], Iterator[str]]] = {
    "digit": _digits,
    "digit dropped": _dropped_digits,
    "sign": _signs,
    "base": _bases,
    "exponent": _exponents,
    "variable": _variables,
    "unit": _units,
    "bracket": _brackets,
    "constant": _constants,
}


def near_misses(answer: str) -> Iterator[tuple[str, str]]:
    """Yield (change, answer) for each near miss. Some keep the value, such as -0."""
    seen = {answer}
    for change, made in CHANGES.items():
        for other in made(answer):
            if other not in seen:
                seen.add(other)
                yield change, other
