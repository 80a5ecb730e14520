"""Packed traces become ms-swift rows: SPRINT in two formats, RFT in one (paper, sections 3.2.4 and A.3).

A row is one user and one assistant message under ms-swift's `dummy` template, which adds nothing but the
end token: user text is context, assistant text is trained, and both together are what a call sees at inference.

transcript   one row a trajectory: everything after the opened thought is trained (the paper's way).
per_call     one row a plan and one row an executor call, whose context is the snapshot that the call sees
             at inference: without its siblings.
mixed        the transcript row, which serves the planner's calls as it is, and the executor rows of per_call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any

from curation.trace import Trace
from sprint_sgl import tags
from sprint_sgl.prompts import PromptStyle
from sprint_sgl.trajectory import Execution, Trajectory

Row = dict[str, Any]


class RowFormat(Enum):
    transcript = "transcript"
    per_call = "per_call"
    mixed = "mixed"


def rft_row(trace: Trace, style: PromptStyle) -> Row:
    """The trace in its sequential order, for the reasoning fine-tuned baseline."""
    thought = f"{trace.text}\n{tags.THOUGHT_CLOSE}\n\n{trace.answer}"
    return make_row(tags.sequential_opening(trace.question, style), thought)


def sprint_rows(
    trajectory: Trajectory,
    style: PromptStyle,
    row_format: RowFormat,
    keep: int | None = None,
    rng: random.Random | None = None,
    prized: Callable[[Row], bool] | None = None,
    begun: int = 0,
    plans: int | None = None,
) -> list[Row]:
    """The rows of one trajectory in that format; of its executor rows at most `keep`, drawn by `rng`, `prized` ones
    first, and of its planner rows at most `plans`. Of a transcript the first `begun` stages are context."""
    opening, rng = tags.opening(trajectory.question, style), rng or random.Random(0)
    if row_format is RowFormat.transcript:
        return [_transcript_row(trajectory, opening, begun)]
    executors = list(executor_rows(trajectory, opening))
    if keep is not None:
        best = sample_rows([row for row in executors if prized and prized(row)], keep, rng)
        others = [row for row in executors if row not in best]
        executors = best + sample_rows(others, keep - len(best), rng)
    if row_format is RowFormat.per_call:
        planners = list(planner_rows(trajectory, opening))
        return [*(planners if plans is None else rng.sample(planners, min(plans, len(planners)))), *executors]
    return [_transcript_row(trajectory, opening, begun), *executors]


def _transcript_row(trajectory: Trajectory, opening: str, begun: int) -> Row:
    stages = [tags.render_stage(i, stage) for i, stage in enumerate(trajectory.stages, 1)]
    context, rest = "".join(stages[:begun]), "".join(stages[begun:])
    return make_row(opening + context, rest + tags.render_final_answer(trajectory.final_answer))


def planner_rows(trajectory: Trajectory, opening: str) -> Iterator[Row]:
    """One row a plan, and one for the final answer; the executions so far are context."""
    context = opening
    for i, stage in enumerate(trajectory.stages, 1):
        yield make_row(context, tags.render_plan(i, stage.prompts, stage.tail))
        context += tags.render_stage(i, stage)
    yield make_row(context, tags.render_final_answer(trajectory.final_answer))


def executor_rows(trajectory: Trajectory, opening: str) -> Iterator[Row]:
    """One row a call, stage by stage, in prompt order."""
    context = opening
    for i, stage in enumerate(trajectory.stages, 1):
        snapshot = context + tags.open_plan(i)
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            snapshot += tags.render_prompt(i, j, prompt)
            yield _executor_row(i, j, snapshot, execution)
        context += tags.render_stage(i, stage)


def lone_executor_rows(trajectory: Trajectory, opening: str) -> Iterator[Row]:
    """The same calls with nothing before them but the question and their own prompt: practice in the step itself, at a
    fraction of the tokens."""
    for i, stage in enumerate(trajectory.stages, 1):
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            yield _executor_row(i, j, opening + tags.open_plan(i) + tags.render_prompt(i, j, prompt), execution)


def _executor_row(i: int, j: int, snapshot: str, execution: Execution) -> Row:
    text = f"{tags.neutralise(execution.text)}{tags.close_execution(i, j)}\n"
    return make_row(tags.executor_context(i, snapshot, j), text)


def sample_rows(rows: Sequence[Row], keep: int, rng: random.Random) -> list[Row]:
    """At most `keep` of the rows, without replacement. Siblings repeat one context, so longer rows are rarer."""
    left = list(rows)
    while len(left) > keep:
        left.remove(rng.choices(left, [len(row_text(row)) for row in left])[0])
    return left


def row_text(row: Row) -> str:
    return "".join(message["content"] for message in row["messages"])


def make_row(context: str, response: str) -> Row:
    return {"messages": [{"role": "user", "content": context}, {"role": "assistant", "content": response}]}
