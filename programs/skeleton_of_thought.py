"""Skeleton-of-Thought: a list of points, all worked out side by side (Ning et al.; paper, section 4.1).

One round: no point can use the result of another, which is what SPRINT's stages add. Departure from appendix A.5:
there an LLM takes the final answer out of the solution; here rules do, and a judge if the task has one.
"""

from __future__ import annotations

import re

from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.arguments import Count
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, chat_turn, load_prompt
from sprint_sgl.lang.forks import barrier_stage, fan_out, truncation_repairs
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import text_after_thought
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory

SKELETON = load_prompt("skeleton_of_thought/skeleton", __file__)
POINT = load_prompt("skeleton_of_thought/point", __file__)
_POINT = re.compile(r"^[^\w\n]*\d{1,2}[^\w\n]*?[.):](?P<text>.*)$", re.MULTILINE)


@program
def skeleton_of_thought_program(
    s: ProgramState,
    question: str,
    max_points: Count = 10,
    reasoning: bool = False,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question by at most `max_points` points.

    reasoning   whether the model thinks before it writes; if it does not, its list is begun for it
    """
    question, clock = checked_question(question), Clock()
    begun = "" if reasoning else "1."
    s += chat_turn(s, SKELETON.substitute(question=question), begun)
    skeleton = call(s, "skeleton", Branch(1), clock, watch, seed=seed)
    points = read_points(begun + text_after_thought(skeleton.text))[:max_points]
    listed = "\n".join(f"{j}. {point}" for j, point in enumerate(points, 1))
    contexts = [
        chat_turn(s, POINT.substitute(question=question, skeleton=listed, number=j, point=point))
        for j, point in enumerate(points, 1)
    ]
    written = fan_out(s, 1, contexts, clock, seed=seed, watch=watch)
    worked = [f"{point}\n{text_after_thought(each.text)}" for point, each in zip(points, written, strict=True)]
    solution = "\n\n".join(worked) or text_after_thought(skeleton.text)
    s["answer"] = read_answer(solution)
    return Trajectory(
        question,
        (barrier_stage(points, written, [skeleton]),),
        final_answer=solution,
        repairs=(*truncation_repairs([skeleton, *written]), *(() if points else (("no_points", 1),))),
        seconds=round(clock.now(), 6),
        launch="rounds",
    )


def read_points(text: str) -> list[str]:
    """Return the points of a numbered list without their numbers; other lines are skipped."""
    return [point for found in _POINT.finditer(text) if (point := found["text"].strip("* \t\r"))]
