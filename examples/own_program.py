"""A program of one's own: several thoughts side by side; the first that solves the Countdown problem answers.

python examples/own_program.py [URL]     # URL: a running SGLang server; without one, a runtime is started here
"""

import sys

from sprint_sgl import Trajectory, connect, launch
from sprint_sgl.lang.calls import Clock, opening_for
from sprint_sgl.lang.forks import barrier_stage, fan_out
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought, thought_limit
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem


@program
def first_right_program(s, question, samples=4, prompt_style=None, seed=None, watch=None):
    """Answer a Countdown question with the first of `samples` thoughts that an exact check accepts."""
    clock, problem = Clock(), countdown_problem(question)
    s += opening_for(s, question, prompt_style)
    limit = thought_limit(s, None)
    written = fan_out(s, 1, [s.text()] * samples, clock, max_tokens=limit, seed=seed, watch=watch)  # a fork a sample
    thoughts = [read_thought(each.text) for each in written]
    right = [t for t in thoughts if problem and check_countdown(t.answer, problem.numbers, problem.target).correct]
    chosen = (right or thoughts)[0]
    s["answer"] = chosen.answer
    prompts = [f"sample {k}" for k in range(1, samples + 1)]
    stage = barrier_stage(prompts, written)  # the calls with their tokens and times
    return Trajectory(question, (stage,), final_answer=chosen.final, seconds=clock.now(), launch="rounds")


if __name__ == "__main__":
    with connect(sys.argv[1]) if sys.argv[1:] else launch("countdown-mini-rft"):
        state = first_right_program.run("Use 15, 3 and 62 to make 80", samples=4)
    print(state["answer"], state.trajectory.sequential_tokens, "sequential tokens")
