"""Parallel sampling with self-consistency: many whole thoughts side by side; their most frequent answer counts.

Paper, section 4.1 and appendix A.5: 20 samples at temperature 0.3. Answers are counted by their meaning, not by their
spelling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sprint_sgl.grading.worker import same_answer
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Clock, Generation, Watch, opening_for
from sprint_sgl.lang.forks import barrier_stage, fan_out, truncation_repairs
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought, thought_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.gpqa import read_letter
from sprint_sgl.tasks.math import LONGEST_ANSWER
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Trajectory


@program
def self_consistency_program(
    s: ProgramState,
    question: str,
    samples: Count = 20,
    prompt_style: StyleName | None = None,
    max_tokens: Count | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question `samples` times and take the majority's answer; of equal shares the first."""
    clock = Clock()
    drawn = draw_samples(s, question, samples, prompt_style, max_tokens, seed, watch, clock)
    seconds = clock.now()  # counting votes takes the answers' grader, not the runtime
    return samples_trajectory(s, question, drawn, majority([read_thought(each.text).answer for each in drawn]), seconds)


def draw_samples(
    s: ProgramState,
    question: str,
    samples: int,
    prompt_style: str | None,
    max_tokens: int | None,
    seed: int | None,
    watch: Watch | None,
    clock: Clock,
    *,
    logprobs: bool = False,
) -> list[Generation]:
    """Return independent answers to one question, drawn side by side."""
    s += opening_for(s, checked_question(question), prompt_style)
    limit = thought_limit(s, max_tokens)
    contexts = [s.text()] * samples
    return fan_out(s, 1, contexts, clock, max_tokens=limit, seed=seed, watch=watch, logprobs=logprobs)


def samples_trajectory(
    s: ProgramState, question: str, drawn: Sequence[Generation], winner: int, seconds: float
) -> Trajectory:
    """Make the sample `winner` the state's answer; return the trajectory of all samples."""
    s += drawn[winner].text
    thought = read_thought(drawn[winner].text)
    s["answer"] = thought.answer
    return Trajectory(
        question,
        (barrier_stage([f"Sample {k}" for k in range(1, len(drawn) + 1)], drawn),),
        final_answer=thought.final or thought.thought,
        repairs=truncation_repairs(drawn),
        seconds=round(seconds, 6),
        launch="rounds",
    )


def same_vote(one: str, other: str) -> bool:
    """Whether two answers are one vote: the same letter of several options, the same mathematics, or the same text."""
    letters = read_letter(one), read_letter(other)
    if None not in letters:
        return letters[0] == letters[1]
    return same_answer(one, other) if max(len(one), len(other)) <= LONGEST_ANSWER else one == other


def majority(answers: Sequence[str]) -> int:
    """Return the index of the answer that stands for the largest class of equivalent answers; empty ones do not vote.

    Of the class, the commonest spelling is taken: expressions of one value are equivalent, but not all use the numbers.
    """
    classes: list[list[int]] = []
    for k, answer in enumerate(answers):
        if not answer:
            continue
        for same in classes:
            if same_vote(answer, answers[same[0]]):
                same.append(k)
                break
        else:
            classes.append([k])
    if not classes:
        return 0
    largest = max(classes, key=len)
    spelled = Counter(answers[k].strip() for k in largest)
    return max(largest, key=lambda k: spelled[answers[k].strip()])
