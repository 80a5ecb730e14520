"""The sequential baseline: one long thought, then the answer (paper, appendix A.1; RFT and the base model).

Limits, accounting and answer extraction are those of SPRINT; every token is on the critical path.
"""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, style_for
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought, thought_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory


@program(answer_after=protocol.THOUGHT_CLOSE, needs="rft")
def sequential_program(
    s: ProgramState,
    question: str,
    prompt_style: StyleName | None = None,
    max_tokens: Count | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question in one call of at most `max_tokens`: by default the model's own limit, or the paper's."""
    question = checked_question(question)
    clock = Clock()
    s += protocol.sequential_opening(question, style_for(s, prompt_style))
    generation = call(s, "thought", Branch(1), clock, watch, max_tokens=thought_limit(s, max_tokens), seed=seed)
    read = read_thought(generation.text)
    s["answer"] = read.answer
    return Trajectory(
        question,
        thought=read.thought,
        final_answer=read.final,
        answer_calls=(generation.call,),
        repairs=(("truncated", 1),) if generation.call.finish == "length" else (),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )
