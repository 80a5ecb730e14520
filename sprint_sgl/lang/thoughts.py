"""Whole thoughts: their token limit, and which part of a response is thought, which is answer (paper, appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass

from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, model_note
from sprint_sgl.lang.defaults import MAX_SEQUENTIAL_TOKENS
from sprint_sgl.runtime.executor import backend_of
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Call, Trajectory


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


def answer_in_one_thought(
    s: ProgramState,
    question: str,
    clock: Clock,
    watch: Watch | None,
    *,
    max_tokens: int | None = None,
    seed: int | None = None,
    before: tuple[Call, ...] = (),
) -> Trajectory:
    """Return the run whose thought and answer one call writes at the end of the state's text; set `s["answer"]`.

    before   calls that the answer has waited for already
    """
    written = call(s, "thought", Branch(1), clock, watch, max_tokens=thought_limit(s, max_tokens), seed=seed)
    read = read_thought(written.text)
    s["answer"] = read.answer
    return Trajectory(
        question,
        thought=read.thought,
        final_answer=read.final,
        answer_calls=(*before, written.call),
        repairs=(("truncated", 1),) if written.call.finish == "length" else (),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )
