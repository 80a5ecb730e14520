"""GPQA-diamond: four options a question, graded by letter (paper, section 4.1 and appendix A.4).

The data set is gated on the hub (Idavidrein/gpqa, gpqa_diamond); its original CSV reads as well.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sprint_sgl.source import DataSource, chosen_rows, values
from sprint_sgl.tasks.task import Grade, Question

LETTERS = "ABCD"
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_ALONE = re.compile(r"[(\[]?([A-D])(?:[)\]]?[.:]?|[)\].:]\s.*)", re.IGNORECASE | re.DOTALL)
_SAID = re.compile(r"\b(?:answer|option|choice)(?:\s+is)?\s*:?\s*[(\[]?([A-D])\b(?!')", re.IGNORECASE)


@dataclass
class Columns:
    question: str
    correct: str
    incorrect1: str
    incorrect2: str
    incorrect3: str
    group: str | None


@dataclass
class Gpqa:
    """`seed` shuffles the options, those of each question apart, so that a subset keeps its letters."""

    source: DataSource
    seed: int
    columns: Columns

    def questions(self) -> Iterator[Question]:
        columns = self.columns
        for row in chosen_rows(self.source, asdict(columns), "task.columns"):
            text = _text(row, columns.question)
            id = hashlib.sha256(text.encode()).hexdigest()[:16]
            names = (columns.correct, columns.incorrect1, columns.incorrect2, columns.incorrect3)
            options = [_text(row, name) for name in names]
            order = random.Random(f"{self.seed}-{id}").sample(range(len(options)), len(options))
            listed = "\n".join(f"{letter}) {options[k]}" for letter, k in zip(LETTERS, order, strict=True))
            group = _text(row, columns.group) if columns.group else ""
            asked = f"{text}\n\n{listed}\n\nAnswer with the letter of the right option."
            yield Question(id, asked, LETTERS[order.index(0)], group)

    def grade(self, question: Question, answer: str) -> Grade:
        letter = letter_of(answer)
        if letter is None:
            return Grade(False, f"no letter in {answer!r}" if answer else "no answer", read=False)
        return Grade(
            letter == question.gold,
            "" if letter == question.gold else f"another letter: {letter} instead of {question.gold}",
        )


def _text(row: Mapping[str, Any], column: str) -> str:
    return str(next(values(row, column), "")).strip()


def letter_of(answer: str) -> str | None:
    """The option that an answer is ("B", "(b)", "B) 3 eV") or last calls its answer; None for any other text."""
    plain = _WRAPPED.sub(r"\1", answer).replace("*", "").replace("$", "").strip()
    alone, said = _ALONE.fullmatch(plain), _SAID.findall(plain)
    return alone[1].upper() if alone else said[-1].upper() if said else None
