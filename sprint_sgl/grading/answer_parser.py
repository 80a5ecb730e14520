r"""Read an answer as values: every token is read, or the whole answer is refused.

Readable are numbers (decimals, fractions, mixed, repeating, in a base), expressions with variables, roots, powers and
the usual functions, lists, sets, tuples, intervals and their unions, matrices, equations, inequalities, ratios, values
with a name (`x = 5`) or a unit (`5 \text{ cm}`), and words. Conventions where writers differ:

- i, e and \pi are the constants. An implied product binds like a written one, left to right: 1/2x is x/2.
- The base of `\log` without one is unknown; `^` takes a sign and all digits after it: 10^-2 is 1/100.
- A comma is a decimal comma if it can hardly be anything else (3,14); 1,000 is a thousand, `1, 000` a list.
- A letter after a number is a variable, unless it is a unit and stands in \text or after a blank.
- An interval that includes infinity, [-\infty, 2], is not an interval of numbers and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from sprint_sgl.grading import units
from sprint_sgl.grading.expressions import FUNCTIONS, GREEK, UNKNOWN_FUNCTIONS, ExpressionReader, is_approximation
from sprint_sgl.grading.notation import Commas, Token, TokenKind, UnreadableAnswer, clean_notation, tokenize
from sprint_sgl.grading.splitting import OPENING, SEPARATORS, Part, end_of, matrix_cells, split, split_at
from sprint_sgl.grading.values import (
    Collection,
    Combined,
    Ellipsis,
    Group,
    Matrix,
    Named,
    Numeral,
    Quantity,
    Relation,
    Scalar,
    Value,
    Words,
)

_CONNECTIVES = {"and", "or"}
_RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\in", r"\equiv"}
_SET_OPERATORS = {r"\cup", r"\cap", r"\setminus"}
_NO_NAMES = {"+", "-", "*", "^", "!", r"\pm", r"\sqrt", r"\pi", "$", "%"}
_SHORT_WORDS = {"yes", "no", "odd", "all", "any"}
_BASE = re.compile(
    r"\(?(?P<digits>[0-9A-Za-z]*[0-9][0-9A-Za-z]*)\)?"
    r"(?:_\s*(?P<index>\{?\s*\d+\s*\}?|\{?\s*\\(?:text|mathrm)\s*\{[a-z -]+\}\s*\}?|\{[a-z]{3,}\})"
    r"|\s*(?:\\(?:text|mathrm)\s*\{)?\s*\(?\s*(?:in )?base[ -]?(?P<named>\d+|[a-z]+)\s*\)?\s*\}?)"
)
_SMALL_BASES = "two three four five six seven eight nine ten eleven twelve"
_BASES = {
    **{name: base for base, name in enumerate(_SMALL_BASES.split(), 2)},
    "sixteen": 16,
    "binary": 2,
    "octal": 8,
    "hexadecimal": 16,
}


def readings(answer: str) -> list[Value]:
    """Return the possible values of an answer, likeliest first. Raises UnreadableAnswer with the first reason."""
    text = clean_notation(answer)
    if numeral := _numeral(text):
        return [numeral]
    found: list[Value] = []
    reasons: list[str] = []
    for commas in _commas(text):
        for letter_units in (False, True):
            try:
                read = tokenize(text, commas)
                value = _AnswerReader(letter_units).answer(read)
            except (UnreadableAnswer, RecursionError) as fault:
                reasons.append(str(fault) or "too many levels")
                continue
            if value not in found:
                found.append(value)
    if not found:
        raise UnreadableAnswer(reasons[0])
    return found


def _commas(text: str) -> list[Commas]:
    """Return the ways to read the answer's commas. In brackets without blanks, commas separate."""
    if re.search(r"[(\[{]", re.sub(r"\\[a-z]+(?:\{[^{}]*\})+", "", text)) and not re.search(r",\s", text):
        return [Commas(group_thousands=False)]
    found = [Commas(), Commas(mark_decimals=True)]
    is_number = re.fullmatch(r"[-+$\s]*\d{1,3}(?:,\d{3})+(?:\.\d+)?", text) or re.search(r"\d,0\d\d", text)
    return found if is_number else [*found, Commas(group_thousands=False)]


def _numeral(text: str) -> Numeral | None:
    found = _BASE.fullmatch(text.replace(" ", "") if "_" in text else text)
    if found is None:
        return None
    name = re.sub(r"\\(?:text|mathrm)|[{} ]", "", found["index"] or found["named"])
    base = int(name) if name.isdecimal() else _BASES.get(name, 0)
    digits = found["digits"].upper().lstrip("0") or "0"
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Numeral(digits, base)


class _AnswerReader:
    """Reads the tokens of one answer."""

    def __init__(self, letter_units: bool) -> None:
        self._letter_units = letter_units

    def answer(self, found: Part) -> Value:
        if not found:
            raise UnreadableAnswer("nothing")
        return self._list(found)

    # Lists

    def _list(self, found: Part) -> Value:
        """Read values between separators: one value, or a collection."""
        groups = [self._comma_list(part) for part in split(found, {";"}) if part]
        if len(groups) == 1:
            return groups[0]
        points = [_as_point(group) for group in groups]
        return Collection(tuple(item for group in points for item in _members(group)))

    def _comma_list(self, found: Part) -> Value:
        parts = [part for part in split(found, SEPARATORS, _CONNECTIVES) if part]
        if not parts:
            raise UnreadableAnswer("nothing")
        items = [item for part in parts for item in _members(self._item(part))]
        if len(items) > 1 and len({isinstance(item, Words) for item in items}) > 1:
            raise UnreadableAnswer("words beside values")
        connectives = {token.text for token in found if token.text in _CONNECTIVES}
        return items[0] if len(items) == 1 else Collection(tuple(items), connective=" ".join(sorted(connectives)))

    def _items(self, found: Part) -> tuple[Value, ...]:
        """Read the ordered values in brackets."""
        items = tuple(self._item(part) for part in split(found, SEPARATORS))
        if any(isinstance(item, Collection) and not item.is_set for item in items):
            raise UnreadableAnswer(r"\pm in a tuple")
        return items

    # One item

    def _item(self, found: Part) -> Value:
        if not found:
            raise UnreadableAnswer("nothing between two commas")
        if len(found) == 1 and found[0].text == r"\ldots":
            return Ellipsis()
        sides, operators = split_at(found, _RELATIONS)
        if not operators:
            return self._side(found)
        if not all(sides):
            raise UnreadableAnswer(f"a side of '{operators[0]}' is empty")
        if operators[0] == r"\in":
            return self._membership(sides, operators)
        if operators[0] in ("=", r"\approx") and (name := _name(sides[0])):
            return self._named_value(sides, operators, *name)
        values = _without_words(self._side(side) for side in sides)
        if len(values) == 2 and operators == ["="] and (name := _name(sides[1])) and not _name(sides[0]):
            return Named(name[0], values[0], name[1], Relation(values[::-1], ("=",)))
        if operators == [r"\approx"] and is_approximation(*values):
            return values[0]
        if r"\approx" in operators:
            raise UnreadableAnswer("an approximation")
        return Relation(values, tuple(operators))

    def _membership(self, sides: Sequence[Part], operators: Sequence[str]) -> Value:
        name = _name(sides[0])
        if name is None or len(operators) != 1:
            raise UnreadableAnswer(r"\in without a name before it")
        return Named(name[0], self._side(sides[1]), name[1])

    def _named_value(
        self, sides: Sequence[Part], operators: Sequence[str], name: str, parameters: tuple[str, ...]
    ) -> Value:
        """Read a name and its value: in a chain of equations, the last exact side."""
        if set(operators) - {"=", r"\approx"}:
            raise UnreadableAnswer("an equation that continues as an inequality")
        values = _without_words(self._side(side) for side in sides[1:]) if len(sides) > 2 else (self._side(sides[1]),)
        exact = [value for value, operator in zip(values, operators, strict=True) if operator == "="]
        value = exact[-1] if exact else values[-1]
        equation = None
        if operators == ["="]:
            with suppress(UnreadableAnswer):
                equation = Relation((self._side(sides[0]), value), ("=",))
        return Named(name, value, parameters, equation)

    def _side(self, found: Part) -> Value:
        """Read one value: a set, interval, expression, ratio or words, perhaps with a unit."""
        if not found:
            raise UnreadableAnswer("nothing where a value belongs")
        parts, operators = split_at(found, _SET_OPERATORS)
        if operators:
            if len(set(operators)) > 1 or not all(parts):
                raise UnreadableAnswer("several set operators without brackets")
            return Combined(operators[0], tuple(self._side(part) for part in parts))
        if words := _words(found):
            return words
        if numeral := _numeral("".join(token.text for token in found)):
            return numeral
        if found[0].text == "(" and len(found) > 3 and re.fullmatch("[A-E]", found[1].text) and found[2].text == ")":
            raise UnreadableAnswer("an option's letter before a value")
        ratio = split(found, {":"})
        if len(ratio) > 1:
            if len(ratio[0]) == 1 and re.fullmatch("[A-E]", ratio[0][0].text) and ratio[1][0].kind is TokenKind.NUMBER:
                raise UnreadableAnswer("an option's letter before a value")
            return Group("", _without_words(self._side(part) for part in ratio), "")
        if bracket := self._bracket(found):
            return bracket
        return self._plus_minus(found)

    def _bracket(self, found: Part) -> Value | None:
        """Read a set, tuple or interval; None if the tokens are not one pair of brackets, or hold an expression."""
        if len(found) == 1 and found[0].text == r"\emptyset":
            return Collection((), is_set=True)
        opening, closing = found[0].text, found[-1].text
        if opening not in OPENING or end_of(found, 0) != len(found) - 1:
            return None
        inside = found[1:-1]
        if opening == r"\{" or (opening == "{" and len(split(inside, SEPARATORS)) > 1):
            return self._set(inside)
        if opening == "{":
            return self._side(inside) if inside else None
        if opening not in ("(", "[", r"\langle"):
            return None
        items = split(inside, SEPARATORS)
        if inside and inside[0].text == r"\begin" and matrix_cells(inside) is not None:
            return self._side(inside)
        if len(items) == 1:
            return (
                self._side(inside) if opening == "(" and closing == ")" and inside and _is_one_bracket(inside) else None
            )
        return _interval(Group(opening, self._items(inside), closing))

    def _set(self, inside: Part) -> Value:
        if not inside:
            return Collection((), is_set=True)
        for bar in ("|", ":"):
            head, *conditions = split(inside, {bar})
            if len(conditions) == 1 and (_name(head) or split_at(head, _RELATIONS)[1]):
                return self._set_builder(head, conditions[0])
        return Collection(
            tuple(item for part in split(inside, SEPARATORS) for item in _members(self._item(part))), True
        )

    def _set_builder(self, head: Part, condition: Part) -> Value:
        """Read {x | x > 3} as its condition."""
        value = self._item(condition)
        if not isinstance(value, Relation) or _name(head) is None:
            raise UnreadableAnswer("a set whose condition is not one relation")
        return value

    def _plus_minus(self, found: Part) -> Value:
        r"""Read an expression, perhaps with a unit; with \pm, the collection of its values."""
        count = sum(token.text == r"\pm" for token in found)
        if count > 3 or (not count and any(token.text == r"\mp" for token in found)):
            raise UnreadableAnswer(r"too many \pm")
        values: list[Value] = []
        for choice in range(2**count):
            signs = ["-" if choice >> place & 1 else "+" for place in range(count)]
            value = self._quantity(found, signs)
            if value not in values:
                values.append(value)
        return values[0] if len(values) == 1 else Collection(tuple(values))

    def _quantity(self, found: Part, signs: list[str]) -> Value:
        money: list[Token] = [token for token in found[:2] if token.text in ("$", "€", "£")]
        if money:
            found = [token for token in found if token is not money[0]]
        if (cells := matrix_cells(found)) is not None:
            return self._matrix(cells)
        expression = ExpressionReader(found, signs, self._letter_units)
        value = expression.read_value()
        unit = units.read_unit(expression.rest()) if expression.rest() else ()
        if money:
            if unit and unit != ((_money(money[0]), 1),):
                raise UnreadableAnswer("two units")
            unit = ((_money(money[0]), 1),)
        return Quantity(value, unit) if unit else value

    def _matrix(self, cells: Sequence[Sequence[Part]]) -> Matrix:
        if len({len(row) for row in cells}) != 1:
            raise UnreadableAnswer("a matrix whose rows differ in length")
        return Matrix(tuple(tuple(self._item(cell) for cell in row) for row in cells))


def _money(token: Token) -> str:
    return units.MONEY if token.text == "$" else token.text


def _words(found: Part) -> Words | None:
    """Return the text if the tokens are only words, else None."""
    inside = found[1:-1] if len(found) > 2 and found[0].text == "(" and found[-1].text == ")" else found
    letters = [token for token in inside if token.kind in (TokenKind.TEXT, TokenKind.RUN, TokenKind.LETTER)]
    others = [token for token in inside if token not in letters]
    if any(token.text not in ("-", "'", '"', "/") or token.kind is not TokenKind.SIGN for token in others):
        return None
    if not any(token.kind is not TokenKind.LETTER for token in letters) and len(inside) == len(found):
        return None
    if any(token.text in FUNCTIONS for token in letters) or (others and all(len(t.text) < 3 for t in letters)):
        return None
    if len(letters) == 1 and len(inside) < len(found) and letters[0].kind is TokenKind.LETTER:
        return Words(letters[0].text)
    short = all(token.kind is not TokenKind.TEXT and len(token.text) < 4 for token in letters)
    if short and (len(letters) > 1 or letters[0].text.lower() not in _SHORT_WORDS):
        return None
    return Words("".join((" " if token.spaced else "") + token.text for token in inside).strip())


def _name(found: Part) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and its parameters in brackets if the tokens are a name and not a computation, else None."""
    for inverse in ("^{-1}", "^-1"):  # of a function
        if "".join(token.text for token in found[1 : 1 + len(inverse)]) == inverse:
            rest = _name([found[0], *found[1 + len(inverse) :]])
            return (f"{rest[0]}^-1", rest[1]) if rest else None
    if not found or any(
        token.kind is TokenKind.NUMBER and not _in_index(found, at) and not _in_call(found, at)
        for at, token in enumerate(found)
    ):
        return None
    sum_of_letters = all(
        token.kind is TokenKind.LETTER or token.text == "+" for token in found
    )  # m+n, as contests ask for
    if not sum_of_letters and any(token.text in _NO_NAMES for token in found):
        return None
    if not any(
        token.kind in (TokenKind.LETTER, TokenKind.RUN, TokenKind.TEXT) or token.text in GREEK for token in found
    ):
        return None
    if any(token.text in FUNCTIONS or token.text[1:] in FUNCTIONS for token in found):
        return None
    if len(found) == 1 and found[0].text in ("i", "e"):
        return None
    text = "".join(token.text for token in found if token.text not in ("{", "}"))
    call = re.fullmatch(r"([A-Za-z]\w*)\(([a-z](?:,[a-z])*)\)", text)
    return (call[1], tuple(call[2].split(","))) if call else (text, ())


def _in_index(found: Part, at: int) -> bool:
    return at > 0 and (
        found[at - 1].text == "_" or (at > 1 and found[at - 1].text == "{" and found[at - 2].text == "_")
    )


def _in_call(found: Part, at: int) -> bool:
    """Return whether the number is in the brackets of an unknown function, as in f(2)."""
    return at > 1 and found[at - 1].text in ("(", ",") and found[0].text in UNKNOWN_FUNCTIONS


def _is_one_bracket(inside: Part) -> bool:
    return inside[0].text in OPENING and end_of(inside, 0) == len(inside) - 1


def _without_words(values: Iterable[Value]) -> tuple[Value, ...]:
    """Return the parts of a ratio or sides of a relation. Raises UnreadableAnswer if there are words among them."""
    found = tuple(values)
    if words := [value.text for value in found if isinstance(value, Words)]:
        raise UnreadableAnswer(f"'{words[0]}' as a part of a formula")
    return found


def _members(value: Value) -> tuple[Value, ...]:
    return value.items if isinstance(value, Collection) and not value.is_set else (value,)


def _as_point(group: Value) -> Value:
    """Return `p = 5, q = 2` between semicolons as the point (5, 2) with named coordinates."""
    items = _members(group)
    names = [item.name for item in items if isinstance(item, Named)]
    if len(items) > 1 and len(set(names)) == len(items):
        return Group("(", items, ")")
    return group


def _interval(group: Group) -> Value:
    ends = ((group.opening, group.items[0]), (group.closing, group.items[-1]))
    if len(group.items) == 2:
        for bracket, end in ends:
            if isinstance(end, Scalar) and end.value.is_infinite and bracket in "[]":
                raise UnreadableAnswer("an interval that includes infinity")
    return group
