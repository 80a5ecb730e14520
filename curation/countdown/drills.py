"""Arithmetic drills: rows of sums, differences, products and quotients, written as the Countdown traces write them.

A model from random weights has no arithmetic to reason with; these rows teach it, to both models alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from curation.countdown.traces import LIMIT, Op, minus, plus, products
from sprint_sgl.rows import Row, make_row
from sprint_sgl.tasks.countdown.problem import NUMBERS

ITEMS = 20
PAIRS = [(a, b) for b in NUMBERS for a in range(b, 201)]
QUOTIENTS = [(a, b) for a, b in PAIRS if a % b == 0 and 1 < b < a]


def drill(rng: random.Random, items: int = ITEMS) -> Row:
    """One row: the tasks in a line as context, the same line worked out as response."""
    return _row(_item(rng) for _ in range(items))


def divisions(rng: random.Random, items: int = 2 * ITEMS) -> Row:
    """The same with quotients alone, every other one whole: what divides what is not worked out but known by heart."""
    drawn = [rng.choice(QUOTIENTS if n % 2 else PAIRS) for n in range(items)]
    return _row(_quotient(a, b) for a, b in rng.sample(drawn, items))


def _row(items: Iterable[tuple[str, str]]) -> Row:
    tasks, worked = zip(*items, strict=True)
    return make_row(f"{', '.join(tasks)}.\n", f"{', '.join(worked)}.\n")


def _quotient(a: int, b: int) -> tuple[str, str]:
    text, op = products(a, b)[1]
    return (text, f"{text} no") if op is None else (_task(op), text)


def _item(rng: random.Random) -> tuple[str, str]:
    """A task such as 67+53 and its line, with numbers as large as Countdown's traces need."""
    kind = rng.choices("+-*/", (4, 4, 2, 1))[0]
    if kind in "+-":
        a, b = rng.randint(1, 200), rng.randint(1, 99)
        op = plus(a, b) if kind == "+" else minus(a, rng.choice((b, rng.randint(1, 300))))
        return _task(op), str(op)
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    if kind == "*":
        while rng.random() < 0.5 and a * b > LIMIT:
            b = rng.randint(1, max(1, LIMIT // a))
        return f"{a}*{b}", products(a, b, 99 * 99)[0][0]
    if rng.random() < 0.5:
        a = b * rng.randint(1, max(1, 200 // b))
    return _quotient(a, b)


def _task(op: Op) -> str:
    return f"{op.left}{op.sign}{op.right}"
