"""A task of one's own: what is asked, and when an answer is right.

python examples/own_task.py [URL]     # URL: a running SGLang server; without one, a runtime is started here
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from programs import sprint_program
from sprint_sgl import connect, launch
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.countdown.checker import check_countdown


@dataclass
class Sums:
    """Countdown problems that a plain sum solves: a, a + 1 and a + 2, for a from `first` on."""

    problems: int
    first: int = 10

    def questions(self) -> Iterator[Question]:
        for a in range(self.first, self.first + self.problems):
            yield Question(str(a), f"Use {a}, {a + 1} and {a + 2} to make {3 * a + 3}", gold=f"{a}+{a + 1}+{a + 2}")

    def grade(self, question: Question, answer: str) -> Grade:
        a = int(question.id)
        verdict = check_countdown(answer, (a, a + 1, a + 2), 3 * a + 3)
        return Grade(verdict.correct, verdict.reason, read=bool(answer))


if __name__ == "__main__":
    task = Sums(problems=3)
    with connect(sys.argv[1]) if sys.argv[1:] else launch():
        for question in task.questions():
            answer = sprint_program.run(question.text, temperature=0)["answer"]
            print(f"{question.text}: {answer}, {'right' if task.grade(question, answer).correct else 'wrong'}")
