"""Best of N: many whole thoughts side by side, of which a score picks one (paper, sections 1 and 2).

Without a verifier the score is the model's own: the mean log-probability of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from programs.self_consistency import sampled, settle
from sprint_sgl.lang.calls import Clock, Watch, Written
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Trajectory

Score = Callable[[str, str], float]


@program
def best_of_n_program(
    s: ProgramState,
    question: str,
    samples: int = 20,
    score: Score | None = None,
    prompt_style: str | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question `samples` times and takes the best; one without an answer only if none has one.

    score   of a question and a sample's text, a verifier or reward model; higher is better
    """
    clock = Clock()
    written = sampled(s, question, samples, prompt_style, max_tokens, seed, watch, clock, logprobs=score is None)

    seconds = clock.now()

    def rank(each: Written) -> tuple[bool, float]:
        found = score(question, each.text) if score else each.logprob
        assert found is not None, "the backend gives no log-probabilities: pass score=..."
        return bool(read_thought(each.text).answer), found

    winner = max(range(len(written)), key=lambda k: rank(written[k]))
    return settle(s, question, written, winner, seconds)
