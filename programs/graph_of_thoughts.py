"""Graph-of-Thoughts: attempts are scored, merged, scored again and refined (Besta et al.; Table 1).

    attempts -> scores -> the best merged in several ways -> scores -> the best merge refined, which is the answer

The merge, a thought with several parents, sets the graph apart from a tree.
"""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, chat_turn, load_prompt, opening_for
from sprint_sgl.lang.forks import barrier_stage, fan_out, truncation_repairs
from sprint_sgl.lang.program import program
from sprint_sgl.lang.scoring import score
from sprint_sgl.lang.thoughts import text_after_thought, thought_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory

MERGE = load_prompt("graph_of_thoughts/merge", __file__)
REFINE = load_prompt("graph_of_thoughts/refine", __file__)


@program
def graph_of_thoughts_program(
    s: ProgramState,
    question: str,
    attempts: Count = 5,
    keep: Count = 3,
    merges: Count = 2,
    prompt_style: StyleName | None = None,
    max_tokens: Count | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question from `attempts` whole solutions, of which the best `keep` are merged `merges` times."""
    question, clock = checked_question(question), Clock()
    opened = [opening_for(s, question, prompt_style)] * attempts
    first = fan_out(s, 1, opened, clock, max_tokens=thought_limit(s, max_tokens), seed=seed, watch=watch)
    solutions = [text_after_thought(each.text) for each in first]
    scores = score(s, 2, question, solutions, clock, seed, watch)

    listed = "\n\n".join(f"Attempt {n}:\n{solutions[k]}" for n, k in enumerate(scores.best(keep), 1))
    merge = [chat_turn(s, MERGE.substitute(question=question, attempts=listed))] * merges
    merged = fan_out(s, 3, merge, clock, seed=seed, watch=watch)
    candidates = [text_after_thought(each.text) for each in merged]
    merge_scores = score(s, 4, question, candidates, clock, seed, watch)

    s += chat_turn(s, REFINE.substitute(question=question, attempt=candidates[merge_scores.best(1)[0]]))
    refined = call(s, "refined", Branch(5), clock, watch, seed=seed)
    final = text_after_thought(refined.text)
    s["answer"] = read_answer(final)
    return Trajectory(
        question,
        (
            barrier_stage([f"Attempt {k}" for k in range(1, attempts + 1)], first),
            scores.stage,
            barrier_stage([f"Merge {k}" for k in range(1, merges + 1)], merged),
            merge_scores.stage,
        ),
        final_answer=final,
        answer_calls=(refined.call,),
        repairs=protocol.merge_repairs(
            truncation_repairs([*first, *merged, refined]), scores.repairs, merge_scores.repairs
        ),
        seconds=round(clock.now(), 6),
        launch="rounds",
    )
