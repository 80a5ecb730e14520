"""The Countdown task: problems by seed (paper, section 4.1: 1,000 with four numbers) or from a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem, read_numbers
from sprint_sgl.tasks.countdown.problem import Problem, draw_problems
from sprint_sgl.tasks.datasets import DataSource, select_rows

LARGEST = 5  # numbers; with more, the search for a solution takes minutes
SPLITS = ("held_out", "train")
NUMBER_COLUMNS = ("nums", "numbers", "input", "inputs")
WITH_TARGET = ("input", "inputs")  # the last number is the target if no column holds it
TARGET_COLUMNS = ("target", "goal", "answer", "result")
QUESTION_COLUMNS = ("question", "problem", "prompt", "input", "instruction")


@dataclass(frozen=True)
class CountdownQuestion(Question):
    numbers: tuple[int, ...] = ()


@dataclass
class Countdown:
    """Countdown problems, drawn by seed or read from `source`.

    problems  how many of each size in `numbers`
    split     held_out, or train for problems that training rows may use
    wording   the question's text, with {numbers} and {target}
    source    read problems from here instead, if it has a path
    """

    problems: int
    numbers: list[int]
    seed: int
    split: str
    wording: str
    source: DataSource | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.problems, int) and self.problems > 0):
            raise BadInput(f"task.problems must be at least 1, got {self.problems!r}")
        sizes = self.numbers if isinstance(self.numbers, list) else [self.numbers]
        if odd := [size for size in sizes if not (isinstance(size, int) and 2 <= size <= LARGEST)]:
            raise BadInput(f"task.numbers must be whole numbers from 2 to {LARGEST}, such as [3,4], got {odd[0]!r}")
        if not sizes:
            raise BadInput("task.numbers is empty: give sizes such as [3,4]")
        self.numbers = sizes
        if self.split not in SPLITS:
            raise BadInput(f"task.split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if missing := [name for name in ("{numbers}", "{target}") if name not in self.wording]:
            raise BadInput(f"task.wording has no {missing[0]}: {self.wording!r}")

    def questions(self) -> Iterator[Question]:
        return self._questions_of_file(self.source) if self.source and self.source.path else self._questions_by_seed()

    def _questions_of_file(self, source: DataSource) -> Iterator[Question]:
        times: Counter[str] = Counter()
        for number, row in enumerate(select_rows(source), 1):
            problem = read_problem(row)
            if problem is None:
                raise BadInput(f"{source.path}, row {number}: no Countdown problem in {str(row)[:200]}; {FORMS}")
            question = self._question(problem)
            times[question.id] += 1
            repeated = f"#{times[question.id]}" if times[question.id] > 1 else ""
            yield replace(question, id=question.id + repeated)

    def _questions_by_seed(self) -> Iterator[Question]:
        for size in self.numbers:
            found = 0
            for problem in draw_problems(size, self.seed, self.problems, held_out=self.split == "held_out"):
                yield self._question(problem)
                found += 1
            if found < self.problems:
                raise BadInput(f"task.problems={self.problems}: only {found} problems of {size} numbers were found")

    def _question(self, problem: Problem) -> CountdownQuestion:
        id = f"{'-'.join(map(str, problem.numbers))}={problem.target}"
        group = f"{len(problem.numbers)} numbers"
        return CountdownQuestion(id, self.text(problem), str(problem.target), group, problem.numbers)

    def text(self, problem: Problem) -> str:
        return self.wording.replace("{numbers}", problem.numbers_text).replace("{target}", str(problem.target))

    def grade(self, question: Question, answer: str) -> Grade:
        assert isinstance(question, CountdownQuestion)
        verdict = check_countdown(answer, question.numbers, int(question.gold))
        return Grade(verdict.correct, verdict.reason, read=verdict.value is not None)


FORMS = (
    'a row has "nums" and "target", or "input" as "a,b,c,d,target", or a "question" as "Use 15, 3 and 62 to make 80"'
)


def read_problem(row: Mapping[str, Any]) -> Problem | None:
    """Return the problem in a row of a file, in one of the usual forms, or None."""
    named = {name: value for name, value in row.items() if value is not None}
    column = next((name for name in NUMBER_COLUMNS if name in named), "")
    numbers = _whole_numbers(named.get(column, ""))
    target = next((_whole_numbers(named[name]) for name in TARGET_COLUMNS if name in named), None)
    if target is None and column in WITH_TARGET and len(numbers) > 2:
        *numbers, last = numbers
        target = [last]
    target = target or []
    if len(numbers) > 1 and len(target) == 1:
        return Problem(tuple(numbers), target[0])
    questions = (countdown_problem(str(named[name])) for name in QUESTION_COLUMNS if name in named)
    return next((problem for problem in questions if problem), None)


def _whole_numbers(value: object) -> list[int]:
    """Return the numbers in a list, or in a text of numbers only; [] if there is anything else."""
    if isinstance(value, list | tuple):
        parts = [_whole_numbers(item) for item in value]
        return [part[0] for part in parts] if all(len(part) == 1 for part in parts) else []
    if isinstance(value, float) and value.is_integer():
        return [int(value)]
    text = str(value).strip()
    if re.search(r"\d,\d{3}\b", text) and re.search(r",\s", text):
        text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)  # 1,000, 7
    return read_numbers(text) if re.fullmatch(r"[-\u2212\d\s,;\[\]()]+", text) and not isinstance(value, bool) else []
