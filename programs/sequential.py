"""The sequential baseline: one long thought, then the answer (paper, appendix A.1; RFT and the base model).

Same limits, accounting and answer extraction as SPRINT; every token is on the critical path.
"""

from __future__ import annotations

from dataclasses import dataclass

from programs.calls import Branch, Clock, Watch, call, note, style_for
from programs.program import program
from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.limits import checked_count
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory

MAX_NEW_TOKENS = 36_000


@program
def sequential_program(
    s: ProgramState,
    question: str,
    prompt_style: str | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question in one call of at most `max_tokens` (by default the paper's 36,000, or the model's own)."""
    question = checked_question(question)
    clock = Clock()
    s += protocol.sequential_opening(question, style_for(s, prompt_style))
    written = call(s, "thought", Branch(1), clock, watch, max_tokens=thought_limit(s, max_tokens), seed=seed)
    read = read_thought(written.text)
    s["answer"] = read.answer
    return Trajectory(
        question,
        thought=read.thought,
        final_answer=read.final,
        answer_calls=(written.call,),
        repairs=(("truncated", 1),) if written.call.finish == "length" else (),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )


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
    return note(s.stream_executor.backend, "max_sequential_tokens") or MAX_NEW_TOKENS
