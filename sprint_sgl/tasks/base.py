"""What every task has: questions, and grades for answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """`id` is the same in every run; `group` is what figures are broken down by, a level or a size."""

    id: str
    text: str
    gold: str
    group: str = ""


@dataclass(frozen=True)
class Grade:
    """`read` is whether the rules found an answer to grade; one that they did not find is wrong, or a judge's."""

    correct: bool
    reason: str = ""
    read: bool = True


class Task(Protocol):
    def questions(self) -> Iterator[Question]:
        """All of them, in an order that does not change. Raises BadInput where their source is unusable."""

    def grade(self, question: Question, answer: str) -> Grade:
        """Of the answer that a program extracted; empty where it found none. Raises on no text."""
