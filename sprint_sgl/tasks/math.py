"""Mathematics with one gold answer for each question: MATH-500, AIME, or a file (paper, section 4.1).

Graded by rules with SymPy and Math-Verify (appendix A.4; sprint_sgl/grading).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from sprint_sgl.errors import BadInput
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import compare
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.datasets import DataSource, select_rows, values_at

LONGEST_ANSWER = 1000  # characters; without a boxed answer, a program passes on its whole text


@dataclass
class MathColumns:
    """The columns of a row. Without `id`, the row's number is the id; `group` is optional."""

    question: str
    answer: str
    id: str | None
    group: str | None


@dataclass
class Math:
    source: DataSource
    columns: MathColumns

    def questions(self) -> Iterator[Question]:
        columns = asdict(self.columns)
        for number, row in enumerate(select_rows(self.source, columns, "task.columns")):
            found = {role: next(values_at(row, path), None) for role, path in columns.items() if path}
            text, gold = (
                str(found[role] if found[role] is not None else "").strip() for role in ("question", "answer")
            )
            if not (text and gold):
                raise BadInput(f"{self.source.path}, row {number + 1}: no {'answer' if text else 'question'}")
            id, group = found.get("id"), found.get("group")
            yield Question(str(number if id is None else id), text, gold, "" if group is None else str(group))

    def grade(self, question: Question, answer: str) -> Grade:
        if not answer:
            return Grade(False, "no answer", read=False)
        if len(answer) > LONGEST_ANSWER:
            return Grade(False, f"no answer in {len(answer):,} characters", read=False)
        found = compare(answer, question.gold)
        if found.match is Match.SAME:
            return Grade(True)
        if found.match is Match.UNDECIDED:
            return Grade(False, f"undecided: {found.reason}: {answer} with {question.gold}", read=False)
        return Grade(False, f"another answer: {answer} instead of {question.gold}")
