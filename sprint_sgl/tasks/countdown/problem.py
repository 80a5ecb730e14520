"""Countdown problems: combine all given numbers, each once, with + - * / to reach a target.

As in stream-of-search: numbers from 1 to 99, a target from 10 to 100, and some sequence of operations on whole numbers
reaches the target.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice

NUMBERS = range(1, 100)
TARGETS = range(10, 101)
FRUITLESS_DRAWS = 50_000  # draws without a new problem after which the stream ends


@dataclass(frozen=True)
class Problem:
    numbers: tuple[int, ...]
    target: int

    @property
    def numbers_text(self) -> str:
        """The numbers in words: "3, 7, 12 and 25"."""
        *head, last = map(str, self.numbers)
        return f"{', '.join(head)} and {last}"

    @property
    def question(self) -> str:
        return f"Use {self.numbers_text} to make {self.target}"

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """A key that ignores the order of the numbers."""
        return tuple(sorted(self.numbers)), self.target

    @property
    def held_out(self) -> bool:
        """Whether the problem is reserved for evaluation: one in ten, by a hash of `key`."""
        digest = hashlib.sha256(repr(self.key).encode()).digest()
        return digest[0] % 10 == 0


def combine_pair(a: int, b: int) -> list[int]:
    """Return the positive whole numbers that one operation makes from a and b."""
    high, low = max(a, b), min(a, b)
    made = [high + low, high * low]
    if high > low:
        made.append(high - low)
    if high % low == 0:
        made.append(high // low)
    return made


@lru_cache(maxsize=200_000)
def reachable_values(numbers: tuple[int, ...]) -> frozenset[int]:
    """Return all values that use every number once, with positive whole intermediate results."""
    if len(numbers) == 1:
        return frozenset(numbers)
    values: set[int] = set()
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        for made in combine_pair(numbers[i], numbers[j]):
            values |= reachable_values(tuple(sorted((*rest, made))))
    return frozenset(values)


def generate_problems(count_numbers: int, seed: int, *, held_out: bool | None = None) -> Iterator[Problem]:
    """Yield distinct solvable problems by seed, until new ones are hard to find.

    held_out   True for evaluation problems only, False for training problems only, None for all
    """
    if count_numbers < 2:
        raise ValueError(f"a Countdown problem needs at least 2 numbers, got {count_numbers}")
    rng = random.Random(f"countdown-{count_numbers}-{seed}")
    seen, barren = set(), 0
    while barren < FRUITLESS_DRAWS:
        barren += 1
        numbers = tuple(rng.choice(NUMBERS) for _ in range(count_numbers))
        problem = Problem(numbers, rng.choice(TARGETS))
        if held_out not in (None, problem.held_out) or problem.key in seen:
            continue  # before the search for a solution, the slowest part
        if problem.target in reachable_values(tuple(sorted(numbers))):
            seen.add(problem.key)
            barren = 0
            yield problem


def draw_problems(count_numbers: int, seed: int, count: int, *, held_out: bool) -> Iterator[Problem]:
    """Yield the first `count` evaluation or training problems of the stream."""
    return islice(generate_problems(count_numbers, seed, held_out=held_out), count)
