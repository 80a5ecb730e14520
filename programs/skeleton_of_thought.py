"""Skeleton-of-Thought: a list of points, then every point worked out side by side (Ning et al.; paper, section 4.1).

One round: the points cannot use one another's results, which is what SPRINT's stages add. Departure from appendix
A.5: there an LLM takes the final answer out of the solution; here rules do, and a judge where the task has one.
"""

from __future__ import annotations

import re

from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import Branch, Clock, Watch, call, chat, prompt
from sprint_sgl.lang.forks import barrier_stage, cut_off, fan_out
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import after_thought
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory

SKELETON = prompt("skeleton_of_thought/skeleton", __file__)
POINT = prompt("skeleton_of_thought/point", __file__)
_POINT = re.compile(r"^[^\w\n]*\d{1,2}[^\w\n]*?[.):](?P<text>.*)$", re.MULTILINE)


@program
def skeleton_of_thought_program(
    s: ProgramState,
    question: str,
    max_points: int = 10,
    reasoning: bool = False,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question by at most `max_points` points.

    reasoning   whether the model thinks before it writes; the list of one that does not is begun for it
    """
    question, clock = checked_question(question), Clock()
    begun = "" if reasoning else "1."
    s += chat(s, SKELETON.substitute(question=question), begun)
    skeleton = call(s, "skeleton", Branch(1), clock, watch, seed=seed)
    points = points_of(begun + after_thought(skeleton.text))[:max_points]
    listed = "\n".join(f"{j}. {point}" for j, point in enumerate(points, 1))
    contexts = [
        chat(s, POINT.substitute(question=question, skeleton=listed, number=j, point=point))
        for j, point in enumerate(points, 1)
    ]
    written = fan_out(s, 1, contexts, clock, seed=seed, watch=watch)
    worked = [f"{point}\n{after_thought(each.text)}" for point, each in zip(points, written, strict=True)]
    solution = "\n\n".join(worked) or after_thought(skeleton.text)
    s["answer"] = read_answer(solution)
    return Trajectory(
        question,
        (barrier_stage(points, written, [skeleton]),),
        final_answer=solution,
        repairs=(*cut_off([skeleton, *written]), *(() if points else (("no_points", 1),))),
        seconds=round(clock.now(), 6),
        launch="rounds",
    )


def points_of(text: str) -> list[str]:
    """The points of a numbered list, without their numbers; other lines are passed over."""
    return [point for found in _POINT.finditer(text) if (point := found["text"].strip("* \t\r"))]
