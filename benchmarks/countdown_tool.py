"""An exact tool in the place of the mini model's executors: it writes what the search of the traces writes.

    .venv/bin/sprint-sgl solve --tools benchmarks/countdown_tool.py "Use 15, 3 and 62 to make 80"
    .venv/bin/sprint-sgl bench task=countdown task.problems=60 'program.tools=[benchmarks/countdown_tool.py]' \
        against=[sprint_one_by_one] temperature=0 out=work/with-tool

No training is needed: a prompt names the pair of numbers, and the question the rest. A call takes 0.3 s, or what
COUNTDOWN_TOOL_SECONDS says.
"""

from __future__ import annotations

import asyncio
import os

from curation.countdown.operations import chain_words
from curation.countdown.traces import CHECK, check_text, first_round, second_round
from sprint_sgl.tasks.countdown.checker import countdown_problem
from sprint_sgl.tools import Tool, ToolContext, ToolError
from sprint_sgl.tools.calls import ToolCall

SECONDS = float(os.environ.get("COUNTDOWN_TOOL_SECONDS", "0.3"))


async def attempt(context: ToolContext) -> str:
    """Return the search's text for the prompt."""
    await asyncio.sleep(SECONDS)
    problem = countdown_problem(context.question)
    if problem is None:
        raise ToolError("the question is no Countdown problem")
    attempts = [*first_round(problem), *(second_round(problem) if len(problem.numbers) == 4 else [])]
    for each in attempts:
        if context.prompt == each.prompt:
            return each.text
        if each.chain and context.prompt == f"{CHECK} {', '.join(chain_words(each.chain))}":
            return check_text(each.chain, problem.target)
    raise ToolError(f"{context.prompt!r} is nothing that the search does")


countdown = Tool.from_function(attempt, name="countdown", parallel=1000)
TOOLS = [countdown]


def route(prompt: str) -> ToolCall | None:
    """Return a call for an attempt or a check; anything else is for the model."""
    return ToolCall(countdown, {}) if prompt.startswith(("Try ", "Add ", "Multiply ", CHECK)) else None
