"""A model's own scores for attempts, by which searches over thoughts choose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_sgl.lang.calls import Clock, Watch, chat_turn, load_prompt
from sprint_sgl.lang.forks import barrier_stage, fan_out, truncation_repairs
from sprint_sgl.lang.thoughts import text_after_thought
from sprint_sgl.protocol import Repairs
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Stage

SCORE = load_prompt("score")
LOWEST, HIGHEST = 1, 10
_NUMBER = re.compile(r"(?<![\d.])\d{1,2}(?![\d.]*\d)")


@dataclass(frozen=True)
class Scores:
    """Scores of attempts, in their order, with the calls that gave them."""

    values: tuple[int, ...]
    stage: Stage
    repairs: Repairs

    def best(self, count: int) -> list[int]:
        """Return the indices of the attempts with the highest scores; of equal ones the first."""
        return sorted(range(len(self.values)), key=lambda k: -self.values[k])[:count]


def score(
    s: ProgramState,
    stage: int,
    question: str,
    attempts: Sequence[str],
    clock: Clock,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Scores:
    """Score all attempts side by side. A reply without a number counts as the lowest score and as a repair."""
    contexts = [chat_turn(s, SCORE.substitute(question=question, attempt=attempt)) for attempt in attempts]
    written = fan_out(s, stage, contexts, clock, seed=seed, watch=watch)
    found = [find_score(text_after_thought(each.text)) for each in written]
    unread = found.count(None)
    return Scores(
        tuple(value or LOWEST for value in found),
        barrier_stage([f"Score attempt {k}" for k in range(1, len(attempts) + 1)], written),
        (*truncation_repairs(written), *((("unread_score", unread),) if unread else ())),
    )


def find_score(text: str) -> int | None:
    """Return the last whole number from 1 to 10 in the text; of "7/10" the 7. None if there is none."""
    found = [int(number) for number in _NUMBER.findall(re.sub(r"(?:/|\b(?:out )?of)\s*10\b", "", text))]
    return next((value for value in reversed(found) if LOWEST <= value <= HIGHEST), None)
