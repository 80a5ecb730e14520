"""Countdown traces in the manner of a careful solver who thinks aloud: attempts, dead ends, a second round, a check.

The search works backwards from the target. Each attempt combines two numbers first, and undoes the other numbers from
the target by sums and differences. If no pair makes a needed value, a second round also undoes products and quotients.
The second stage therefore depends on the first: it is a check of the pair that fits, or the wider search. Products
above LIMIT are not tried. A problem that this search does not solve has no trace, or on request one that ends in
NO_ANSWER: a model that has never seen a search fail makes up an answer, or plans on.

Whether a result is a needed value is measured and not judged: "27+8=35 to 20=15" names the nearest needed value, then
the distance, which is 0 for a hit. A model of a few million parameters learns to look up and to subtract; it did not
learn to say yes or no directly, nor to find the operation that precedes a value. The way back to the target therefore
follows each needed value and is read from left to right: "35<79+24" is 79-35=44, 44+24=68.

Wider searches and other notations have been tried (docs/log.md, 2026-11-28 and after): this one is what the shipped
models know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from curation.countdown.operations import (
    Op,
    chain_steps,
    chain_words,
    minus,
    operation_on,
    over,
    plus,
    times,
)
from curation.trace import Step, Trace
from sprint_sgl.tasks.countdown.problem import NUMBERS, Problem

LIMIT = 300
CHECK = "Work out"  # begins the prompts of checks
NO_ANSWER = "none"
Pair = tuple[int, int]


@dataclass(frozen=True)
class NeededValue:
    """A value that a pair must make.

    rest       the operations from the value to the target
    found_by   the operation that undid the last one
    """

    value: int
    rest: tuple[Op, ...]
    found_by: Op

    def before(self, undone: list[NeededValue]) -> list[NeededValue]:
        """Return what was undone from this value as values needed for the target."""
        return [NeededValue(each.value, each.rest + self.rest, each.found_by) for each in undone]

    def __str__(self) -> str:
        """Return the value and the way back to the target: "35<79+24"."""
        values = [self.value, *(op.value for op in self.rest)]
        way = "".join(operation_on(value, op) for value, op in zip(values, self.rest, strict=False))
        return f"{self.value}{way}"


def found(needed: list[NeededValue]) -> list[str]:
    """Return the computations of the values, in words."""
    return [str(each.found_by) for each in needed]


def undo_sum(target: int, number: int) -> list[NeededValue]:
    """Return target+number and the difference, each with the operation that leads back to the target."""
    up, down = plus(target, number), minus(target, number)
    back = plus(down.value, number) if target >= number else Op(number, "-", down.value, target)
    return [NeededValue(up.value, (Op(up.value, "-", number, target),), up), NeededValue(down.value, (back,), down)]


def undo_product(target: int, number: int) -> tuple[list[str], list[NeededValue]]:
    """Return the value that multiplying by `number` last would need, after the words for it."""
    if target % number:
        return ([f"{target}/{number} no"] if target > number else []), []
    q = over(target, number)
    return [str(q)], [NeededValue(q.value, (times(q.value, number),), q)]


def undo_factor(target: int, number: int, limit: int = LIMIT) -> tuple[list[str], list[NeededValue]]:
    """Return the values that multiplying or dividing by `number` last would need, after the words for them."""
    words, needed = undo_product(target, number)
    if target * number > limit:
        return words, needed
    p = times(target, number)
    return [*words, long_product(target, number)], [*needed, NeededValue(p.value, (over(p.value, number),), p)]


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
    product = (long_product(a, b), times(a, b)) if a * b <= limit else (f"{a}*{b} big", None)
    quotient = (f"{high}/{low}", None) if high % low else (str(over(high, low)), over(high, low))
    return [product, quotient]


@dataclass(frozen=True)
class Attempt:
    """One attempt: its prompt, its text, and the chain of operations to the target if it found one."""

    prompt: str
    text: str
    chain: tuple[Op, ...] | None


def write_attempt(
    prompt: str, lines: list[str], needed: list[NeededValue], results: list[tuple[str, Op | None]]
) -> Attempt:
    """Write the distance of each result of a pair to the nearest needed value, up to the first hit."""
    if not needed:
        return Attempt(prompt, "\n".join([*lines, "No way."]), None)
    wanted = {need.value: need for need in reversed(needed)}
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
    usable = f"I can use {_line(needed)}"
    return Attempt(prompt, "\n".join([*lines, usable, _line(words), verdict]), chain)


def _line(words: Iterable[object]) -> str:
    return f"{', '.join(map(str, words))}."


def try_three(problem: Problem, verb: str, pair: Pair, last: int) -> Attempt:
    """Attempt three numbers: add or multiply the pair, then apply any operation with the last number."""
    limit = max(NUMBERS) ** 2
    by_sum = undo_sum(problem.target, last)
    words, by_factor = undo_factor(problem.target, last, limit)
    results = sums(*pair) if verb == "Add" else products(*pair, limit)
    prompt = f"{verb} {pair[0]} and {pair[1]} with {last} left"
    return write_attempt(prompt, [f"{last} left.", _line([*found(by_sum), *words])], by_sum + by_factor, results)


def try_sums(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: add or subtract the other two."""
    c, d = rest
    first = undo_sum(problem.target, c)
    second = [each for need in first for each in need.before(undo_sum(need.value, d))]
    lines = [f"{c} and {d} left.", _line(found(first)), _line(found(second))]
    return write_attempt(_prompt(pair, rest), lines, second, sums(*pair) + products(*pair))


def try_products(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Attempt:
    """Attempt four numbers: multiply or divide by at least one of the other two."""
    lines = [f"{rest[0]} and {rest[1]} left."]
    needed: list[NeededValue] = []
    for c, d in (rest, rest[::-1]):
        by_sum = undo_sum(problem.target, c)
        words = found(by_sum)
        for need in by_sum:
            if need.value:
                undone, by_factor = undo_factor(need.value, d)
                words += undone
                needed += need.before(by_factor)
        undone, by_product = undo_product(problem.target, c)
        inner = [each for need in by_product for each in need.before(undo_sum(need.value, d))]
        lines.append(_line([*words, *undone, *found(inner)]))
        needed += inner
    return write_attempt(_prompt(pair, rest), lines, needed, sums(*pair) + products(*pair))


def _prompt(pair: Pair, rest: tuple[int, ...]) -> str:
    """Return the prompt, which also names the numbers left: the planner knows them from the order of the pairs."""
    return f"Try {pair[0]} and {pair[1]} with {rest[0]} and {rest[1]} left"


def _check(chain: tuple[Op, ...], hit: int) -> Step:
    """Return the step that repeats the chain of step `hit`."""
    return Step("That fits, check it.", check_prompt(chain), check_text(chain), parents=(hit,))


def check_prompt(chain: tuple[Op, ...]) -> str:
    return f"{CHECK} {', '.join(chain_words(chain))}"


def check_text(chain: tuple[Op, ...]) -> str:
    """Return a chain with the whole expression after each operation."""
    (first, _), *others = chain_steps(chain)
    lines = [first, *(f"{words}, {text}" for words, text in others), f"That makes {chain[-1].value}."]
    return "\n".join(lines)


def _splits(numbers: tuple[int, ...]) -> list[tuple[Pair, tuple[int, ...]]]:
    """Return each different pair with the numbers that it leaves."""
    seen: dict[Pair, tuple[int, ...]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        seen.setdefault((numbers[i], numbers[j]), tuple(n for k, n in enumerate(numbers) if k not in (i, j)))
    return list(seen.items())


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
    return not any(attempt.chain for attempt in attempts_of_round(problem, 1))


StepsWithChains = list[tuple[Step, tuple[Op, ...] | None]]


def attempts_of_round(problem: Problem, round: int) -> list[Attempt]:
    """Return the attempts of round 1 or 2, in their order. Three numbers have no second round."""
    splits = _splits(problem.numbers)
    if len(problem.numbers) == 3:
        verbs = ("Multiply", "Add") if round == 1 else ()
        return [try_three(problem, verb, pair, rest[0]) for verb in verbs for pair, rest in splits]
    attempt = try_sums if round == 1 else try_products
    return [attempt(problem, pair, rest) for pair, rest in splits]


def _attempt_three(problem: Problem) -> StepsWithChains:
    return _side_by_side(attempts_of_round(problem, 1), "Pick two numbers first.")


def _attempt_four(problem: Problem) -> StepsWithChains:
    plan = "Pick two numbers first, add or subtract the others."
    attempts = _side_by_side(attempts_of_round(problem, 1), plan)
    if any(chain for _, chain in attempts):
        return attempts
    everything = tuple(range(1, len(attempts) + 1))
    wider = Step("No pair fits, so multiply and divide by the others too.", parents=everything)
    more = _side_by_side(attempts_of_round(problem, 2), "", parents=(len(attempts) + 1,))
    return [*attempts, (wider, None), *more]


def _side_by_side(tries: list[Attempt], plan: str, parents: tuple[int, ...] = ()) -> StepsWithChains:
    """Return the attempts as independent steps, the first of which has the plan."""
    plans = [plan, *[""] * (len(tries) - 1)]
    return [(Step(p, t.prompt, t.text, parents=parents), t.chain) for p, t in zip(plans, tries, strict=True)]
