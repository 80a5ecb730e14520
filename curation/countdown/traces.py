"""Countdown traces in the manner of a careful solver who thinks aloud: attempts, dead ends, a second round, a check.

The search works backwards from the target. Each attempt combines two numbers first, and undoes the other numbers from
the target by sums and differences. If no pair makes a needed value, a second round also undoes products and quotients,
and combines the other two numbers. The second stage therefore depends on the first: it is a check of the pair that
fits, or the wider search. Products above LIMIT are not tried. A problem that this search does not solve has no trace,
or on request one that ends in NO_ANSWER: a model that has never seen a search fail makes up an answer, or plans on.

Whether a result is a needed value is measured and not judged: "27+8=35 to 20=15" names the nearest needed value, then
the distance, which is 0 for a hit. A model of a few million parameters learns to look up and to subtract; it did not
learn to say yes or no directly, nor to find the operation that precedes a value. The way back to the target therefore
follows each needed value where it is computed: "79-44=35:<79+24" is 79-35=44, 44+24=68. In a list of all needed values
at the end of an attempt its signs were often wrong (docs/log.md, 2026-11-28).

Up to MAX_CHECKS hits are checked side by side, since a small model miscopies some of them. A check of a miscopied chain
says so, and the answer is taken from another one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from curation.countdown.operations import (
    Op,
    chain_steps,
    chain_words,
    minus,
    operation_on,
    over,
    plus,
    quotient_words,
    times,
    worked_out,
)
from curation.trace import Step, Trace
from sprint_sgl.tasks.countdown.problem import NUMBERS, Problem

LIMIT = 300
MAX_CHECKS = 3
CHECK = "Work out"  # begins the prompts of checks
NO_ANSWER = "none"
Pair = tuple[int, int]


@dataclass(frozen=True)
class NeededValue:
    """A value that a pair must make.

    rest    the operations from the value to the target
    found   the computation of the value in words: "79-44=35"
    """

    value: int
    rest: tuple[Op, ...]
    found: str

    def __str__(self) -> str:
        """Return the computation and the way back to the target: "79-44=35:<79+24"."""
        values = [self.value, *(op.value for op in self.rest)]
        way = "".join(operation_on(value, op) for value, op in zip(values, self.rest, strict=False))
        return f"{self.found}:{way}"


Undone = Sequence[NeededValue | str]  # a computation that leads to no value is kept in words: "48/7 no", "72*80 big"


def needed(undone: Undone) -> list[NeededValue]:
    return [each for each in undone if isinstance(each, NeededValue)]


def found(undone: Undone) -> list[str]:
    """Return the computations without the ways back, for values that a second operation is still undone from."""
    return [each if isinstance(each, str) else each.found for each in undone]


def before(need: NeededValue, undone: Undone) -> Undone:
    """Return what was undone from a needed value as values needed for the target."""
    return [each if isinstance(each, str) else replace(each, rest=each.rest + need.rest) for each in undone]


def undo_sum(target: int, number: int) -> list[NeededValue]:
    """Return target+number and the difference, each with the operation that leads back to the target."""
    up, down = plus(target, number), minus(target, number)
    back = plus(down.value, number) if target >= number else Op(number, "-", down.value, target)
    return [
        NeededValue(up.value, (Op(up.value, "-", number, target),), str(up)),
        NeededValue(down.value, (back,), str(down)),
    ]


def undo_product(target: int, number: int) -> Undone:
    """Return the value that multiplying by `number` last would need."""
    if target % number:
        return [quotient_words(target, number)]
    q = over(target, number)
    return [NeededValue(q.value, (times(q.value, number),), str(q))]


def undo_quotient(target: int, number: int, limit: int = LIMIT) -> Undone:
    """Return the value that dividing by `number` last would need."""
    words = _product_words(target, number, limit)
    if target * number > limit:
        return [words]
    p = times(target, number)
    return [NeededValue(p.value, (over(p.value, number),), words)]


def undo_factor(target: int, number: int, limit: int = LIMIT) -> list[NeededValue | str]:
    """Return the values that multiplying or dividing by `number` last would need.

    Both operations are written whether or not they need a value: what is written when is a rule that small models do
    not learn (docs/log.md, 2026-11-28).
    """
    return [*undo_product(target, number), *undo_quotient(target, number, limit)]


def undo_divisor(target: int, number: int) -> Undone:
    """Return the value by which `number` must be divided; nothing for a target of 0."""
    if not target:
        return []
    if number % target:
        return [quotient_words(number, target)]
    q = over(number, target)
    return [NeededValue(q.value, (Op(number, "/", q.value, target),), str(q))]


def _product_words(a: int, b: int, limit: int) -> str:
    return long_product(a, b) if a * b <= limit else f"{a}*{b} big"


def long_product(a: int, b: int) -> str:
    """Return a product in words, by tens and units if the second number has both: "25*72=1750+50=1800"."""
    tens, units = b - b % 10, b % 10
    parts = f"{a * tens}+{a * units}=" if tens and units else ""
    return f"{a}*{b}={parts}{a * b}"


def sums(a: int, b: int) -> list[tuple[str, Op | None]]:
    """Return the sum and the difference of a pair, in words and as operations."""
    return [(str(plus(a, b)), plus(a, b)), (str(minus(a, b)), minus(a, b))]


def products(a: int, b: int, limit: int = LIMIT) -> list[tuple[str, Op | None]]:
    """Return the product and the quotient likewise; the operation is None if it is too large or not whole."""
    high, low = max(a, b), min(a, b)
    product = (_product_words(a, b, limit), times(a, b) if a * b <= limit else None)
    quotient = (f"{high}/{low}", None) if high % low else (str(over(high, low)), over(high, low))
    return [product, quotient]


@dataclass(frozen=True)
class Attempt:
    """One attempt: its prompt, its text, and the chain of operations to the target if it found one."""

    prompt: str
    text: str
    chain: tuple[Op, ...] | None


def write_attempt(prompt: str, lines: list[str], undone: Undone, results: list[tuple[str, Op | None]]) -> Attempt:
    """Write the distance of each result of a pair to the nearest needed value, up to the first hit."""
    wanted = {need.value: need for need in reversed(needed(undone))}
    if not wanted:
        return Attempt(prompt, "\n".join([*lines, "No way."]), None)
    words, chain, verdict = [], None, "No way."
    for text, op in results:
        if op is None:
            words.append(text if text.endswith("big") else f"{text} no")
            continue
        nearest = min(wanted, key=lambda value: (abs(value - op.value), value))
        words.append(f"{text} {_distance(op.value, nearest)}")
        if op.value == nearest:
            chain = (op, *wanted[nearest].rest)
            verdict = f"So {', '.join(chain_words(chain))}."
            break
    return Attempt(prompt, "\n".join([*lines, _line(words), verdict]), chain)


def _line(words: Iterable[object]) -> str:
    return f"{', '.join(map(str, words))}."


def _distance(value: int, wanted: int) -> str:
    return f"to {wanted}={abs(wanted - value)}"


def try_three(problem: Problem, verb: str, pair: Pair, last: int) -> Attempt:
    """Attempt three numbers: add or multiply the pair, then apply any operation with the last number."""
    limit, target = max(NUMBERS) ** 2, problem.target
    undone = [*undo_sum(target, last), *undo_factor(target, last, limit), *undo_divisor(target, last)]
    results = sums(*pair) if verb == "Add" else products(*pair, limit)
    prompt = f"{verb} {pair[0]} and {pair[1]} with {last} left"
    return write_attempt(prompt, [f"{last} left.", _line(undone)], undone, results)


def try_sums(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: add or subtract the other two."""
    c, d = rest
    first = undo_sum(problem.target, c)
    second = [each for need in first for each in before(need, undo_sum(need.value, d))]
    lines = [f"{c} and {d} left.", _line(found(first)), _line(second)]
    return write_attempt(_prompt(pair, rest, "left"), lines, second, sums(*pair) + products(*pair))


def try_products(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: multiply or divide by at least one of the other two."""
    lines = [f"{rest[0]} and {rest[1]} left."]
    every: list[NeededValue | str] = []
    for c, d in (rest, rest[::-1]):
        first, product = undo_sum(problem.target, c), undo_product(problem.target, c)
        second = [each for need in first for each in before(need, undo_factor(need.value, d))]
        inner = [each for need in needed(product) for each in before(need, undo_sum(need.value, d))]
        lines.append(_line([*found(first), *second, *found(product), *inner]))
        every += [*second, *inner]
    return write_attempt(_prompt(pair, rest, "multiplied"), lines, every, sums(*pair) + products(*pair))


def try_together(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: combine the other two first, or divide one of them."""
    target = problem.target
    joined = [op for op in (plus(rest[0], rest[1]), minus(rest[0], rest[1])) if op.value]
    every = [
        each if isinstance(each, str) else _with_operand(each, op)
        for op in joined
        for each in (*undo_factor(target, op.value), *undo_divisor(target, op.value))
    ]
    lines = [f"{rest[0]} and {rest[1]} together.", _line(joined), _line(every)]
    for c, d in (rest, rest[::-1]):
        first, quotient = undo_sum(target, d), undo_divisor(target, c)
        second = [each for need in first for each in before(need, undo_divisor(need.value, c))]
        inner = [each for need in needed(quotient) for each in before(need, undo_sum(need.value, d))]
        lines.append(_line([*found(first), *second, *found(quotient), *inner]))
        every += [*second, *inner]
    return write_attempt(_prompt(pair, rest, "together"), lines, every, sums(*pair) + products(*pair))


def _with_operand(need: NeededValue, op: Op) -> NeededValue:
    """Return the need with the result of `op` in place of a given number in its one operation."""
    (last,) = need.rest
    return replace(need, rest=(replace(last, operand=op),))


def _prompt(pair: Pair, rest: tuple[int, ...], how: str) -> str:
    """Return the prompt, which also names the numbers left: the planner knows them from the order of the pairs."""
    return f"Try {pair[0]} and {pair[1]} with {rest[0]} and {rest[1]} {how}"


def _check(chain: tuple[Op, ...], target: int, hit: int, *, plan: str) -> Step:
    """Return the step that repeats a chain of step `hit`."""
    return Step(plan, f"{CHECK} {', '.join(chain_words(chain))}", check_text(chain, target), parents=(hit,))


def check_text(chain: tuple[Op, ...], target: int) -> str:
    """Return a chain with the whole expression after each operation, and whether it makes the target."""
    (first, _), *others = chain_steps(chain)
    made, expression = chain[-1].value, others[-1][1]
    verdict = f"so {expression}" if made == target else "no"
    return "\n".join(
        [first, *(f"{words}, {text}" for words, text in others), f"{made} {_distance(made, target)}, {verdict}."]
    )


def _splits(numbers: tuple[int, ...]) -> list[tuple[Pair, tuple[int, ...]]]:
    """Return each different pair with the numbers that it leaves."""
    seen: dict[tuple[int, ...], tuple[Pair, tuple[int, ...]]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        seen.setdefault(tuple(sorted((numbers[i], numbers[j]))), ((numbers[i], numbers[j]), rest))
    return list(seen.values())


def write_trace(problem: Problem, *, unsolved: bool = False, slips: float = 0.0) -> Trace | None:
    """Return a trace that solves a problem of three or four numbers.

    If this search does not solve it: None, or with `unsolved` a trace that ends in NO_ANSWER. `slips` is the
    probability that one of several hits is checked with a wrong sign, so that the answer has to be chosen.
    Raises ValueError for another count of numbers.
    """
    if len(problem.numbers) not in (3, 4):
        raise ValueError(f"traces are written for 3 or 4 numbers, got {problem.numbers}")
    name = "-".join(map(str, (*problem.numbers, problem.target)))
    rounds = _attempt_three if len(problem.numbers) == 3 else _attempt_four
    attempts = rounds(problem)
    steps = [step for step, _ in attempts]
    hits = [(number, chain) for number, (_, chain) in enumerate(attempts, 1) if chain]
    if not hits and not unsolved:
        return None
    answer = NO_ANSWER
    if hits:
        chains = dict(hits[-MAX_CHECKS:])  # sums come after products, and a small model makes fewer mistakes in them
        rng = random.Random(name)
        if len(chains) > 1 and rng.random() < slips:
            slipped = rng.choice(list(chains))
            chains[slipped] = miscopied(chains[slipped], rng)
        plans = ["That fits, check it.", *[""] * (len(chains) - 1)]
        for plan, (hit, chain) in zip(plans, chains.items(), strict=True):
            steps.append(_check(chain, problem.target, hit, plan=plan))
        right = [chain for chain in chains.values() if chain[-1].value == problem.target]
        answer = chain_steps(right[-1])[-1][1]
    return Trace(f"countdown-{name}", problem.question, tuple(steps), f"\\boxed{{{answer}}}")


def miscopied(chain: tuple[Op, ...], rng: random.Random) -> tuple[Op, ...]:
    """Return the chain with a sum in the place of a difference or the reverse, where whole numbers come of it."""
    signs = [place for place, op in enumerate(chain) if place and op.sign in "+-"]
    wrong = [other for place in signs if (other := _with_other_sign(chain, place))]
    return rng.choice(wrong) if wrong else chain


def _with_other_sign(chain: tuple[Op, ...], place: int) -> tuple[Op, ...] | None:
    """Return the chain with the other sign at `place` and everything behind it worked out again."""
    op, value = chain[place], chain[place - 1].value
    number = op.right if op.left == value else op.left
    changed = minus(value, number) if op.sign == "+" else plus(value, number)
    redone = [*chain[:place], replace(changed, operand=op.operand)]
    for last, op in pairwise(chain[place:]):
        value = redone[-1].value
        left, right = (value, op.right) if op.left == last.value else (op.left, value)
        again = worked_out(left, op.sign, right)
        if again is None:
            return None
        redone.append(replace(again, operand=op.operand))
    return tuple(redone)


def needs_second_round(problem: Problem) -> bool:
    """Tell whether no pair of four numbers fits with the other two added or subtracted."""
    return not any(attempt.chain for attempt in first_round(problem))


StepsWithChains = list[tuple[Step, tuple[Op, ...] | None]]


def first_round(problem: Problem) -> list[Attempt]:
    """Return the attempts of the first round, in their order."""
    splits = _splits(problem.numbers)
    if len(problem.numbers) == 3:
        return [try_three(problem, verb, pair, rest[0]) for verb in ("Multiply", "Add") for pair, rest in splits]
    return [try_sums(problem, pair, rest) for pair, rest in splits]


def second_round(problem: Problem) -> list[Attempt]:
    """Return the attempts that four numbers get if the first round has no hit."""
    return [
        kind(problem, pair, rest) for kind in (try_products, try_together) for pair, rest in _splits(problem.numbers)
    ]


def _attempt_three(problem: Problem) -> StepsWithChains:
    return _side_by_side(first_round(problem), "Pick two numbers first.")


def _attempt_four(problem: Problem) -> StepsWithChains:
    plan = "Pick two numbers first, add or subtract the others."
    attempts = _side_by_side(first_round(problem), plan)
    if any(chain for _, chain in attempts):
        return attempts
    everything = tuple(range(1, len(attempts) + 1))
    wider = Step("No pair fits, so multiply and divide by the others too, and take them together.", parents=everything)
    more = _side_by_side(second_round(problem), "", parents=(len(attempts) + 1,))
    return [*attempts, (wider, None), *more]


def _side_by_side(tries: list[Attempt], plan: str, parents: tuple[int, ...] = ()) -> StepsWithChains:
    """Return the attempts as independent steps, the first of which has the plan."""
    plans = [plan, *[""] * (len(tries) - 1)]
    return [(Step(p, t.prompt, t.text, parents=parents), t.chain) for p, t in zip(plans, tries, strict=True)]
