"""An exact tool in the place of the mini model's executors: it writes what the search of the traces writes.

    .venv/bin/sprint-sgl solve --tools benchmarks/countdown_tool.py "Use 15, 3 and 62 to make 80"
    .venv/bin/sprint-sgl bench task=countdown task.problems=60 'task.numbers=[3]' temperature=0 \
        'program.tools=[benchmarks/countdown_tool.py]' out=work/with-tool

No training is needed: a prompt names the pair of numbers, and the question the rest. A call takes 0.3 s, or what
COUNTDOWN_TOOL_SECONDS says. COUNTDOWN_TOOL_PARALLEL=1 makes the calls of a plan wait for one another. (The mini planner
cannot be compared with `sprint_one_by_one`: it has never seen a stage with one attempt.)
"""

from __future__ import annotations

import asyncio
import os

from curation.countdown.traces import CHECK, attempts_of_round, check_prompt, check_text
from sprint_sgl.tasks.countdown.checker import countdown_problem
from sprint_sgl.tools import Tool, ToolContext, ToolError
from sprint_sgl.tools.calls import ToolCall

SECONDS = float(os.environ.get("COUNTDOWN_TOOL_SECONDS", "0.3"))
PARALLEL = int(os.environ.get("COUNTDOWN_TOOL_PARALLEL", "1000"))


async def attempt(context: ToolContext) -> str:
    """Return the search's text for the prompt."""
    await asyncio.sleep(SECONDS)
    problem = countdown_problem(context.question)
    if problem is None:
        raise ToolError("the question is no Countdown problem")
    first, second = (attempts_of_round(problem, round) for round in (1, 2))
    for each in first if context.stage == 1 else second:
        if context.prompt == each.prompt:
            return each.text
    for each in (*first, *second):
        if each.chain and context.prompt == check_prompt(each.chain):
            return check_text(each.chain)
    raise ToolError(f"{context.prompt!r} is nothing that the search does")


countdown = Tool.from_function(attempt, name="countdown", parallel=PARALLEL)
TOOLS = [countdown]


def route(prompt: str) -> ToolCall | None:
    """Return a call for an attempt or a check; anything else is for the model."""
    return ToolCall(countdown, {}) if prompt.startswith(("Try ", "Add ", "Multiply ", CHECK)) else None
