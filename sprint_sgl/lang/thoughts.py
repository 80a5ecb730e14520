"""Whole thoughts: their limit, and what of a response is thought, what answer (paper, appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass

from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import note
from sprint_sgl.limits import checked_count
from sprint_sgl.runtime.frontend import ProgramState

MAX_TOKENS = 36_000


@dataclass(frozen=True)
class Thought:
    """A whole response: its thought, what follows it, and the answer, empty where there is none."""

    thought: str
    final: str
    answer: str


def read_thought(text: str) -> Thought:
    thought, _, final = text.partition(protocol.THOUGHT_CLOSE)
    return Thought(thought, final, read_answer(final, thought))


def after_thought(text: str) -> str:
    """What a model writes for others: all of it, or what follows its thought."""
    return text.rpartition(protocol.THOUGHT_CLOSE)[2].strip()


def thought_limit(s: ProgramState, max_tokens: int | None) -> int:
    """Tokens of a whole thought: as given, the model's own limit, or the paper's 36,000. Raises BadInput."""
    if max_tokens is not None:
        return checked_count("max_tokens", max_tokens)
    return note(s.stream_executor.backend, "max_sequential_tokens") or MAX_TOKENS
