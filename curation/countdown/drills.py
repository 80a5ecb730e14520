"""Arithmetic drills: rows of sums, differences, products, quotients and distances in the notation of the Countdown
traces.

Which numbers divide which has to be memorised, and a model that trains on traces alone forgets it: most of its wrong
answers then come from a whole quotient that it takes for none, or from equal numbers whose distance it does not write
as 0 (docs/log.md, 2026-11-29). The SPRINT and the RFT model get the same drills.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from curation.countdown.operations import Op, minus, plus
from curation.countdown.traces import LIMIT, products
from sprint_sgl.tasks.countdown.problem import NUMBERS
from sprint_sgl.training_rows import Row, make_row

ITEMS = 20
PAIRS = [(a, b) for b in NUMBERS for a in range(b, 201)]
QUOTIENTS = [(a, b) for a, b in PAIRS if a % b == 0 and 1 < b < a]


def drill(rng: random.Random, items: int = ITEMS) -> Row:
    """Return one row: a line of tasks as context, the same line with results as response."""
    return _row(_draw_task(rng) for _ in range(items))


def division_drill(rng: random.Random, items: int = 2 * ITEMS) -> Row:
    """Return a drill of quotients, half of them whole: which numbers divide which has to be memorised."""
    drawn = [rng.choice(QUOTIENTS if n % 2 else PAIRS) for n in range(items)]
    return _row(_quotient_task(a, b) for a, b in rng.sample(drawn, items))


def distance_drill(rng: random.Random, items: int = ITEMS) -> Row:
    """Return a drill of distances between a result and a needed value, a third of them 0."""
    return _row(_draw_distance(rng) for _ in range(items))


def _row(items: Iterable[tuple[str, str]]) -> Row:
    tasks, worked = zip(*items, strict=True)
    return make_row(f"{', '.join(tasks)}.\n", f"{', '.join(worked)}.\n")


def _quotient_task(a: int, b: int) -> tuple[str, str]:
    """Return the task and the line that solves it."""
    text, op = products(a, b)[1]
    return (text, f"{text} no") if op is None else (_task(op), text)


def _draw_task(rng: random.Random) -> tuple[str, str]:
    """Return a task such as 67+53 and the line that solves it, with numbers as large as in Countdown's traces."""
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
    return _quotient_task(a, b)


def _draw_distance(rng: random.Random) -> tuple[str, str]:
    value = rng.randint(0, rng.choice((99, 300, max(NUMBERS) ** 2)))
    wanted = rng.choice((value, value + rng.randint(1, 9), rng.randint(0, 400)))
    task = f"{value} to {wanted}"
    return task, f"{task}={abs(value - wanted)}"


def _task(op: Op) -> str:
    return f"{op.left}{op.sign}{op.right}"
