"""Hogwild! inference: workers that read one another while they write (Rodionov et al. 2025, section 3).

    opening  [1] line  [2] line   <- all workers write their line at the same time
             [1] line  [2] line   <- and read all lines before the next one
             ..

Departure: there all workers attend to one cache that grows token by token, with positions that are rotated for each
reader. No stock engine has concurrent attention. Here a worker sees the others' text a line later: each writes up to a
line, or `line_tokens`, then all see what all have written. The log is one prefix, which RadixAttention serves to all
workers; each round prefills the others' last lines (`uncached_prefill_tokens`). The slowest worker's line bounds a
round. For instruct models, as in the paper: no rows train it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from programs.self_consistency import majority
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.arguments import Count
from sprint_sgl.lang.calls import Branch, Clock, Generation, Watch, call, chat_turn, load_prompt
from sprint_sgl.lang.forks import fan_out
from sprint_sgl.lang.program import program
from sprint_sgl.runtime.executor import token_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

WORK = load_prompt("hogwild/work", __file__)
ANSWER = "The answer is \\boxed{"
BOXED = re.compile(r"\\boxed\s*\{[^{}]*\S")


@program
def hogwild_program(
    s: ProgramState,
    question: str,
    workers: Count = 2,
    max_rounds: Count = 32,
    line_tokens: Count = 64,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question by workers who share a log.

    workers       how many write side by side
    max_rounds    lines of each worker, after which the answer is asked for
    line_tokens   limit of a line; a longer one goes on in the next round
    """
    question, clock = checked_question(question), Clock()
    s += chat_turn(s, WORK.substitute(question=question, workers=workers))
    limit, stages = min(line_tokens, token_limit(s)), list[Stage]()
    while len(stages) < max_rounds:
        contexts = [f"{s.text()}[{j}] " for j in range(1, workers + 1)]
        place = (s, len(stages) + 1, contexts, clock)
        lines = fan_out(*place, stops=("\n",), max_tokens=limit, seed=seed, watch=watch)
        stages.append(round_stage(lines))
        s += "".join(f"[{j}] {each.text.strip()}\n" for j, each in enumerate(lines, 1))
        if answers := [each.text for each in lines if BOXED.search(each.text)]:
            final = answers[majority([read_answer(each) for each in answers])]
            return finished(s, question, stages, final, clock)
        if not any(each.text.strip() for each in lines):
            break
    s += ANSWER
    last = call(s, "last", Branch(len(stages) + 1), clock, watch, stops=("}", "\n"), max_tokens=limit, seed=seed)
    return finished(s, question, stages, f"{ANSWER}{last.text}}}", clock, [last])


def round_stage(lines: Sequence[Generation]) -> Stage:
    """Return a round as a stage with an execution for each worker; a line that its limit cut is none the worse."""
    return Stage(
        tuple(Prompt(f"Worker {j}") for j in range(1, len(lines) + 1)),
        tuple(Execution(each.text, call=each.call) for each in lines),
    )


def finished(
    s: ProgramState,
    question: str,
    stages: Sequence[Stage],
    final: str,
    clock: Clock,
    asked: Sequence[Generation] = (),
) -> Trajectory:
    """Set `s["answer"]` and return the run. `asked` are the calls that wrote the answer after the rounds."""
    s["answer"] = read_answer(final)
    return Trajectory(
        question,
        tuple(stages),
        final_answer=final,
        answer_calls=tuple(each.call for each in asked),
        repairs=(("forced_answer", 1),) if asked else (),
        seconds=round(clock.now(), 6),
        launch="rounds",
    )
