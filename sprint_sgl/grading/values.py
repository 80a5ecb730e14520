"""The kinds of values that an answer can be. All are immutable; numbers and expressions are SymPy's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Expression = Any  # of SymPy, whose own types are not exported


@dataclass(frozen=True)
class Scalar:
    """A number or expression; `decimals` counts the digits after the point, None if it is not a decimal."""

    value: Expression
    decimals: int | None = None


@dataclass(frozen=True)
class Words:
    """Words; `plain` if they stand outside \\text and may be variables."""

    text: str
    plain: bool = False


@dataclass(frozen=True)
class Numeral:
    """Digits with their base, as in 413_5."""

    digits: str
    base: int


@dataclass(frozen=True)
class Ellipsis:
    """Dots for omitted terms."""


@dataclass(frozen=True)
class Group:
    """Ordered values in brackets: a point, a tuple, an interval; or without brackets a ratio."""

    opening: str
    items: tuple[Value, ...]
    closing: str


@dataclass(frozen=True)
class Collection:
    """Unordered values: a set, or a list without brackets. `connective`: "and", "or", "and or" or ""."""

    items: tuple[Value, ...]
    is_set: bool = False
    connective: str = field(default="", compare=False)


@dataclass(frozen=True)
class Combined:
    """Sets joined by an operator: union, intersection, difference."""

    operator: str
    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Matrix:
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Relation:
    """Sides with operators between them: `1 < x <= 3`."""

    sides: tuple[Value, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """A value with a name: `x = 5`, `f(t) = t^2`, `x in [0, 1]`.

    `parameters` are the names in brackets after it, which compare by position.
    """

    name: str
    value: Value
    parameters: tuple[str, ...] = ()
    as_equation: Relation | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Quantity:
    """A value with a unit, as names and powers: (("km", 1), ("h", -1))."""

    value: Value
    unit: tuple[tuple[str, int], ...]


Value = Scalar | Words | Numeral | Ellipsis | Group | Collection | Combined | Matrix | Relation | Named | Quantity
