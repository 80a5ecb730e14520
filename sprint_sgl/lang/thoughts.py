"""Whole thoughts: their token limit, and which part of a response is thought, which is answer (paper, appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass

from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import model_note
from sprint_sgl.lang.defaults import MAX_SEQUENTIAL_TOKENS
from sprint_sgl.runtime.executor import backend_of
from sprint_sgl.runtime.frontend import ProgramState


@dataclass(frozen=True)
class Thought:
    """A whole response: its thought, the text behind the thought, and the answer, empty if there is none."""

    thought: str
    final: str
    answer: str


def read_thought(text: str) -> Thought:
    thought, _, final = text.partition(protocol.THOUGHT_CLOSE)
    return Thought(thought, final, read_answer(final, thought))


def text_after_thought(text: str) -> str:
    """Return what a model writes for others: the text behind its thought, or all of it if it has no thought."""
    return text.rpartition(protocol.THOUGHT_CLOSE)[2].strip()


def thought_limit(s: ProgramState, max_tokens: int | None) -> int:
    """Return the tokens of a whole thought: as given, the model's own limit, or the paper's."""
    return max_tokens or model_note(backend_of(s), "max_sequential_tokens") or MAX_SEQUENTIAL_TOKENS
