"""A trajectory with one executor that writes much more than its siblings, and a model that writes it."""

from __future__ import annotations

import re

from sprint_sgl import protocol
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.scripted import replay

LONG = " ".join(["word"] * 30)


UNEVEN = Trajectory(
    "How much is it?",
    (
        Stage(
            (Prompt("add them"), Prompt("multiply them"), Prompt("halve it"), Prompt("guess")),
            (Execution("it is 3"), Execution(LONG), Execution("it is 1"), Execution("two")),
        ),
        Stage((Prompt("check it"),), (Execution("yes"),)),
    ),
    final_answer="It is \\boxed{2}.",
)


def model(context: str) -> str:
    """Write UNEVEN, even if executions in the context were cut."""
    if context.splitlines()[-1].startswith("<execution_"):
        return replay(UNEVEN)(context)
    *stages, written = re.split(r"</Execution_\d>\n\n", context.partition("<think>\n")[2])
    done = len(stages)
    if done == len(UNEVEN.stages):
        return protocol.render_final_answer(UNEVEN.final_answer)
    stage = UNEVEN.stages[done]
    return protocol.render_plan(done + 1, stage.prompts, stage.tail).removeprefix(written)
