"""A model's own marks for attempts, which searches over thoughts go by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_sgl.lang.calls import Clock, Watch, chat, prompt
from sprint_sgl.lang.forks import barrier_stage, cut_off, fan_out
from sprint_sgl.lang.thoughts import after_thought
from sprint_sgl.protocol import Repairs
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Stage

SCORE = prompt("score")
LOWEST, HIGHEST = 1, 10
_NUMBER = re.compile(r"(?<![\d.])\d{1,2}(?![\d.]*\d)")


@dataclass(frozen=True)
class Scored:
    """Marks of attempts, in their order, with the calls that gave them."""

    marks: tuple[int, ...]
    stage: Stage
    repairs: Repairs

    def best(self, count: int) -> list[int]:
        """The attempts with the highest marks, from 0; of equal ones the first."""
        return sorted(range(len(self.marks)), key=lambda k: -self.marks[k])[:count]


def score(
    s: ProgramState,
    stage: int,
    question: str,
    attempts: Sequence[str],
    clock: Clock,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Scored:
    """Asks for a mark of every attempt, side by side; one that cannot be read is the lowest, and a repair."""
    contexts = [chat(s, SCORE.substitute(question=question, attempt=attempt)) for attempt in attempts]
    written = fan_out(s, stage, contexts, clock, seed=seed, watch=watch)
    found = [mark_in(after_thought(each.text)) for each in written]
    unread = found.count(None)
    return Scored(
        tuple(mark or LOWEST for mark in found),
        barrier_stage([f"Score attempt {k}" for k in range(1, len(attempts) + 1)], written),
        (*cut_off(written), *((("unread_score", unread),) if unread else ())),
    )


def mark_in(text: str) -> int | None:
    """The last whole number from 1 to 10 in the text; of "7/10" the 7."""
    found = [int(number) for number in _NUMBER.findall(re.sub(r"(?:/|\b(?:out )?of)\s*10\b", "", text))]
    return next((mark for mark in reversed(found) if LOWEST <= mark <= HIGHEST), None)
