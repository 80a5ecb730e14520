"""Compare numbers and expressions: exact forms by value, decimals to their last digit, variables at many points."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from sprint_sgl.grading.expressions import LOG_BASE
from sprint_sgl.grading.match import Match, any_of, at_most
from sprint_sgl.grading.values import Expression, Scalar

SIGNIFICANT = 5  # digits that a decimal needs to stand for an exact value
TOLERANCE = sympy.Rational(1, 10**20)  # relative, for values at points

SAME, DIFFERENT, UNDECIDED = Match.SAME, Match.DIFFERENT, Match.UNDECIDED


def compare_scalars(gold: Scalar, given: Scalar, digits: int) -> Match:
    """Compare two numbers or expressions; exact forms are evaluated to `digits` digits."""
    if gold.value == given.value:
        return SAME
    if LOG_BASE in gold.value.free_symbols ^ given.value.free_symbols:
        bases = (sympy.Integer(1), sympy.log(10))
        return at_most(
            UNDECIDED,
            any_of(compare_scalars(_with_base(gold, base), _with_base(given, base), digits) for base in bases),
        )
    if (
        gold.value.free_symbols
        or given.value.free_symbols
        or _has_unknown_function(gold.value)
        or _has_unknown_function(given.value)
    ):
        return _compare_expressions(gold.value, given.value)
    if gold.decimals is not None or given.decimals is not None:
        return _compare_decimals(gold, given)
    if gold.value.is_Rational and given.value.is_Rational:
        return DIFFERENT  # equal values returned above
    return _compare_exact(gold.value, given.value, digits)


def _with_base(scalar: Scalar, base: Expression) -> Scalar:
    return Scalar(scalar.value.subs(LOG_BASE, base), scalar.decimals)


def _has_unknown_function(value: Expression) -> bool:
    return bool(value.has(sympy.core.function.AppliedUndef))


def _compare_exact(one: Expression, other: Expression, digits: int) -> Match:
    if one.is_infinite or other.is_infinite:
        return DIFFERENT  # equal values returned above
    values = [sympy.N(value.doit(), digits) for value in (one, other)]
    if not all(value.is_number and value.is_finite is not False for value in values):
        return UNDECIDED
    scale = max(abs(value) for value in values)
    if abs(values[0] - values[1]) > scale * sympy.Rational(1, 10 ** (digits - 10)):
        return DIFFERENT
    return SAME


def _compare_decimals(gold: Scalar, given: Scalar) -> Match:
    """Compare to the last digit of the number with fewer decimals, if that has enough digits."""
    exact, rounded = sorted((gold, given), key=lambda scalar: (scalar.decimals is not None, -(scalar.decimals or 0)))
    assert rounded.decimals is not None
    if exact.decimals == rounded.decimals:
        return DIFFERENT
    significant = len(str(abs(int(rounded.value * 10**rounded.decimals))))  # leading zeros count for nothing
    if significant < SIGNIFICANT:
        return DIFFERENT
    value = sympy.N(exact.value, 40)
    if not value.is_real:
        return DIFFERENT
    unit = sympy.Rational(1, 10**rounded.decimals)
    is_rounded = abs(value - rounded.value) <= unit / 2
    is_cut = 0 <= abs(value) - abs(rounded.value) < unit and value * rounded.value >= 0
    if not (is_rounded or is_cut):
        return DIFFERENT
    return SAME if exact.decimals is None else UNDECIDED  # two decimals: rounded, or another?


_POSITIVE = [sympy.Rational(*pair) for pair in ((7, 5), (11, 4), (19, 7), (3, 13), (41, 12), (5, 9), (23, 3), (8, 17))]
_WHOLE = [sympy.Integer(number) for number in (2, 3, 5, 4, 7, 6, 9, 8)]


def _compare_expressions(one: Expression, other: Expression) -> Match:
    """Compare by values at points; UNDECIDED if they differ only at negative or agree only at whole ones."""
    one, other = (_without_functions(value) for value in (one, other))
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    positive = _agree_at(one, other, symbols, _POSITIVE)
    if positive is None:
        return SAME if sympy.simplify(one - other) == 0 else UNDECIDED
    if positive:
        negative = _agree_at(one, other, symbols, [-point for point in _POSITIVE])
        return SAME if negative is not False else UNDECIDED
    return UNDECIDED if _agree_at(one, other, symbols, _WHOLE) else DIFFERENT


def _without_functions(value: Expression) -> Expression:
    """Replace calls of unknown functions, such as f(2), with variables of that name."""
    calls = value.atoms(sympy.core.function.AppliedUndef)
    return value.subs({call: sympy.Symbol(str(call)) for call in calls})


def _agree_at(
    one: Expression, other: Expression, symbols: Sequence[Expression], points: Sequence[Expression]
) -> bool | None:
    """Return whether the expressions agree wherever both have a value; None with fewer than two such points."""
    agreed = 0
    for turn in range(4):
        place = {symbol: points[(turn + 3 * k) % len(points)] + (k // len(points)) for k, symbol in enumerate(symbols)}
        values = [sympy.N(value.subs(place).doit(), 40) for value in (one, other)]
        if not all(value.is_number and value.is_finite for value in values):
            continue
        scale = max(abs(value) for value in values)
        if abs(values[0] - values[1]) > scale * TOLERANCE:
            return False
        agreed += 1
    return True if agreed > 1 else None
