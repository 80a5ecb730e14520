"""Arithmetic drills: rows of sums, differences, products and quotients, written as the Countdown traces write them.

A model from random weights has no arithmetic to reason with; these rows teach it, to both models alike.
"""

from __future__ import annotations

import random

from curation.countdown import LIMIT, Op, minus, plus, products
from curation.reformat import Row, make_row

ITEMS = 20
CHECKS = 12


def drill(rng: random.Random, items: int = ITEMS) -> Row:
    """One row: the tasks in a line as context, the same line worked out as response."""
    tasks, worked = zip(*(_item(rng) for _ in range(items)), strict=True)
    return make_row(f"{', '.join(tasks)}.\n", f"{', '.join(worked)}.\n")


def _item(rng: random.Random) -> tuple[str, str]:
    """A task such as 67+53 and its line, with numbers as large as Countdown's traces need."""
    kind = rng.choices("+-*/", (4, 4, 2, 1))[0]
    if kind in "+-":
        op = (plus if kind == "+" else minus)(rng.randint(1, 200), rng.randint(1, 99))
        return _task(op), str(op)
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    if kind == "*":
        while rng.random() < 0.5 and a * b > LIMIT:
            b = rng.randint(1, max(1, LIMIT // a))
        return f"{a}*{b}", products(a, b, 99 * 99)[0][0]
    if rng.random() < 0.5:
        a = b * rng.randint(1, max(1, 200 // b))
    text, op_or_none = products(a, b)[1]
    return (text, f"{text} no") if op_or_none is None else (_task(op_or_none), text)


def _task(op: Op) -> str:
    return f"{op.left}{op.sign}{op.right}"


def check_drill(rng: random.Random, items: int = CHECKS) -> Row:
    """One row of the question that a search asks of every result: is it one of the numbers that can be used?

    In traces the answer is yes once in twenty times, too rarely to learn the lookup from; here it is every other time.
    """
    usable = [rng.randint(1, 200) for _ in range(rng.randint(2, 4))]
    ops = [
        _reaching(rng.choice(usable) + rng.choice((0, 0, 0, 1, -1, 10, -10, rng.randint(-90, 90))), rng)
        for _ in range(items)
    ]
    judged = ", ".join(f"{op} {'yes' if op.value in usable else 'no'}" for op in ops)
    listed = ", ".join(f"{value} yes" for value in usable)
    return make_row(f"{', '.join(map(_task, ops))}.\nI can use {listed}.\n", f"{judged}.\n")


def _reaching(value: int, rng: random.Random) -> Op:
    """A sum or a difference of two numbers that makes about that value; the value itself where it is positive."""
    value = max(value, 1)
    if value > 2 and rng.random() < 0.5:
        left = rng.randint(1, value - 1)
        return plus(left, value - left)
    right = rng.randint(1, 99)
    return minus(value + right, right)
