"""Rows: what is trained is what the runtime's calls see and write, and nothing else."""

import random
import re
from itertools import islice

import pytest

from curation.countdown import write
from curation.pack import Packed, pack
from curation.reformat import RowFormat, rft_row, row_text, sample_rows, sprint_rows
from curation.trace import Trace
from programs.scripted import ScriptedBackend, replay
from programs.sprint import sprint_program
from sprint_sgl import tags
from sprint_sgl.countdown import problems
from sprint_sgl.prompts import prompt_style

STYLE = prompt_style("mini")
TRACES = [trace for problem in islice(problems(4, 3), 12) if (trace := write(problem))]


def packed(trace: Trace) -> Packed:
    return pack(trace)


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_the_transcript_row_is_the_rendered_trajectory(trace: Trace) -> None:
    (row,) = sprint_rows(packed(trace).trajectory, STYLE, RowFormat.transcript)
    assert row_text(row) == f"{STYLE.parallel}\n\n{tags.render(packed(trace).trajectory)}"


@pytest.mark.parametrize("launch", ["eager", "barrier"])
@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_per_call_rows_hold_exactly_the_contexts_of_the_runtimes_calls(trace: Trace, launch: str) -> None:
    trajectory = packed(trace).trajectory
    backend = ScriptedBackend(replay(trajectory), prompt_style="mini")
    sprint_program.run(trace.question, launch=launch, backend=backend)
    rows = sprint_rows(packed(trace).trajectory, STYLE, RowFormat.per_call)
    contexts = {row["messages"][0]["content"] for row in rows}
    # The planner goes on behind each prompt without a row of its own: those calls continue an earlier row's text.
    continued = [r for r in backend.requests if re.search(r"</prompt_\d+\.\d+>\n$", r.context)]
    fresh = {request.context for request in backend.requests} - {request.context for request in continued}
    assert fresh == contexts
    assert all(any(row_text(row).startswith(request.context) for row in rows) for request in continued)


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_the_rft_row_is_the_trace_in_its_own_order(trace: Trace) -> None:
    context, response = (message["content"] for message in rft_row(trace, STYLE)["messages"])
    assert context == tags.sequential_opening(trace.question, STYLE)
    assert response == f"{trace.text}\n</think>\n\n{trace.answer}"


def test_mixed_rows_are_the_transcript_and_the_executor_calls() -> None:
    rows = sprint_rows(packed(TRACES[0]).trajectory, STYLE, RowFormat.mixed)
    executions = sum(len(stage.executions) for stage in packed(TRACES[0]).trajectory.stages)
    assert len(rows) == 1 + executions


def test_sampling_keeps_so_many_rows_and_prefers_short_ones() -> None:
    rows = [{"messages": [{"role": "user", "content": "x" * length}]} for length in (10, 10, 10, 5000)]
    kept = [sample_rows(rows, 2, random.Random(seed)) for seed in range(50)]
    assert all(len(sample) == 2 for sample in kept)
    assert sum(rows[3] in sample for sample in kept) < 5
