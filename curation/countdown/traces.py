"""Countdown traces in the manner of a careful solver who thinks aloud: attempts, dead ends, a second round, a check.

The search works backwards from the target. Each attempt combines two numbers first, and undoes the other numbers from
the target by sums and differences. If no pair makes a needed value, a second round also undoes products and quotients,
and combines the other two numbers. The second stage therefore depends on the first: it is a check of the pair that
fits, or the wider search. Products above LIMIT are not tried. A problem that this search does not solve has no trace,
or on request one that ends in NO_ANSWER: a model that has never seen a search fail makes up an answer, or plans on.

Whether a result is a needed value is measured and not judged: "27+8=35 to 20=15" names the nearest needed value, then
the distance, which is 0 for a hit. A model of a few million parameters learns to look up and to subtract; it did not
learn to say yes or no directly, nor to find the operation that precedes a value. The way back to the target is
therefore written after each value and read from left to right: "35<79+24" (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

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
)
from curation.trace import Step, Trace
from sprint_sgl.tasks.countdown.problem import NUMBERS, Problem

LIMIT = 300
NO_ANSWER = "none"
Pair = tuple[int, int]


@dataclass(frozen=True)
class NeededValue:
    """A value that a pair must make.

    rest       the operations from the value to the target
    found_by   the operation that computed the value
    """

    value: int
    rest: tuple[Op, ...]
    found_by: Op

    def extend(self, more: list[NeededValue]) -> list[NeededValue]:
        """Return the values that are needed for this value as values needed for the target."""
        return [NeededValue(need.value, need.rest + self.rest, need.found_by) for need in more]

    def __str__(self) -> str:
        """Return the value and the way back to the target: "35<79+24" is 79-35=44, 44+24=68."""
        values = [self.value, *(op.value for op in self.rest)]
        return f"{self.value}" + "".join(operation_on(value, op) for value, op in zip(values, self.rest, strict=False))


def undo_sum(target: int, number: int) -> list[NeededValue]:
    """Return target+number and the difference, each with the operation that leads back to the target."""
    up, down = plus(target, number), minus(target, number)
    back = plus(down.value, number) if target >= number else Op(number, "-", down.value, target)
    return [NeededValue(up.value, (Op(up.value, "-", number, target),), up), NeededValue(down.value, (back,), down)]


def _computations(needs: list[NeededValue]) -> list[str]:
    return [str(need.found_by) for need in needs]


def undo_quotient(target: int, number: int, limit: int = LIMIT) -> tuple[list[str], list[NeededValue]]:
    """Return the words and the values that multiplying or dividing by `number` last would need.

    Both operations are written whether or not they need a value: what is written when is a rule that small models do
    not learn (docs/log.md, 2026-11-28).
    """
    needs = []
    if target % number == 0:
        q = over(target, number)
        needs.append(NeededValue(q.value, (times(q.value, number),), q))
    if target * number <= limit:
        p = times(target, number)
        needs.append(NeededValue(p.value, (over(p.value, number),), p))
    return [quotient_words(target, number), _product_words(target, number, limit)], needs


def undo_divisor(target: int, number: int) -> tuple[list[str], list[NeededValue]]:
    """Return the words and the value by which `number` must be divided; both empty for a target of 0."""
    if not target:
        return [], []
    q, words = over(number, target), [quotient_words(number, target)]
    return words, [] if number % target else [NeededValue(q.value, (Op(number, "/", q.value, target),), q)]


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


def write_attempt(
    prompt: str, lines: list[str], needs: list[NeededValue], results: list[tuple[str, Op | None]]
) -> Attempt:
    """Write the distance of each result of a pair to the nearest needed value, up to the first hit."""
    wanted = {need.value: need for need in reversed(needs)}
    words, chain, verdict = [], None, "No way."
    for text, op in results:
        if op is None:
            words.append(text if text.endswith("big") else f"{text} no")
            continue
        nearest = min(wanted, key=lambda value: (abs(value - op.value), value))
        words.append(f"{text} to {nearest}={abs(nearest - op.value)}")
        if op.value == nearest:
            chain = (op, *wanted[nearest].rest)
            verdict = f"So {', '.join(chain_words(chain))}."
            break
    return Attempt(prompt, "\n".join([*lines, ", ".join(words) + ".", verdict]), chain)


def try_three(problem: Problem, verb: str, pair: Pair, last: int) -> Attempt:
    """Attempt three numbers: add or multiply the pair, then apply any operation with the last number."""
    limit = max(NUMBERS) ** 2
    undone = undo_sum(problem.target, last)
    words, needs = undo_quotient(problem.target, last, limit)
    divided, divisors = undo_divisor(problem.target, last)
    lines = [f"{last} left.", f"{', '.join([*_computations(undone), *words, *divided])}."]
    needs = undone + needs + divisors
    lines.append(_usable_line(needs))
    results = sums(*pair) if verb == "Add" else products(*pair, limit)
    return write_attempt(f"{verb} {pair[0]} and {pair[1]} with {last} left", lines, needs, results)


def try_sums(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: add or subtract the other two."""
    c, d = rest
    first = undo_sum(problem.target, c)
    second = [found for need in first for found in need.extend(undo_sum(need.value, d))]
    lines = [f"{c} and {d} left.", f"{', '.join(_computations(first))}.", f"{', '.join(_computations(second))}."]
    lines.append(_usable_line(second))
    return write_attempt(_prompt(pair, rest, "left"), lines, second, sums(*pair) + products(*pair))


def try_products(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: multiply or divide by at least one of the other two."""
    lines = [f"{rest[0]} and {rest[1]} left."]
    needs: list[NeededValue] = []
    for c, d in (rest, rest[::-1]):
        undone = undo_sum(problem.target, c)
        words = _computations(undone)
        for need in undone:
            more, found = undo_quotient(need.value, d)
            words += more
            needs += need.extend(found)
        more, found = _inner_quotient(problem.target, c, d)
        needs += found
        lines.append(f"{', '.join(words + more)}.")
    return _attempt_if_needed(_prompt(pair, rest, "multiplied"), lines, needs, pair)


def try_together(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: combine the other two first, or divide one of them."""
    target, prompt = problem.target, _prompt(pair, rest, "together")
    joined = [op for op in (plus(*rest), minus(*rest)) if op.value]
    words, needs = [], []
    for op in joined:
        for more, found in (undo_quotient(target, op.value), undo_divisor(target, op.value)):
            words += more
            needs += [_with_operand(need, op) for need in found]
    lines = [f"{rest[0]} and {rest[1]} together.", f"{', '.join(map(str, joined))}.", f"{', '.join(words)}."]
    for c, d in (rest, rest[::-1]):
        undone = undo_sum(target, d)
        words = _computations(undone)
        for need in undone:
            more, found = undo_divisor(need.value, c)
            words += more
            needs += need.extend(found)
        more, found = undo_divisor(target, c)
        words += more
        needs += [need for quotient in found for need in quotient.extend(undo_sum(quotient.value, d))]
        lines.append(f"{', '.join(words)}.")
    return _attempt_if_needed(prompt, lines, needs, pair)


def _attempt_if_needed(prompt: str, lines: list[str], needs: list[NeededValue], pair: Pair) -> Attempt:
    if not needs:
        return Attempt(prompt, "\n".join([*lines, "No way."]), None)
    return write_attempt(prompt, [*lines, _usable_line(needs)], needs, sums(*pair) + products(*pair))


def _with_operand(need: NeededValue, op: Op) -> NeededValue:
    """Return the need with the result of `op` in place of a given number in its one operation."""
    (last,) = need.rest
    return replace(need, rest=(replace(last, operand=op),))


def _usable_line(needs: list[NeededValue]) -> str:
    return f"I can use {', '.join(map(str, needs))}."


def _prompt(pair: Pair, rest: tuple[int, ...], how: str) -> str:
    """Return the prompt, which also names the numbers left: the planner knows them from the order of the pairs."""
    return f"Try {pair[0]} and {pair[1]} with {rest[0]} and {rest[1]} {how}"


def _inner_quotient(target: int, c: int, d: int) -> tuple[list[str], list[NeededValue]]:
    """Return the words and the values needed for (x + d) * c = target and (x - d) * c = target."""
    if target % c:
        return [quotient_words(target, c)], []
    q = over(target, c)
    second = NeededValue(q.value, (times(q.value, c),), q).extend(undo_sum(q.value, d))
    return [str(q), *_computations(second)], second


def _check(chain: tuple[Op, ...], parent: int) -> Step:
    """Return the step that repeats the chain, with the whole expression after each operation."""
    (first, _), *others = chain_steps(chain)
    lines = [first, *(f"{words}, {expression}" for words, expression in others), f"That makes {chain[-1].value}."]
    return Step(
        "That fits, check it.", f"Work out {', '.join(chain_words(chain))}", "\n".join(lines), parents=(parent,)
    )


def _splits(numbers: tuple[int, ...]) -> list[tuple[Pair, tuple[int, ...]]]:
    """Return each different pair with the numbers that it leaves."""
    seen: dict[tuple[int, ...], tuple[Pair, tuple[int, ...]]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        seen.setdefault(tuple(sorted((numbers[i], numbers[j]))), ((numbers[i], numbers[j]), rest))
    return list(seen.values())


def write_trace(problem: Problem, *, unsolved: bool = False) -> Trace | None:
    """Return a trace that solves a problem of three or four numbers.

    If this search does not solve it: None, or with `unsolved` a trace that ends in NO_ANSWER.
    Raises ValueError for another count of numbers.
    """
    if len(problem.numbers) not in (3, 4):
        raise ValueError(f"traces are written for 3 or 4 numbers, got {problem.numbers}")
    rounds = _attempt_three if len(problem.numbers) == 3 else _attempt_four
    attempts = rounds(problem)
    steps = [step for step, _ in attempts]
    hits = [(number, chain) for number, (_, chain) in enumerate(attempts, 1) if chain]
    if not hits and not unsolved:
        return None
    answer = NO_ANSWER
    if hits:
        number, chain = hits[-1]  # sums come after products, and a small model makes fewer mistakes in them
        steps.append(_check(chain, number))
        answer = chain_steps(chain)[-1][1]
    name = "-".join(map(str, (*problem.numbers, problem.target)))
    return Trace(f"countdown-{name}", problem.question, tuple(steps), f"\\boxed{{{answer}}}")


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
