"""Decontamination: questions that share a run of words with a benchmark are not trained on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from curation.stages.load import TraceSource
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import select_rows, values_at

WORDS = 10
_WORD = re.compile(r"\\?[^\W\d_]+|\d+|[-+*/=<>^!]")  # signs too: x-2 is not x+2
_SIZED = re.compile(r"\\[dt](?=frac|binom)")  # \dfrac and \tfrac are \frac


@dataclass(frozen=True)
class NGrams:
    """The n-grams of benchmark questions. A question with fewer than n words is one gram."""

    grams: frozenset[tuple[str, ...]] = frozenset()
    n: int = WORDS

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the grams in hexadecimal digits."""
        return hashlib.sha256("\n".join(sorted(map(" ".join, self.grams))).encode()).hexdigest()

    def find_in(self, question: str) -> str | None:
        """Return the first run of words that the question shares with a benchmark, None without one."""
        return next((" ".join(gram) for gram in split_grams(question, self.n) if gram in self.grams), None)


def split_grams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    """Yield the runs of n words and signs of the text, in lower case."""
    words = [word.lower() for word in _WORD.findall(_SIZED.sub(r"\\", text))]
    if words and len(words) < n:
        yield tuple(words)
    for start in range(len(words) - n + 1):
        yield tuple(words[start : start + n])


def collect_grams(questions: Iterable[str], n: int = WORDS) -> NGrams:
    return NGrams(frozenset(gram for question in questions for gram in split_grams(question, n)), n)


def benchmark_questions(benchmarks: Sequence[TraceSource]) -> Iterator[str]:
    """Yield the questions of the benchmarks. Raises BadInput if one cannot be opened or its column is empty."""
    for source in benchmarks:
        column, found = source.columns.question, 0
        for row in select_rows(source):
            for question in values_at(row, column):
                found += 1
                yield str(question)
        if not found:
            raise BadInput(f"benchmark {source.path} has no questions in {column!r}: name columns.question")
