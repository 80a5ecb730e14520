"""GPQA-diamond: four options for each question, graded by letter (paper, section 4.1 and appendix A.4).

The data set is gated on the hub (Idavidrein/gpqa, gpqa_diamond); its original CSV can be read too.
"""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.datasets import DataSource, select_rows, values_at

LETTERS = "ABCD"
_WRAPPED = re.compile(r"\\(?:text\w*|math\w+|boxed|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:[,;:! ]|q?quad|left|right)|~")
_ALONE = re.compile(
    r"[(\[]?([A-D])(?:[)\]]?[.:]?$|(?!\W*(?:(?:and|or)\b|[A-D]\s*(?:[),.;\]]|$)))(?:[)\],;]|[.:]\s|\s+[-\u2013\u2014]\s|\s*\())",
    re.IGNORECASE,
)
# A lower-case letter counts only in brackets; "A" before most words is an article.
_LETTER = (
    r"(?:[(\[{](?P<bracketed>[A-Da-d])[)\]}]"
    r"|(?P<plain>[B-D]|A(?! (?!because|since|as|which|and|for|is|due)[a-z]))\b(?!'|-\w))"
    r"(?!\s+(?:is|are|was)\s+(?:wrong|incorrect|not|false)|\s*(?:,|and|or)+\s*[(\[]?[A-D]\b)"
)
_IS = r"(?i:\s+(?:is|would be|must be|should be|has to be))?\s*[:\u2013-]?\s*"
_STATED = (
    re.compile(r"(?<!not )\b(?i:answer|ans)" + _IS + _LETTER),
    re.compile(r"(?<!not )\b(?i:option|choice)" + _IS + _LETTER),
    re.compile(r"\b(?i:i (?:choose|pick|select|would go with|go with)|it's|it is)\s+" + _LETTER),
)
_STATED_AFTER = re.compile(r"[(\[]?([A-D])[)\]]? is (?:the )?(?:right|correct|answer)", re.IGNORECASE)
_FIRST_LINE = re.compile(r"[#\s]*[(\[{]?([A-D])[)\]}]?\s*[.:]?\s*\n", re.IGNORECASE)


@dataclass
class GpqaColumns:
    question: str
    correct: str
    incorrect1: str
    incorrect2: str
    incorrect3: str
    group: str | None


@dataclass
class Gpqa:
    """`seed` shuffles the options of each question independently, so that a subset keeps its letters."""

    source: DataSource
    seed: int
    columns: GpqaColumns

    def questions(self) -> Iterator[Question]:
        columns = self.columns
        names = (columns.question, columns.correct, columns.incorrect1, columns.incorrect2, columns.incorrect3)
        for number, row in enumerate(select_rows(self.source, asdict(columns), "task.columns"), 1):
            text, *options = (_text(row, name) for name in names)
            if empty := [name for name in names if not _text(row, name)]:
                raise BadInput(f"{self.source.path}, row {number}: nothing in the column {empty[0]!r}")
            id = hashlib.sha256(text.encode()).hexdigest()[:16]
            order = random.Random(f"{self.seed}-{id}").sample(range(len(options)), len(options))
            listed = "\n".join(f"{letter}) {options[k]}" for letter, k in zip(LETTERS, order, strict=True))
            group = _text(row, columns.group) if columns.group else ""
            wording = f"{text}\n\n{listed}\n\nAnswer with the letter of the right option."
            yield Question(id, wording, LETTERS[order.index(0)], group)

    def grade(self, question: Question, answer: str) -> Grade:
        letter = read_letter(answer)
        if letter is None:
            return Grade(False, f"no letter in {answer!r}" if answer else "no answer", read=False)
        return Grade(
            letter == question.gold,
            "" if letter == question.gold else f"another letter: {letter} instead of {question.gold}",
        )


def _text(row: Mapping[str, Any], column: str) -> str:
    value = next(values_at(row, column), None)
    return "" if value is None else str(value).strip()


def read_letter(answer: str) -> str | None:
    """Return the letter that an answer is ("B", "(b)", "B, 3 eV") or last states; None for any other text."""
    plain = unicodedata.normalize("NFKC", _SPACING.sub(" ", answer))
    plain = re.sub(r"[*$`\"]|\\[()\[\]]", "", plain).strip()
    while (inside := _WRAPPED.sub(r"\1", plain)) != plain:
        plain = inside.strip()
    for pattern in _STATED:
        if stated := [found["bracketed"] or found["plain"] for found in pattern.finditer(plain)]:
            return stated[-1].upper()
    alone = _ALONE.match(plain.removeprefix("# ")) or _FIRST_LINE.match(plain + "\n") or _STATED_AFTER.match(plain)
    return alone[1].upper() if alone else None
