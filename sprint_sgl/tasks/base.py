"""The interface of a task: questions, and grades for answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """A question. `id` is the same in every run; results are broken down by `group`, such as a level or a size."""

    id: str
    text: str
    gold: str
    group: str = ""


@dataclass(frozen=True)
class Grade:
    """A grade. `read`: the rules could read the answer; otherwise it is wrong, unless a judge decides."""

    correct: bool
    reason: str = ""
    read: bool = True


class Task(Protocol):
    def questions(self) -> Iterator[Question]:
        """Yield all questions, always in the same order. Raises BadInput if their source is unusable."""

    def grade(self, question: Question, answer: str) -> Grade:
        """Grade the answer that a program extracted, "" if it found none. Never raises on a text."""
