"""Questions that share a run of words with a benchmark are not trained on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from curation.stages.load import Source
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import select_rows, values_at

WORDS = 10
_WORD = re.compile(r"\\?[^\W\d_]+|\d+|[-+*/=<>^!]")  # signs too: x-2 is not x+2
_SIZED = re.compile(r"\\[dt](?=frac|binom)")  # \dfrac and \tfrac are \frac


@dataclass(frozen=True)
class Grams:
    """The n-grams of benchmark questions; a question with fewer than n words counts as a whole."""

    known: frozenset[tuple[str, ...]] = frozenset()
    n: int = WORDS

    @property
    def digest(self) -> str:
        """Of all that it knows, in hexadecimal digits."""
        return hashlib.sha256("\n".join(sorted(map(" ".join, self.known))).encode()).hexdigest()

    def found_in(self, question: str) -> str | None:
        """The first run of words that the question shares with a benchmark."""
        return next((" ".join(gram) for gram in grams(question, self.n) if gram in self.known), None)


def grams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(_SIZED.sub(r"\\", text))]
    if words and len(words) < n:
        yield tuple(words)
    for start in range(len(words) - n + 1):
        yield tuple(words[start : start + n])


def grams_of(questions: Iterable[str], n: int = WORDS) -> Grams:
    return Grams(frozenset(gram for question in questions for gram in grams(question, n)), n)


def benchmark_questions(benchmarks: Sequence[Source]) -> Iterator[str]:
    """All questions of the benchmarks. Raises BadInput where one does not open or has none in that column."""
    for source in benchmarks:
        column, found = source.columns.question, 0
        for row in select_rows(source):
            for question in values_at(row, column):
                found += 1
                yield str(question)
        if not found:
            raise BadInput(f"benchmark {source.path} has no questions in {column!r}: name columns.question")
