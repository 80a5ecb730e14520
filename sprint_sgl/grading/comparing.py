r"""Compare two answers: read both completely, then compare their values by kind.

Exact forms are compared to sixty digits and more, or at many points if they have variables. A decimal with at least
five significant digits is compared with an exact form to its last digit. A name or unit that only one answer states is
ignored (`x = 5` is 5, `5 cm` is 5); two different names or units are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import sympy

from sprint_sgl.grading import units
from sprint_sgl.grading.answer_parser import readings
from sprint_sgl.grading.match import Match, all_of, any_of, at_most
from sprint_sgl.grading.notation import UnreadableAnswer
from sprint_sgl.grading.prose import answers_in_prose, without_opener
from sprint_sgl.grading.scalars import compare_scalars
from sprint_sgl.grading.values import (
    Collection,
    Combined,
    Ellipsis,
    Expression,
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

DIGITS = 60  # in which two exact values must agree, plus one for each character of the answers
LONGEST_COLLECTION = 40  # values that are compared in any order

Same = Callable[[Value, Value], Match]  # compares parts of two values
SAME, DIFFERENT, UNDECIDED = Match.SAME, Match.DIFFERENT, Match.UNDECIDED


def compare_answers(given: str, gold: str) -> tuple[Match, str]:
    """Return the match, and why it is undecided, else an empty text. Has no time limit."""
    read: list[list[Value]] = []
    for whose, text in (("gold", gold), ("given", given)):
        try:
            read.append(_read_values(text))
        except UnreadableAnswer as fault:
            return UNDECIDED, f"the {whose} answer cannot be read completely: {fault}"
    golds, givens = read
    digits = DIGITS + len(given) + len(gold)
    match = any_of(_compare_values(one, other, digits) for one in golds for other in givens)
    return match, "the answers can neither be shown to be equal nor to differ" if match is UNDECIDED else ""


def _read_values(text: str) -> list[Value]:
    """Return the readings of an answer, or of the answer that a sentence states."""
    text = without_opener(text)
    try:
        found = readings(text)
    except UnreadableAnswer:
        if found := _read_prose(text):
            return found
        raise
    return found + (_read_prose(text) if all(isinstance(value, Words) for value in found) else [])


def _read_prose(text: str) -> list[Value]:
    for part in answers_in_prose(text):
        with suppress(UnreadableAnswer):
            return readings(part)
    return []


def _compare_values(gold: Value, given: Value, digits: int) -> Match:
    """Return the match of two values. A name or unit that only one of them has is ignored."""

    def same(one: Value, other: Value) -> Match:
        return _compare_values(one, other, digits)

    if isinstance(gold, Named) or isinstance(given, Named):
        return _compare_named(gold, given, same)
    if isinstance(gold, Quantity) or isinstance(given, Quantity):
        return _compare_quantities(gold, given, same)
    if isinstance(gold, Collection) or isinstance(given, Collection):
        return _compare_collections(gold, given, same)
    if isinstance(gold, Relation) or isinstance(given, Relation):
        return _compare_relations(gold, given, same)
    if isinstance(gold, Scalar) and isinstance(given, Scalar):
        return compare_scalars(gold, given, digits)
    if type(gold) is not type(given):
        return _compare_kinds(gold, given, same)
    return _compare_one_kind(gold, given, same)


def _compare_one_kind(gold: Value, given: Value, same: Same) -> Match:
    match gold, given:
        case Words(), Words():
            return _compare_words(gold, given)
        case Group(), Group():
            return _compare_groups(gold, given, same)
        case Combined(), Combined():
            if gold.operator != given.operator:
                return UNDECIDED
            in_which_order = _compare_in_any_order if gold.operator == r"\cup" else _compare_in_order
            return in_which_order(gold.parts, given.parts, same)
        case Matrix(), Matrix():
            if [len(row) for row in gold.rows] != [len(row) for row in given.rows]:
                return DIFFERENT
            cells = zip((c for row in gold.rows for c in row), (c for row in given.rows for c in row), strict=True)
            return all_of(same(*pair) for pair in cells)
    return SAME if gold == given else DIFFERENT


def _compare_kinds(gold: Value, given: Value, same: Same) -> Match:
    """Compare values of different kinds; they are the same only if one kind is a way to write the other."""
    kinds = {type(gold), type(given)}
    if kinds == {Scalar, Group}:
        group, scalar = (gold, given) if isinstance(gold, Group) else (given, gold)
        if isinstance(scalar, Scalar) and "mathbb" in str(scalar.value):
            return UNDECIDED
        if isinstance(group, Group) and not group.opening and len(group.items) == 2 and isinstance(scalar, Scalar):
            over, under = group.items
            if isinstance(over, Scalar) and isinstance(under, Scalar) and under.value != 0:
                return same(Scalar(over.value / under.value), scalar)
        return DIFFERENT
    if kinds == {Scalar, Numeral}:
        numeral, scalar = (gold, given) if isinstance(gold, Numeral) else (given, gold)
        assert isinstance(numeral, Numeral)
        value = Scalar(sympy.Integer(int(numeral.digits, numeral.base)))
        return at_most(UNDECIDED, same(value, scalar))
    if Ellipsis in kinds:
        return DIFFERENT
    if kinds == {Scalar, Words}:
        words, scalar = (gold, given) if isinstance(gold, Words) else (given, gold)
        return SAME if _is_letter(scalar, words) else UNDECIDED
    if Words in kinds or kinds == {Matrix, Group} or Combined in kinds:
        return UNDECIDED
    return DIFFERENT


def _is_letter(scalar: Value, words: Value) -> bool:
    """Return whether a variable and a word are the same letter: B and (b)."""
    if not (isinstance(scalar, Scalar) and isinstance(words, Words) and scalar.value.is_Symbol):
        return False
    return str(scalar.value).casefold() == words.text.casefold()


# Names and units


def _compare_named(gold: Value, given: Value, same: Same) -> Match:
    if isinstance(gold, Named) and isinstance(given, Named):
        if gold.name == given.name and len(gold.parameters) == len(given.parameters):
            return same(_rename_parameters(gold), _rename_parameters(given))
        if gold.as_equation and given.as_equation:
            return same(gold.as_equation, given.as_equation)
        return DIFFERENT
    named, other = (gold, given) if isinstance(gold, Named) else (given, gold)
    assert isinstance(named, Named)
    if isinstance(other, Relation) and named.as_equation:
        return same(*_in_gold_order(gold, named, named.as_equation, other))
    if isinstance(other, Collection) and not isinstance(named.value, Collection):
        return same(*_in_gold_order(gold, named, Collection((named,)), other))
    return same(*_in_gold_order(gold, named, named.value, other))


def _in_gold_order(gold: Value, named: Value, value: Value, other: Value) -> tuple[Value, Value]:
    return (value, other) if gold is named else (other, value)


def _rename_parameters(named: Named) -> Value:
    """Return the value with its parameters named by position."""
    if not named.parameters or not isinstance(named.value, Scalar):
        return named.value
    places = {sympy.Symbol(name): sympy.Symbol(f"parameter {k}") for k, name in enumerate(named.parameters)}
    return Scalar(named.value.value.subs(places, simultaneous=True), named.value.decimals)


def _compare_quantities(gold: Value, given: Value, same: Same) -> Match:
    one, unit = (gold.value, gold.unit) if isinstance(gold, Quantity) else (gold, ())
    other, other_unit = (given.value, given.unit) if isinstance(given, Quantity) else (given, ())
    if isinstance(one, Collection) or isinstance(other, Collection):
        return _compare_collections(gold, given, same)
    if unit == other_unit:
        return same(one, other)
    if not unit or not other_unit:
        factor = units.as_number(unit or other_unit)
        if factor is not None:
            scaled = (_scale(one, factor), other) if unit else (one, _scale(other, factor))
            return any_of([same(one, other), same(*scaled)])
        return same(one, other)
    scale = units.conversion(unit, other_unit)
    return DIFFERENT if scale is None else same(_scale(one, scale), other)


def _scale(value: Value, factor: Expression) -> Value:
    if isinstance(value, Scalar):
        return Scalar(value.value * factor)
    if isinstance(value, Group):
        return Group(value.opening, tuple(_scale(item, factor) for item in value.items), value.closing)
    return value


# Collections, groups, relations, words


def _compare_collections(gold: Value, given: Value, same: Same) -> Match:
    if isinstance(gold, Collection) and isinstance(given, Collection):
        if any(isinstance(item, Ellipsis) for item in (*gold.items, *given.items)):
            return _compare_with_ellipsis(gold.items, given.items, same)
        if _has_relation(gold) or _has_relation(given):
            match = _compare_in_any_order(gold.items, given.items, same)
            return match if gold.connective == given.connective else at_most(UNDECIDED, match)
        if _has_mixed_units(gold) or _has_mixed_units(given):
            return at_most(UNDECIDED, _compare_in_order(gold.items, given.items, same))
        if _have_distinct_names(gold.items) != _have_distinct_names(given.items):
            names = [item.name for item in (*gold.items, *given.items) if isinstance(item, Named)]
            if names != sorted(names) and set(names) <= set("xyz"):  # the order of a point, or the one stated?
                return UNDECIDED
            return _compare_in_order(gold.items, given.items, same)
        return _compare_in_any_order(
            _share_name(gold.items), _share_name(given.items), same, sets=gold.is_set and given.is_set
        )
    collection, other = (gold, given) if isinstance(gold, Collection) else (given, gold)
    assert isinstance(collection, Collection)
    if _has_relation(collection) or isinstance(other, Relation) or _has_mixed_units(collection):
        return UNDECIDED
    if isinstance(other, Group):
        match = _compare_in_order(collection.items, other.items, same) if len(collection.items) > 1 else DIFFERENT
        return at_most(UNDECIDED, match)
    if isinstance(other, Words | Combined):
        return UNDECIDED
    if len(collection.items) == 1:
        return same(*((collection.items[0], other) if collection is gold else (other, collection.items[0])))
    return _compare_in_any_order(collection.items, (other,), same)


def _has_relation(collection: Collection) -> bool:
    return any(isinstance(item, Relation) for item in collection.items)


def _has_mixed_units(collection: Collection) -> bool:
    """Return whether the items may be one quantity: 1 hour and 30 minutes."""
    units_given = [item.unit for item in collection.items if isinstance(item, Quantity)]
    return len(units_given) == len(collection.items) and len(set(units_given)) > 1


def _have_distinct_names(items: Sequence[Value]) -> bool:
    """Return whether each value has a name of its own, so that order does not matter."""
    names = [item.name for item in items if isinstance(item, Named)]
    return len(names) == len(items) > 1 and len(set(names)) == len(names)


def _share_name(items: Sequence[Value]) -> Sequence[Value]:
    """Give all values the first one's name if only that has one: in "x = 1, 2" both are x."""
    if items and isinstance(first := items[0], Named) and not any(isinstance(item, Named) for item in items[1:]):
        return [first, *(Named(first.name, item, first.parameters) for item in items[1:])]
    return items


def _compare_in_order(golds: Sequence[Value], givens: Sequence[Value], same: Same) -> Match:
    if len(golds) != len(givens):
        return DIFFERENT
    return all_of(same(one, other) for one, other in zip(golds, givens, strict=True))


def _compare_in_any_order(golds: Sequence[Value], givens: Sequence[Value], same: Same, sets: bool = False) -> Match:
    """Match each value with another one. Repeated values count once in a set, among points, and if all are equal."""
    if max(len(golds), len(givens)) > LONGEST_COLLECTION:
        return _compare_in_order(golds, givens, same)
    left = list(givens)
    unmatched: list[Value] = []
    for gold in golds:
        found = next((k for k, one in enumerate(left) if same(gold, one) is SAME), None)
        if found is None:
            unmatched.append(gold)
        else:
            del left[found]
    if not unmatched and not left:
        return SAME
    repeated = all(any(same(one, gold) is SAME for gold in golds) for one in left) and all(
        any(same(one, other) is SAME for other in givens) for one in unmatched
    )
    if repeated:
        one_value = min(len(golds), len(givens)) == 1
        return SAME if sets or one_value or all(isinstance(item, Group) for item in (*golds, *givens)) else UNDECIDED
    pairs = [same(one, other) for one in unmatched for other in left]
    return UNDECIDED if len(unmatched) == len(left) and UNDECIDED in pairs else DIFFERENT


def _compare_with_ellipsis(golds: Sequence[Value], givens: Sequence[Value], same: Same) -> Match:
    """Compare sequences with dots: different ends are DIFFERENT; equal ends with more or fewer terms UNDECIDED."""
    match = _compare_in_order(golds, givens, same)
    if match is not DIFFERENT or len(golds) == len(givens):
        return match
    ends = all_of([same(golds[0], givens[0]), same(golds[-1], givens[-1])])
    both = all(any(isinstance(item, Ellipsis) for item in items) for items in (golds, givens))
    second = same(golds[1], givens[1]) if both and min(len(golds), len(givens)) > 3 else SAME
    return at_most(UNDECIDED, all_of([ends, second])) if both else DIFFERENT


def _compare_groups(gold: Group, given: Group, same: Same) -> Match:
    if (gold.opening, gold.closing) != (given.opening, given.closing):
        match = _compare_in_order(gold.items, given.items, same)
        other_notation = {"", r"\langle"} & {gold.opening, given.opening}
        return at_most(UNDECIDED, match) if other_notation else DIFFERENT
    if gold.opening or len(gold.items) != len(given.items):
        return _compare_in_order(gold.items, given.items, same)
    return _compare_ratios(gold, given, same)


def _compare_ratios(gold: Group, given: Group, same: Same) -> Match:
    """Compare ratios: 2:4 may equal 1:2, unless they are times of day, so that is UNDECIDED."""
    match = _compare_in_order(gold.items, given.items, same)
    parts = [
        (one.value, other.value)
        for one, other in zip(gold.items, given.items, strict=True)
        if isinstance(one, Scalar) and isinstance(other, Scalar)
    ]
    if match is SAME or len(parts) < len(gold.items) or any(0 in pair for pair in parts):
        return match
    scale = sympy.simplify(parts[0][1] / parts[0][0])
    return UNDECIDED if all(sympy.simplify(other - one * scale) == 0 for one, other in parts) else match


MINUS = sympy.Integer(-1)
_MIRRORED = {"(": ")", "[": "]", ")": "(", "]": "["}
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _compare_relations(gold: Value, given: Value, same: Same) -> Match:
    if isinstance(gold, Relation) and isinstance(given, Relation):
        return _compare_two_relations(_ascending(gold), _ascending(given), same)
    relation, other = (gold, given) if isinstance(gold, Relation) else (given, gold)
    assert isinstance(relation, Relation)
    if isinstance(other, Group | Combined):
        interval = _as_interval(relation)
        return UNDECIDED if interval is None else same(interval, other)
    if isinstance(other, Words):
        return UNDECIDED
    is_equation = set(relation.operators) == {"="}
    return at_most(UNDECIDED, same(relation.sides[-1], other)) if is_equation else DIFFERENT


def _ascending(relation: Relation) -> Relation:
    """Return the same relation with its smaller sides first."""
    if all(operator in (">", r"\ge") for operator in relation.operators):
        return Relation(relation.sides[::-1], tuple(_FLIPPED[operator] for operator in relation.operators[::-1]))
    return relation


def _compare_two_relations(gold: Relation, given: Relation, same: Same) -> Match:
    if gold.operators != given.operators:
        return DIFFERENT
    match = _compare_in_order(gold.sides, given.sides, same)
    proportional = None if match is SAME else _compare_by_factor(gold, given)
    return match if proportional is None else proportional


def _compare_by_factor(gold: Relation, given: Relation) -> Match | None:
    """Compare two two-sided relations by whether they differ by a factor; None if that decides nothing."""
    one, other = _difference(gold), _difference(given)
    if len(gold.operators) != 1 or one is None or other is None:
        return None
    if one == 0 or other == 0 or one.free_symbols != other.free_symbols:
        return None
    factor = sympy.simplify(other / one)
    if not factor.is_number or factor.has(sympy.nan, sympy.zoo):
        return DIFFERENT if gold.operators[0] in _FLIPPED or _is_linear(one) else UNDECIDED
    if gold.operators[0] in ("=", r"\ne"):
        return SAME
    return SAME if factor.is_positive else DIFFERENT


def _is_linear(difference: Expression) -> bool:
    """Return whether the difference is linear: another equation with the same solutions is then a multiple."""
    return bool(difference.is_polynomial(*difference.free_symbols)) and sympy.total_degree(difference) == 1


def _difference(relation: Relation) -> Expression | None:
    sides = [side.value for side in relation.sides if isinstance(side, Scalar)]
    return sympy.expand(sides[0] - sides[-1]) if len(sides) == 2 == len(relation.sides) else None


def _as_interval(relation: Relation) -> Value | None:
    """Return the interval of x in `a <= x < b`, `x < b` or `a < |x| < b`, or None."""
    relation = _ascending(relation)
    if any(operator not in ("<", r"\le") for operator in relation.operators):
        return None
    numbers = [isinstance(side, Scalar) and not side.value.free_symbols for side in relation.sides]
    if any(_is_unknown(side) == is_number for side, is_number in zip(relation.sides, numbers, strict=True)):
        return None
    brackets = [("(", ")") if operator == "<" else ("[", "]") for operator in relation.operators]
    if numbers == [True, False, True]:
        low, size, high = relation.sides
        found = Group(brackets[0][0], (low, high), brackets[1][1])
        return Combined(r"\cup", (_mirror(found), found)) if _is_size(size) else found
    if numbers == [False, True]:
        (size, end), (_, closing) = relation.sides, brackets[0]
        if _is_size(size):
            return Group(_MIRRORED[closing], (_scale(end, MINUS), end), closing)
        return Group("(", (Scalar(-sympy.oo), end), closing)
    if numbers == [True, False]:
        (end, size), (opening, _) = relation.sides, brackets[0]
        found = Group(opening, (end, Scalar(sympy.oo)), ")")
        return Combined(r"\cup", (_mirror(found), found)) if _is_size(size) else found
    return None


def _mirror(interval: Group) -> Group:
    """Return the interval of the negated values."""
    ends = tuple(_scale(end, MINUS) for end in interval.items[::-1])
    return Group(_MIRRORED[interval.closing], ends, _MIRRORED[interval.opening])


def _is_unknown(side: Value) -> bool:
    """Return whether the side is what an inequality bounds: a variable, its absolute value, or a function's value."""
    if not isinstance(side, Scalar):
        return False
    value = side.value.args[0] if isinstance(side.value, sympy.Abs) else side.value
    return bool(value.is_Symbol or isinstance(value, sympy.core.function.AppliedUndef))


def _is_size(side: Value) -> bool:
    return isinstance(side, Scalar) and isinstance(side.value, sympy.Abs)


def _compare_words(gold: Words, given: Words) -> Match:
    one, other = (_plain_words(words.text) for words in (gold, given))
    if one == other:
        return SAME
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return UNDECIDED if set(shorter) <= set(longer) else DIFFERENT


def _plain_words(text: str) -> list[str]:
    return [word for word in text.casefold().split() if word not in ("a", "an", "the")]
