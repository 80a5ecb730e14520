"""Scripts of planners whose executors say "done"."""

from __future__ import annotations

from collections.abc import Callable

from sprint_sgl import protocol
from sprint_sgl.trajectory import Prompt


def is_executor(context: str) -> bool:
    return context.endswith(">\n") and "<execution_" in context.splitlines()[-1]


def planner(*pieces: str) -> Callable[[str], str]:
    """A model whose planner writes these stages, one text a stage, and whose executors say "done"."""

    def script(context: str) -> str:
        if is_executor(context):
            return "done\n</execution_"
        stage = context.count("\n</Execution_")
        text = pieces[min(stage, len(pieces) - 1)]
        written = (
            context.rpartition("</Execution_")[2].partition(">\n\n")[2] if stage else context.partition("<think>\n")[2]
        )
        return text[len(written) :] if text.startswith(written) else ""

    return script


def plan(i: int, *prompts: str) -> str:
    return protocol.render_plan(i, [Prompt(text) for text in prompts])
