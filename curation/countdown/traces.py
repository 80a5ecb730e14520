"""Writes Countdown traces the way a careful solver thinks aloud: tries, dead ends, a second round, a check.

The search works backwards from the target. With two numbers put together first, the others are undone
from the target by sums and differences; if no pair meets what is needed, a second round undoes products
and quotients too, and takes the other two together. So what the second stage tries depends on what the first one
found: a check of the pair that fits, or the wider search. Products above LIMIT are left out, and so is a part of the
tree that would need them; `write` returns None for a problem that this search does not solve.

Whether a result is among the values that would do is not judged but measured, "27+8=35 to 20=15": the nearest of
them, then the distance, which is 0 for a hit. A model of a few million parameters learns to look up and to subtract,
and did not learn to say yes or no at once; nor, given a value, to find the operation before it, so that the way back to
the target is written after each value and read from left to right, "35<79+24" (LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

from curation.trace import Step, Trace
from sprint_sgl.tasks.countdown.problem import NUMBERS, Problem

LIMIT = 300
Pair = tuple[int, int]


@dataclass(frozen=True)
class Op:
    """One written operation; `str` gives "3+7=10".

    apart   what made the number that is put to the value before, where it is not a given one
    """

    left: int
    sign: str
    right: int
    value: int
    apart: Op | None = None

    def __str__(self) -> str:
        return f"{self.left}{self.sign}{self.right}={self.value}"


TURNED = {"-": "<", "/": ">"}  # the value is the right side: "<79" is 79 minus it, ">48" is 48 over it


def after(value: int, op: Op) -> str:
    """What is done to that value, which is one side of the operation: "+24", or "<79" for 79 minus it."""
    return f"{op.sign}{op.right}" if op.left == value else f"{TURNED[op.sign]}{op.left}"


def written(chain: tuple[Op, ...]) -> list[str]:
    """The chain in words, each operation on the value before it: "76-41=35", "35<79=44", "44+24=68"."""
    return [words for words, _ in steps_of(chain)]


def steps_of(chain: tuple[Op, ...]) -> list[tuple[str, str]]:
    """Each operation in words, with the expression over the given numbers that it makes: "44+24=68", "(79-35)+24"."""
    first, *others = chain
    text, value = f"{first.left}{first.sign}{first.right}", first.value
    found = [(str(first), text)]
    for op in others:
        turned = op.left != value
        other = str(op.left if turned else op.right)
        if op.apart:
            made = f"{op.apart.left}{op.apart.sign}{op.apart.right}"
            found.append((str(op.apart), made))
            other = f"({made})"
        text = f"{other}{op.sign}({text})" if turned else f"({text}){op.sign}{other}"
        found.append((f"{value}{after(value, op)}={op.value}", text))
        value = op.value
    return found


def plus(a: int, b: int) -> Op:
    return Op(a, "+", b, a + b)


def minus(a: int, b: int) -> Op:
    """The larger less the smaller."""
    return Op(max(a, b), "-", min(a, b), abs(a - b))


def times(a: int, b: int) -> Op:
    return Op(a, "*", b, a * b)


def over(a: int, b: int) -> Op:
    return Op(a, "/", b, a // b)


def quotient_words(a: int, b: int) -> str:
    """The quotient of a number and a smaller one: "48/6=8", or "48/7 no"."""
    return f"{a}/{b} no" if a % b else str(over(a, b))


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
    if target >= number:
        words.append(quotient_words(target, number))
    if target % number == 0:
        q = over(target, number)
        needs.append(Need(q.value, (times(q.value, number),), q))
    if target * number <= limit:
        p = times(target, number)
        needs.append(Need(p.value, (over(p.value, number),), p))
        words.append(long_product(target, number))
    return words, needs


def undo_divisor(target: int, number: int) -> tuple[list[str], list[Need]]:
    """What `number` divided by a value would need to be, and the words for it; nothing where it is too small."""
    if not 0 < target < number:
        return [], []
    q, words = over(number, target), [quotient_words(number, target)]
    return words, [] if number % target else [Need(q.value, (Op(number, "/", q.value, target),), q)]


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
    quotient = (f"{high}/{low}", None) if high % low else (str(over(high, low)), over(high, low))
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
    divided, divisors = undo_divisor(problem.target, last)
    lines = [f"{last} left.", f"{', '.join([*_found(undone), *words, *divided])}."]
    needs = undone + needs + divisors
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
    return attempt(_try(pair, rest, "left"), lines, second, sums(*pair) + products(*pair))


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
    return _measured(_try(pair, rest, "multiplied"), lines, needs, pair)


def try_together(problem: Problem, pair: Pair, rest: tuple[int, ...]) -> Try:
    """Four numbers: the other two together multiply or divide, or one of them is divided."""
    target, prompt = problem.target, _try(pair, rest, "together")
    joined = [op for op in (plus(*rest), minus(*rest)) if op.value]
    words, needs = [], []
    for op in joined:
        for more, found in (undo_quotient(target, op.value), undo_divisor(target, op.value)):
            words += more
            needs += [_apart(need, op) for need in found]
    lines = [f"{rest[0]} and {rest[1]} together.", f"{', '.join(map(str, joined))}.", f"{', '.join(words)}."]
    for c, d in (rest, rest[::-1]):
        undone = undo_sum(target, d)
        words = _found(undone)
        for need in undone:
            more, found = undo_divisor(need.value, c)
            words += more
            needs += need.then(found)
        more, found = undo_divisor(target, c)
        words += more
        needs += [need for quotient in found for need in quotient.then(undo_sum(quotient.value, d))]
        lines.append(f"{', '.join(words)}.")
    return _measured(prompt, lines, needs, pair)


def _measured(prompt: str, lines: list[str], needs: list[Need], pair: Pair) -> Try:
    if not needs:
        return Try(prompt, "\n".join([*lines, "No way."]), None)
    return attempt(prompt, [*lines, _usable(needs)], needs, sums(*pair) + products(*pair))


def _apart(need: Need, op: Op) -> Need:
    """The same need, whose one operation takes what `op` makes in the place of a given number."""
    (last,) = need.rest
    return replace(need, rest=(replace(last, apart=op),))


def _usable(needs: list[Need]) -> str:
    return f"I can use {', '.join(map(str, needs))}."


def _try(pair: Pair, rest: tuple[int, ...], how: str) -> str:
    """The prompt says what is left too: the planner, who takes the pairs by their place, knows it best."""
    return f"Try {pair[0]} and {pair[1]} with {rest[0]} and {rest[1]} {how}"


def _inner_quotient(target: int, c: int, d: int) -> tuple[list[str], list[Need]]:
    """(x + d) * c = target and its kin, in words and as needs."""
    if target % c:
        return ([f"{target}/{c} no"] if target > c else []), []
    q = over(target, c)
    second = Need(q.value, (times(q.value, c),), q).then(undo_sum(q.value, d))
    return [str(q), *_found(second)], second


def _check(chain: tuple[Op, ...], parent: int) -> Step:
    """The chain again, step by step, each with the whole expression so far."""
    (first, _), *others = steps_of(chain)
    lines = [first, *(f"{words}, {expression}" for words, expression in others), f"That makes {chain[-1].value}."]
    return Step("That fits, check it.", f"Work out {', '.join(written(chain))}", "\n".join(lines), parents=(parent,))


def _splits(numbers: tuple[int, ...]) -> list[tuple[Pair, tuple[int, ...]]]:
    """Each different pair with the numbers that it leaves."""
    seen: dict[tuple[int, ...], tuple[Pair, tuple[int, ...]]] = {}
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        seen.setdefault(tuple(sorted((numbers[i], numbers[j]))), ((numbers[i], numbers[j]), rest))
    return list(seen.values())


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
    return Trace(f"countdown-{name}", problem.question, steps, f"\\boxed{{{steps_of(chain)[-1][1]}}}")


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
    wider = Step("No pair fits, so multiply and divide by the others too, and take them together.", parents=everything)
    more = [kind(problem, pair, rest) for kind in (try_products, try_together) for pair, rest in splits]
    return [*tried, (wider, None), *_side_by_side(more, "", parents=(len(tried) + 1,))]


def _side_by_side(tries: list[Try], plan: str, parents: tuple[int, ...] = ()) -> Tried:
    """Steps that need nothing of one another; the plan's sentence opens the first."""
    plans = [plan, *[""] * (len(tries) - 1)]
    return [(Step(p, t.prompt, t.text, parents=parents), t.chain) for p, t in zip(plans, tries, strict=True)]
