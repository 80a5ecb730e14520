"""The sequential baseline: one long thought, then the answer (paper, appendix A.1; RFT and the base model).

Limits, accounting and answer extraction are those of SPRINT; every token is on the critical path.
"""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Clock, Watch, style_for
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import answer_in_one_thought
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
    question, clock = checked_question(question), Clock()
    s += protocol.sequential_opening(question, style_for(s, prompt_style))
    return answer_in_one_thought(s, question, clock, watch, max_tokens=max_tokens, seed=seed)
