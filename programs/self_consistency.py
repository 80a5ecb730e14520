"""Parallel sampling with self-consistency: many whole thoughts side by side, the answer that most of them share.

Paper, section 4.1 and appendix A.5: 20 samples at temperature 0.3. Answers are counted by what they mean, not by
how they are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sprint_sgl.errors import BadInput
from sprint_sgl.grading.worker import same_answer
from sprint_sgl.lang.calls import Clock, Watch, Written, opening_for
from sprint_sgl.lang.forks import barrier_stage, cut_off, fan_out
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
    samples: int = 20,
    prompt_style: str | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question `samples` times and takes the majority; of equal shares the one found first."""
    clock = Clock()
    written = sampled(s, question, samples, prompt_style, max_tokens, seed, watch, clock)
    seconds = clock.now()  # counting votes takes the answers' grader, not the runtime
    return settle(s, question, written, majority([read_thought(each.text).answer for each in written]), seconds)


def sampled(
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
) -> list[Written]:
    """Independent answers to one question, side by side. Raises BadInput for fewer than one."""
    if samples < 1:
        raise BadInput(f"samples must be at least 1, got {samples}")
    s += opening_for(s, checked_question(question), prompt_style)
    limit = thought_limit(s, max_tokens)
    contexts = [s.text()] * samples
    return fan_out(s, 1, contexts, clock, max_tokens=limit, seed=seed, watch=watch, logprobs=logprobs)


def settle(s: ProgramState, question: str, written: Sequence[Written], winner: int, seconds: float) -> Trajectory:
    """The trajectory of samples of which one is the answer."""
    s += written[winner].text
    thought = read_thought(written[winner].text)
    s["answer"] = thought.answer
    return Trajectory(
        question,
        (barrier_stage([f"Sample {k}" for k in range(1, len(written) + 1)], written),),
        final_answer=thought.final or thought.thought,
        repairs=cut_off(written),
        seconds=round(seconds, 6),
        launch="rounds",
    )


def alike(one: str, other: str) -> bool:
    """Whether two answers are one vote: the same letter of several options, the same mathematics, or the same text."""
    letters = read_letter(one), read_letter(other)
    if None not in letters:
        return letters[0] == letters[1]
    return same_answer(one, other) if max(len(one), len(other)) <= LONGEST_ANSWER else one == other


def majority(answers: Sequence[str]) -> int:
    """Which answer stands for the largest class of equivalent ones, from 0; an empty one counts for none.

    It is the class's commonest spelling: expressions of one value are equivalent, and not all of them use the numbers.
    """
    classes: list[list[int]] = []
    for k, answer in enumerate(answers):
        if not answer:
            continue
        for same in classes:
            if alike(answer, answers[same[0]]):
                same.append(k)
                break
        else:
            classes.append([k])
    if not classes:
        return 0
    largest = max(classes, key=len)
    spelled = Counter(answers[k].strip() for k in largest)
    return max(largest, key=lambda k: spelled[answers[k].strip()])
