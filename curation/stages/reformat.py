"""Traces as ms-swift rows: SPRINT in two formats, RFT in one (paper, sections 3.2.4 and A.3).

A row has a user message, which is context, and an assistant message, which is trained; together they are what a call
sees at inference. Both SPRINT formats have the same text, everything after the opened thought:

tree         trained as the tree of its calls: an executor does not see its siblings, as at inference.
transcript   trained as one sequence (as in the paper): an executor sees the siblings before it.

Trees may be written in another format of parallel reasoning (sprint_sgl/protocol/formats.py), from the same traces.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from curation.trace import Trace
from sprint_sgl import protocol
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.training_rows import Row, make_row, tree_channel
from sprint_sgl.trajectory import Stage, Trajectory


class RowFormat(Enum):
    tree = "tree"
    transcript = "transcript"


def rft_row(trace: Trace, style: PromptStyle) -> Row:
    """Return the row of a trace in sequential order, for the RFT baseline. Tags in the text are neutralised."""
    thought = f"{protocol.escape_tags(trace.text)}\n{protocol.THOUGHT_CLOSE}\n\n{protocol.escape_tags(trace.answer)}"
    return make_row(protocol.sequential_opening(trace.question, style), thought)


def sprint_row(
    trajectory: Trajectory, style: PromptStyle, row_format: RowFormat, format: protocol.Format = protocol.SPRINT
) -> Row:
    """Return the row of a trajectory, whose stages and answer are the response.

    Raises ValueError for a trajectory without stages, or with an execution that was cut off or failed.
    """
    bad = [
        execution.status for stage in trajectory.stages for execution in stage.executions if execution.status != "ok"
    ]
    if bad or not trajectory.stages:
        raise ValueError(f"not a training example: {f'an execution is {bad[0]}' if bad else 'no stages'}")
    written = with_lengths(trajectory) if format.lengths else trajectory
    channel = tree_channel(format.name) if row_format is RowFormat.tree else None
    return make_row(format.opening(trajectory.question, style), format.transcript(written), channel)


def with_lengths(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory with the length of each execution in its prompt, rounded to a hundred characters."""
    return replace(trajectory, stages=tuple(map(_with_lengths, trajectory.stages)))


def _with_lengths(stage: Stage) -> Stage:
    told = (max(100, round(len(execution.text), -2)) for execution in stage.executions)
    prompts = (
        replace(prompt, text=f"{prompt.text}, ~{length} characters")
        for prompt, length in zip(stage.prompts, told, strict=True)
    )
    return replace(stage, prompts=tuple(prompts))
