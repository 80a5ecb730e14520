"""Tree-of-Thoughts: a breadth-first search over single steps that the model proposes and scores (Yao et al.; Table 1).

A level proposes `branches` next steps for each path, scores all of them, and keeps the best `keep`. The shape of the
search is fixed in advance, which is what the paper's Table 1 calls not adaptive.
"""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.arguments import Count
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, chat_turn, load_prompt
from sprint_sgl.lang.forks import barrier_stage, fan_out, truncation_repairs
from sprint_sgl.lang.program import program
from sprint_sgl.lang.scoring import score
from sprint_sgl.lang.thoughts import text_after_thought
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Stage, Trajectory

PROPOSE = load_prompt("tree_of_thoughts/propose", __file__)
ANSWER = load_prompt("tree_of_thoughts/answer", __file__)
NO_STEPS = "(none)"


@program
def tree_of_thoughts_program(
    s: ProgramState,
    question: str,
    depth: Count = 3,
    branches: Count = 3,
    keep: Count = 2,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question from the best path of `depth` steps."""
    question, clock = checked_question(question), Clock()
    paths: list[str] = [""]
    stages: list[Stage] = []
    repairs: list[protocol.Repairs] = []
    for level in range(1, depth + 1):
        parents = [path for path in paths for _ in range(branches)]
        contexts = [chat_turn(s, PROPOSE.substitute(question=question, steps=path or NO_STEPS)) for path in parents]
        written = fan_out(s, 2 * level - 1, contexts, clock, seed=seed, watch=watch)
        stages.append(barrier_stage([f"Propose step {level}"] * len(parents), written))
        steps = zip(parents, (text_after_thought(each.text) for each in written), strict=True)
        grown = list(dict.fromkeys(f"{path}\n{step}".strip() for path, step in steps))
        scored = score(s, 2 * level, question, grown, clock, seed, watch)
        stages.append(scored.stage)
        repairs += [truncation_repairs(written), scored.repairs]
        paths = [grown[k] for k in scored.best(keep)]
    s += chat_turn(s, ANSWER.substitute(question=question, steps=paths[0] or NO_STEPS))
    written_answer = call(s, "answer_text", Branch(2 * depth + 1), clock, watch, seed=seed)
    final = text_after_thought(written_answer.text)
    s["answer"] = read_answer(final)
    return Trajectory(
        question,
        tuple(stages),
        final_answer=final,
        answer_calls=(written_answer.call,),
        repairs=protocol.merge_repairs(*repairs, truncation_repairs([written_answer])),
        seconds=round(clock.now(), 6),
        launch="rounds",
    )
