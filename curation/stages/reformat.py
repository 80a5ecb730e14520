"""Packed traces become ms-swift rows: SPRINT in two formats, RFT in one (paper, sections 3.2.4 and A.3).

A row is one user and one assistant message: user text is context, assistant text is trained, and both together are what
a call sees at inference. Of a trajectory both formats hold the same text, everything after the opened thought:

tree         trained as the tree of its calls, each executor without its siblings, as at inference.
transcript   trained as it stands (the paper's way): each executor sees the siblings before it.
"""

from __future__ import annotations

from enum import Enum

from curation.trace import Trace
from sprint_sgl import protocol
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.rows import TREE, Row, make_row
from sprint_sgl.trajectory import Trajectory


class RowFormat(Enum):
    tree = "tree"
    transcript = "transcript"


def rft_row(trace: Trace, style: PromptStyle) -> Row:
    """The trace in its sequential order, for the reasoning fine-tuned baseline; what reads as a tag of ours is text."""
    thought = f"{protocol.escape_tags(trace.text)}\n{protocol.THOUGHT_CLOSE}\n\n{protocol.escape_tags(trace.answer)}"
    return make_row(protocol.sequential_opening(trace.question, style), thought)


def sprint_row(trajectory: Trajectory, style: PromptStyle, row_format: RowFormat) -> Row:
    """The row of a trajectory: its stages and its answer are the response.

    Raises ValueError for one that is no example: without stages, or with an execution that was cut off or failed.
    """
    bad = [each.status for stage in trajectory.stages for each in stage.executions if each.status != "ok"]
    if bad or not trajectory.stages:
        raise ValueError(f"no example to train on: {f'an execution that is {bad[0]}' if bad else 'no stages'}")
    response = protocol.render_stages(trajectory) + protocol.render_final_answer(trajectory.final_answer)
    channel = TREE if row_format is RowFormat.tree else None
    return make_row(protocol.planner_opening(trajectory.question, style), response, channel)
