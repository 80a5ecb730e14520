"""Best of N: many whole thoughts side by side; the one with the best score is the answer (paper, sections 1 and 2).

Without a verifier the score is the model's own: the mean log-probability of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from programs.self_consistency import draw_samples, samples_trajectory
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Clock, Generation, Watch
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Trajectory

Score = Callable[[str, str], float]


@program
def best_of_n_program(
    s: ProgramState,
    question: str,
    samples: Count = 20,
    score: Score | None = None,
    prompt_style: StyleName | None = None,
    max_tokens: Count | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question `samples` times and take the sample with the best score; samples with an answer come first.

    score   a verifier or reward model: called with the question and a sample's text; higher is better
    """
    clock = Clock()
    drawn = draw_samples(s, question, samples, prompt_style, max_tokens, seed, watch, clock, logprobs=score is None)
    seconds = clock.now()

    def rank(each: Generation) -> tuple[bool, float]:
        found = score(question, each.text) if score else each.logprob
        assert found is not None, "the backend gives no log-probabilities: pass score=..."
        return bool(read_thought(each.text).answer), found

    winner = max(range(len(drawn)), key=lambda k: rank(drawn[k]))
    return samples_trajectory(s, question, drawn, winner, seconds)
