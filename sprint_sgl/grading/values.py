"""What an answer can be, read whole. All are immutable; numbers and expressions are SymPy's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Expression = Any  # of SymPy, whose own types are not exported


@dataclass(frozen=True)
class Scalar:
    """`decimals` is how many digits follow the point of a number that is written as a decimal, None for all else."""

    value: Expression
    decimals: int | None = None


@dataclass(frozen=True)
class Words:
    """`plain` where they stand outside of \\text, and may be meant as variables."""

    text: str
    plain: bool = False


@dataclass(frozen=True)
class Numeral:
    """Digits in a base that is written beside them, as in 413_5."""

    digits: str
    base: int


@dataclass(frozen=True)
class Ellipsis:
    """The dots that stand for the terms that were left out."""


@dataclass(frozen=True)
class Group:
    """Values in an order, between brackets: a point, a tuple, an interval. A ratio's parts have none."""

    opening: str
    items: tuple[Value, ...]
    closing: str


@dataclass(frozen=True)
class Collection:
    """Values in any order: a set, or a list without brackets. `connective`: "and", "or", both, or neither."""

    items: tuple[Value, ...]
    is_set: bool = False
    connective: str = field(default="", compare=False)


@dataclass(frozen=True)
class Combined:
    """Sets put together by the operator: union, intersection, difference."""

    operator: str
    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Matrix:
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Relation:
    """Sides with an operator between each two: `1 < x <= 3`."""

    sides: tuple[Value, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """A value that the answer gives a name: `x = 5`, `f(t) = t^2`, `x in [0, 1]`.

    `parameters` are the names in brackets behind it, which may be called anything.
    """

    name: str
    value: Value
    parameters: tuple[str, ...] = ()
    as_equation: Relation | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Quantity:
    """A value with a unit: names and powers, such as (("km", 1), ("h", -1))."""

    value: Value
    unit: tuple[tuple[str, int], ...]


Value = Scalar | Words | Numeral | Ellipsis | Group | Collection | Combined | Matrix | Relation | Named | Quantity
