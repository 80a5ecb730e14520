"""Writes Countdown traces the way a careful solver thinks aloud: tries, dead ends, a second round, a check.

The search works backwards from the target. With two numbers put together first, the others are undone
from the target by sums and differences; if no pair meets what is needed, a second round undoes products
and quotients too. So what the second stage tries depends on what the first one found: a check of the
pair that fits, or the wider search. Products above LIMIT are left out, and so is a part of the tree that
would need them; `write` returns None for a problem that this search does not solve.

Whether a result is among the values that would do is not judged but measured, "27+8=35 to 20=15": the nearest of
them, then the distance, which is 0 for a hit. A model of a few million parameters learns to look up and to subtract,
and did not learn to say yes or no at once; nor, given a value, to find the operation before it, so that the way back to
the target is written after each value and read from left to right, "35<79+24" (LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from curation.trace import Step, Trace
from sprint_sgl.countdown import NUMBERS, Problem

LIMIT = 300
Pair = tuple[int, int]


@dataclass(frozen=True)
class Op:
    """One written operation; `str` gives "3+7=10"."""

    left: int
    sign: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left}{self.sign}{self.right}={self.value}"


def after(value: int, op: Op) -> str:
    """What is done to that value, which is one side of the operation: "+24", or "<79" for 79 minus it."""
    return f"{op.sign}{op.right}" if op.left == value else f"<{op.left}"


def written(chain: tuple[Op, ...]) -> list[str]:
    """The chain in words, each operation on the value before it: "76-41=35", "35<79=44", "44+24=68"."""
    values = [op.value for op in chain]
    return [str(chain[0]), *(f"{v}{after(v, op)}={op.value}" for v, op in zip(values, chain[1:], strict=False))]


def plus(a: int, b: int) -> Op:
    return Op(a, "+", b, a + b)


def minus(a: int, b: int) -> Op:
    """The larger less the smaller."""
    return Op(max(a, b), "-", min(a, b), abs(a - b))


def times(a: int, b: int) -> Op:
    return Op(a, "*", b, a * b)


def over(a: int, b: int) -> Op:
    return Op(a, "/", b, a // b)


@dataclass(frozen=True)
class Need:
    """A value that a pair must make, the operations that lead from it to the target, and the one that found it."""

    value: int
    rest: tuple[Op, ...]
    found_by: Op

    def then(self, more: list[Need]) -> list[Need]:
        """What is needed for this value, as needs for the target."""
        return [Need(need.value, need.rest + self.rest, need.found_by) for need in more]

    def __str__(self) -> str:
        """The value and the way back to the target: "35<79+24" is 79-35=44, 44+24=68."""
        values = [self.value, *(op.value for op in self.rest)]
        return f"{self.value}" + "".join(after(value, op) for value, op in zip(values, self.rest, strict=False))


def undo_sum(target: int, number: int) -> list[Need]:
    """target+number and the difference, each with the step that leads back to the target."""
    up, down = plus(target, number), minus(target, number)
    back = plus(down.value, number) if target >= number else Op(number, "-", down.value, target)
    return [Need(up.value, (Op(up.value, "-", number, target),), up), Need(down.value, (back,), down)]


def _found(needs: list[Need]) -> list[str]:
    return [str(need.found_by) for need in needs]


def undo_quotient(target: int, number: int, limit: int = LIMIT) -> tuple[list[str], list[Need]]:
    """What multiplying or dividing by `number` last would need, and the words for it."""
    needs, words = [], []
    if target % number == 0:
        q = over(target, number)
        needs.append(Need(q.value, (times(q.value, number),), q))
        words.append(str(q))
    elif target > number:
        words.append(f"{target}/{number} no")
    if target * number <= limit:
        p = times(target, number)
        needs.append(Need(p.value, (over(p.value, number),), p))
        words.append(long_product(target, number))
    return words, needs


def long_product(a: int, b: int) -> str:
    """A product in words, by tens and units where the second number has both: "25*72=1750+50=1800"."""
    tens, units = b - b % 10, b % 10
    parts = f"{a * tens}+{a * units}=" if tens and units else ""
    return f"{a}*{b}={parts}{a * b}"


def sums(a: int, b: int) -> list[tuple[str, Op | None]]:
    """The sum and the difference of a pair, in words and as operations."""
    return [(str(plus(a, b)), plus(a, b)), (str(minus(a, b)), minus(a, b))]


def products(a: int, b: int, limit: int = LIMIT) -> list[tuple[str, Op | None]]:
    """The product and the quotient; None for one that is too large or not whole."""
    high, low = max(a, b), min(a, b)
    product = (long_product(a, b), times(a, b)) if a * b <= limit else (f"{a}*{b} big", None)
    quotient = (str(over(high, low)), over(high, low)) if high % low == 0 else (f"{high}/{low}", None)
    return [product, quotient]


@dataclass(frozen=True)
class Try:
    """One attempt: its prompt, what it wrote, and the chain of operations to the target if it met one."""

    prompt: str
    text: str
    chain: tuple[Op, ...] | None


def attempt(prompt: str, lines: list[str], needs: list[Need], made: list[tuple[str, Op | None]]) -> Try:
    """Measures what a pair makes against what is needed: how far is the nearest value that would do."""
    wanted = {need.value: need for need in reversed(needs)}
    words, chain, verdict = [], None, "No way."
    for text, op in made:
        if op is None:
            words.append(text if text.endswith("big") else f"{text} no")
            continue
        nearest = min(wanted, key=lambda value: (abs(value - op.value), value))
        words.append(f"{text} to {nearest}={abs(nearest - op.value)}")
        if op.value == nearest:
            chain = (op, *wanted[nearest].rest)
            verdict = f"So {', '.join(written(chain))}."
            break
    return Try(prompt, "\n".join([*lines, ", ".join(words) + ".", verdict]), chain)


def try_three(problem: Problem, verb: str, pair: Pair, last: int) -> Try:
    """Three numbers: the pair is added or multiplied first, and any operation with the last one follows."""
    limit = max(NUMBERS) ** 2
    undone = undo_sum(problem.target, last)
    words, needs = undo_quotient(problem.target, last, limit)
    lines = [f"{last} left.", f"{', '.join([*_found(undone), *words])}."]
    needs = undone + needs
    lines.append(_usable(needs))
    made = sums(*pair) if verb == "Add" else products(*pair, limit)
    return attempt(f"{verb} {pair[0]} and {pair[1]} with {last} left", lines, needs, made)


def try_sums(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Try:
    """Four numbers: the other two are added or subtracted."""
    c, d = rest
    first = undo_sum(problem.target, c)
    second = [found for need in first for found in need.then(undo_sum(need.value, d))]
    lines = [f"{c} and {d} left.", f"{', '.join(_found(first))}.", f"{', '.join(_found(second))}."]
    lines.append(_usable(second))
    return attempt(_try(pair, rest), lines, second, sums(*pair) + products(*pair))


def try_products(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Try:
    """Four numbers: at least one of the other two multiplies or divides."""
    lines = [f"{rest[0]} and {rest[1]} left."]
    needs: list[Need] = []
    for c, d in (rest, rest[::-1]):
        undone = undo_sum(problem.target, c)
        words = _found(undone)
        for need in undone:
            if need.value:
                more, found = undo_quotient(need.value, d)
                words += more
                needs += need.then(found)
        more, found = _inner_quotient(problem.target, c, d)
        needs += found
        lines.append(f"{', '.join(words + more)}.")
    if not needs:
        return Try(_try(pair, rest), "\n".join([*lines, "No way."]), None)
    lines.append(_usable(needs))
    return attempt(_try(pair, rest), lines, needs, sums(*pair) + products(*pair))


def _usable(needs: list[Need]) -> str:
    return f"I can use {', '.join(map(str, needs))}."


def _try(pair: Pair, rest: tuple[int, ...]) -> str:
    """The prompt says what is left too: the planner, who takes the pairs by their place, knows it best."""
    return f"Try {pair[0]} and {pair[1]} with {rest[0]} and {rest[1]} left"


def _inner_quotient(target: int, c: int, d: int) -> tuple[list[str], list[Need]]:
    """(x + d) * c = target and its kin, in words and as needs."""
    if target % c:
        return ([f"{target}/{c} no"] if target > c else []), []
    q = over(target, c)
    second = Need(q.value, (times(q.value, c),), q).then(undo_sum(q.value, d))
    return [str(q), *_found(second)], second


def expressions(chain: tuple[Op, ...]) -> list[str]:
    """The chain up to each of its operations as one expression over the given numbers: "3+7", "(3+7)+25", ..."""
    first, *others = chain
    texts, value = [f"{first.left}{first.sign}{first.right}"], first.value
    for op in others:
        inner = f"({texts[-1]})"
        texts.append(f"{inner}{op.sign}{op.right}" if op.left == value else f"{op.left}{op.sign}{inner}")
        value = op.value
    return texts


def _check(chain: tuple[Op, ...], parent: int) -> Step:
    """The chain again, step by step, each with the whole expression so far."""
    words = written(chain)
    lines = [words[0], *(f"{said}, {text}" for said, text in zip(words[1:], expressions(chain)[1:], strict=True))]
    lines.append(f"That makes {chain[-1].value}.")
    return Step("That fits, check it.", f"Work out {', '.join(words)}", "\n".join(lines), parents=(parent,))


def _splits(numbers: tuple[int, ...]) -> list[tuple[Pair, tuple[int, ...]]]:
    """Each different pair with the numbers that it leaves."""
    seen: dict[Pair, tuple[int, ...]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        seen.setdefault((numbers[i], numbers[j]), tuple(n for k, n in enumerate(numbers) if k not in (i, j)))
    return list(seen.items())


def write(problem: Problem) -> Trace | None:
    """A trace that solves a problem of three or four numbers, or None where this search does not.

    Raises ValueError for another count of numbers.
    """
    if len(problem.numbers) not in (3, 4):
        raise ValueError(f"traces are written for 3 or 4 numbers, got {problem.numbers}")
    rounds = _three if len(problem.numbers) == 3 else _four
    tried = rounds(problem)
    hits = [(number, chain) for number, (_, chain) in enumerate(tried, 1) if chain]
    if not hits:
        return None
    number, chain = hits[-1]  # sums come after products, and a small model is surer of their figures
    steps = (*(step for step, _ in tried), _check(chain, number))
    name = "-".join(map(str, (*problem.numbers, problem.target)))
    return Trace(f"countdown-{name}", problem.question, steps, f"\\boxed{{{expressions(chain)[-1]}}}")


Tried = list[tuple[Step, tuple[Op, ...] | None]]


def _three(problem: Problem) -> Tried:
    splits = _splits(problem.numbers)
    tries = [try_three(problem, verb, pair, rest[0]) for verb in ("Multiply", "Add") for pair, rest in splits]
    return _side_by_side(tries, "Pick two numbers first.")


def _four(problem: Problem) -> Tried:
    splits = _splits(problem.numbers)
    plan = "Pick two numbers first, add or subtract the others."
    tried = _side_by_side([try_sums(problem, pair, rest) for pair, rest in splits], plan)
    if any(chain for _, chain in tried):
        return tried
    everything = tuple(range(1, len(tried) + 1))
    wider = Step("No pair fits, so multiply and divide by the others too.", parents=everything)
    more = [try_products(problem, pair, rest) for pair, rest in splits]
    return [*tried, (wider, None), *_side_by_side(more, "", parents=(len(tried) + 1,))]


def _side_by_side(tries: list[Try], plan: str, parents: tuple[int, ...] = ()) -> Tried:
    """Steps that need nothing of one another; the plan's sentence opens the first."""
    plans = [plan, *[""] * (len(tries) - 1)]
    return [(Step(p, t.prompt, t.text, parents=parents), t.chain) for p, t in zip(plans, tries, strict=True)]
