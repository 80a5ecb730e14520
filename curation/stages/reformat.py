"""Traces as ms-swift rows: SPRINT in two formats, RFT in one (paper, sections 3.2.4 and A.3).

A row has a user message, which is context, and an assistant message, which is trained; together they are what a call
sees at inference. Both SPRINT formats have the same text, everything after the opened thought:

tree         trained as the tree of its calls: an executor does not see its siblings, as at inference.
transcript   trained as one sequence (as in the paper): an executor sees the siblings before it.
"""

from __future__ import annotations

from enum import Enum

from curation.trace import Trace
from sprint_sgl import protocol
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.training_rows import TREE, Row, make_row
from sprint_sgl.trajectory import Trajectory


class RowFormat(Enum):
    tree = "tree"
    transcript = "transcript"


def rft_row(trace: Trace, style: PromptStyle) -> Row:
    """Return the row of a trace in sequential order, for the RFT baseline. Tags in the text are neutralised."""
    thought = f"{protocol.escape_tags(trace.text)}\n{protocol.THOUGHT_CLOSE}\n\n{protocol.escape_tags(trace.answer)}"
    return make_row(protocol.sequential_opening(trace.question, style), thought)


def sprint_row(trajectory: Trajectory, style: PromptStyle, row_format: RowFormat) -> Row:
    """Return the row of a trajectory, whose stages and answer are the response.

    Raises ValueError for a trajectory without stages, or with an execution that was cut off or failed.
    """
    bad = [
        execution.status for stage in trajectory.stages for execution in stage.executions if execution.status != "ok"
    ]
    if bad or not trajectory.stages:
        raise ValueError(f"not a training example: {f'an execution is {bad[0]}' if bad else 'no stages'}")
    response = protocol.render_stages(trajectory) + protocol.render_final_answer(trajectory.final_answer)
    channel = TREE if row_format is RowFormat.tree else None
    return make_row(protocol.planner_opening(trajectory.question, style), response, channel)
