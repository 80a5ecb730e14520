"""Countdown by seed, checked in exact arithmetic (paper, section 4.1: 1,000 problems of four numbers)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sprint_sgl.answers import check_countdown
from sprint_sgl.countdown import Problem, drawn
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.task import Grade, Question

LARGEST = 5  # numbers; with more the search for a solution takes minutes
SPLITS = ("held_out", "train")


@dataclass(frozen=True)
class CountdownQuestion(Question):
    numbers: tuple[int, ...] = ()


@dataclass
class Countdown:
    """`problems` of each size in `numbers`.

    split     held_out, or train: problems that training rows may be made of
    wording   the question, with {numbers} and {target}
    """

    problems: int
    numbers: list[int]
    seed: int
    split: str
    wording: str

    def __post_init__(self) -> None:
        if not (isinstance(self.problems, int) and self.problems > 0):
            raise BadInput(f"task.problems must be at least 1, got {self.problems!r}")
        sizes = self.numbers if isinstance(self.numbers, list) else [self.numbers]
        if odd := [size for size in sizes if not (isinstance(size, int) and 2 <= size <= LARGEST)]:
            raise BadInput(f"task.numbers must be whole numbers from 2 to {LARGEST}, such as [3,4], got {odd[0]!r}")
        self.numbers = sizes
        if self.split not in SPLITS:
            raise BadInput(f"task.split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if missing := [name for name in ("{numbers}", "{target}") if name not in self.wording]:
            raise BadInput(f"task.wording has no {missing[0]}: {self.wording!r}")

    def questions(self) -> Iterator[Question]:
        for size in self.numbers:
            found = 0
            for problem in drawn(size, self.seed, self.problems, held_out=self.split == "held_out"):
                id = f"{'-'.join(map(str, problem.numbers))}={problem.target}"
                yield CountdownQuestion(id, self.text(problem), str(problem.target), f"{size} numbers", problem.numbers)
                found += 1
            if found < self.problems:
                raise BadInput(f"task.problems={self.problems}: only {found} problems of {size} numbers were found")

    def text(self, problem: Problem) -> str:
        return self.wording.replace("{numbers}", problem.listed).replace("{target}", str(problem.target))

    def grade(self, question: Question, answer: str) -> Grade:
        assert isinstance(question, CountdownQuestion)
        verdict = check_countdown(answer, question.numbers, int(question.gold))
        return Grade(verdict.correct, verdict.reason, read=verdict.value is not None)
