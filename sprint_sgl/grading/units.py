"""Units in answers: names, powers, conversion."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from sprint_sgl.grading.notation import Token, TokenKind, UnreadableAnswer
from sprint_sgl.grading.values import Expression

PERCENT, DEGREE, MONEY = "%", "°", "$"
UNNAMED = {"unit", "units"}  # a unit without a name
_NAMES = {
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "dm": "decimeter decimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "g": "gram gramme gm",
    "mg": "milligram",
    "kg": "kilogram kilo",
    "lb": "pound lbs",
    "oz": "ounce",
    "ml": "milliliter millilitre mL",
    "l": "liter litre L",
    "gal": "gallon",
    "s": "second sec",
    "min": "minute",
    "h": "hour hr",
    "day": "day",
    "week": "week",
    "month": "month mo",
    "year": "year yr",
    "mph": "mph",
    "kmh": "kmh kph",
    "N": "newton",
    "J": "joule",
    "kJ": "kilojoule",
    "W": "watt",
    "kW": "kilowatt",
    "V": "volt",
    "Hz": "hertz",
    "Pa": "pascal",
    "eV": "electronvolt",
    "mol": "mole",
    "cal": "calorie",
    "rad": "radian",
    DEGREE: "degree deg",
    PERCENT: "percent percentage pct",
    MONEY: "dollar usd USD buck",
    "€": "euro eur EUR",
    "£": "gbp GBP",
    "cent": "cent ¢",
    "°C": "celsius",
    "°F": "fahrenheit",
}
_CANONICAL = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_DERIVED = {"mph": (("h", -1), ("mi", 1)), "kmh": (("h", -1), ("km", 1))}
_FACTORS = {
    "mg",
    "in",
    "gm",
    "ml",
    "mi",
    "mo",
    "hr",
    "min",
    "sec",
    "day",
    "lb",
    "oz",
}  # or products of variables
LETTER_UNITS = {"m", "g", "s", "h", "l", "L", "N", "J", "W", "V"}  # letters that are units after a number and a blank
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_NO_UNIT = (
    "and or is are was be not no if when where then than more less but the at most least about with for to from half "
    "plus minus times over by base mod modulo either both neither approximately of below above under up down never "
    "cannot wrong false incorrect impossible excluded fewer larger smaller negative positive factorial squared cubed "
    "pair pairs lakh crore quadrillion par halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths "
    "hundredths thousandths third quarter fourth fifth sixth seventh eighth ninth tenth only fails extraneous "
    "sqrt cbrt sin cos tan cot csc log ln exp abs arcsin arccos arctan floor ceil max gcd lcm cis"
)
_NO_UNITS = frozenset(_NO_UNIT.split())
MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
LONGEST_UNIT = 3  # words of a counted thing: "5 different red balls"

Unit = tuple[tuple[str, int], ...]


def is_unit_word(word: str) -> bool:
    return _canonical(word) is not None or word.lower() in UNNAMED or word in _POWERS or word == "per"


def may_begin_unit(token: Token, letters: bool) -> bool:
    """Return whether a unit after a value may begin with the token; with `letters`, also a letter after a blank."""
    if token.kind is TokenKind.SIGN:
        return token.text in (PERCENT, MONEY, "€", "£")
    if token.kind is TokenKind.COMMAND:
        return token.text == r"\circ"
    if token.kind is TokenKind.LETTER:
        return letters and (token.spaced or token.upright) and token.text in LETTER_UNITS
    if token.kind is TokenKind.TEXT:
        return token.text.lower() not in _NO_UNITS
    if token.kind is not TokenKind.RUN or token.text.lower() in _NO_UNITS:
        return False
    return len(token.text) > 3 or (is_unit_word(token.text) and (token.spaced or token.text not in _FACTORS))


def may_be_factors(token: Token) -> bool:
    """Return whether a unit's first token may also be variables, as in 2 g and 3 mg."""
    return (token.kind is TokenKind.LETTER and not token.upright) or (
        token.kind is TokenKind.RUN and token.text in _FACTORS
    )


def read_unit(tokens: Sequence[Token]) -> Unit:
    """Return the unit that the tokens form, its parts sorted. Raises UnreadableAnswer if they form none."""
    found: dict[str, int] = {}
    things: list[str] = []
    sign, power, last = 1, 1, ""
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        text = token.text
        if text == "^" or text in ("squared", "cubed"):
            if not last:
                raise UnreadableAnswer("a power without a unit")
            found[last] *= _POWERS.get(text) or _power(rest)
        elif text in ("/", "per"):
            sign = -1
        elif text in _POWERS:
            power = _POWERS[text]
            rest = rest[1:] if rest and rest[0].text == "." else rest
        elif text in (".", "*", "-", "(", ")") and last:
            continue
        elif name := _canonical(text):
            last = name
            found[name] = found.get(name, 0) + sign * power
            power = 1
        elif text.lower() in UNNAMED:
            continue
        elif token.kind in (TokenKind.TEXT, TokenKind.RUN, TokenKind.LETTER) and text.lower() not in _NO_UNITS:
            things.append(_singular(text.lower()))
        else:
            raise UnreadableAnswer(f"'{text}' after a value")
    if len(things) > LONGEST_UNIT:
        raise UnreadableAnswer(f"'{' '.join(things)}' after a value")
    if things:
        found[" ".join(things)] = 1
    for short, parts in _DERIVED.items():
        times = found.pop(short, 0)
        for name, exponent in parts:
            found[name] = found.get(name, 0) + times * exponent
    return tuple(sorted((name, exponent) for name, exponent in found.items() if exponent))


def _power(rest: list[Token]) -> int:
    if not rest:
        raise UnreadableAnswer("a power without an exponent")
    braced = rest[0].text == "{"
    del rest[:braced]
    negative = bool(rest) and rest[0].text == "-"
    del rest[:negative]
    if not rest or not rest[0].text.isdecimal():
        raise UnreadableAnswer("a unit's power that is not a number")
    power = int(rest.pop(0).text)
    if braced and rest and rest[0].text == "}":
        del rest[0]
    return -power if negative else power


def _canonical(word: str) -> str | None:
    if word == r"\circ":
        return DEGREE
    for form in (word, word.lower(), _singular(word.lower())):
        if form in _CANONICAL:
            return _CANONICAL[form]
    return None


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def as_number(unit: Unit) -> Expression | None:
    """Return the number that a unit stands for, or None: % is 1/100, ° is pi/180."""
    return {PERCENT: sympy.Rational(1, 100), DEGREE: sympy.pi / 180}.get(unit[0][0]) if unit else None


_SYMPY_NAMES = {
    "in": "inch",
    "l": "liter",
    "ml": "milliliter",
    "h": "hour",
    "min": "minute",
    "lb": "pound",
    "oz": "ounce",
}


def conversion(unit: Unit, other: Unit) -> Expression | None:
    """Return the factor from `unit` to `other` by SymPy's tables, or None if they measure different things."""
    import sympy.physics.units as physical

    def value_of(parts: Unit) -> Expression | None:
        value = sympy.Integer(1)
        for name, power in parts:
            found = getattr(physical, _SYMPY_NAMES.get(name, name), None)
            if not isinstance(found, physical.Quantity):
                return None
            value = value * found**power
        return value

    if {unit, other} == {(("cent", 1),), ((MONEY, 1),)}:
        return sympy.Rational(1, 100) if unit == (("cent", 1),) else sympy.Integer(100)
    one, two = value_of(unit), value_of(other)
    if one is None or two is None:
        return None
    ratio = physical.convert_to(one / two, [physical.meter, physical.kilogram, physical.second])
    return ratio if ratio.is_number else None
