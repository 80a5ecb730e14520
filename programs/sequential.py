"""The sequential baseline: one long thought, then the answer (paper, appendix A.1; RFT and the base model).

Same limits, accounting and answer extraction as SPRINT; every token is on the critical path.
"""

from __future__ import annotations

from typing import Any

from sglang.lang.interpreter import ProgramState

from programs.calls import Branch, Clock, Watch, collect, style_for, submit
from programs.program import program
from sprint_sgl import tags
from sprint_sgl.answers import extract_answer
from sprint_sgl.question import checked_question
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
    backend: Any = s.stream_executor.backend
    s += tags.sequential_opening(question, style_for(s, prompt_style))
    s.stream_executor.sampling_seed = seed
    submit(s, "thought", (), max_tokens or getattr(backend, "max_sequential_tokens", None) or MAX_NEW_TOKENS)
    written = collect(s, "thought", Branch(1), clock, watch)
    thought, _, answer = written.text.partition(tags.THOUGHT_CLOSE)
    trajectory = Trajectory(
        question,
        thought=thought,
        final_answer=answer,
        answer_calls=(written.call,),
        repairs=(("truncated", 1),) if written.call.finish == "length" else (),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )
    s["answer"] = extract_answer(answer or thought) or answer.strip()
    s["trajectory"] = trajectory
    return trajectory
