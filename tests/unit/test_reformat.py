"""Rows: the text of a trajectory, and of a trace in its own order."""

import json
from itertools import islice
from pathlib import Path

import pytest
import typer

from benchmarks.released_rows import main as released_rows
from curation.countdown.traces import write_trace
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from curation.trace import Trace
from sprint_sgl import protocol
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.tasks.countdown.problem import generate_problems
from sprint_sgl.training_rows import row_text
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

STYLE = prompt_style("mini")
TRACES = [trace for problem in islice(generate_problems(4, 3), 12) if (trace := write_trace(problem))]


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_both_formats_hold_the_rendered_trajectory_and_only_a_tree_is_marked(trace: Trace) -> None:
    trajectory = pack(trace).trajectory
    tree, transcript = (sprint_row(trajectory, STYLE, row_format) for row_format in RowFormat)
    assert row_text(tree) == row_text(transcript) == f"{STYLE.parallel}\n\n{protocol.render(trajectory)}"
    assert tree.pop("channel") == "tree"
    assert tree == transcript


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_the_rft_row_is_the_trace_in_its_own_order(trace: Trace) -> None:
    context, response = (message["content"] for message in rft_row(trace, STYLE)["messages"])
    assert context == protocol.sequential_opening(trace.question, STYLE)
    assert response == f"{trace.text}\n</think>\n\n{trace.answer}"


def test_a_trajectory_that_is_no_example_makes_no_row() -> None:
    stage = Stage((Prompt("add"),), (Execution("", status="failed"),))
    with pytest.raises(ValueError, match="an execution is failed"):
        sprint_row(Trajectory("Q", (stage,), "7"), STYLE, RowFormat.tree)
    with pytest.raises(ValueError, match="no stages"):
        sprint_row(Trajectory("Q", (), "7"), STYLE, RowFormat.tree)


def test_released_trajectories_become_rows_and_files_of_something_else_are_refused(tmp_path: Path) -> None:
    released = [
        {"problem": trace.question, "response": protocol.render(pack(trace).trajectory)} for trace in TRACES[:3]
    ]
    lines = [json.dumps(each) for each in [*released, {"problem": "Q", "response": "<think>\nno stages\n</think>\n7"}]]
    (tmp_path / "released.jsonl").write_text("\n".join(lines) + "\n")
    released_rows(tmp_path / "released.jsonl", tmp_path / "sprint")
    rows = [json.loads(line) for line in (tmp_path / "sprint.train.jsonl").open()]
    assert rows == [sprint_row(pack(trace).trajectory, prompt_style("sprint"), RowFormat.tree) for trace in TRACES[:3]]
    for line, said in ((lines[3], "no response has stages"), ('{"problem": "Q"}', "line 1: `problem` or `resp")):
        (tmp_path / "other.jsonl").write_text(line + "\n")
        with pytest.raises(typer.BadParameter, match=said):
            released_rows(tmp_path / "other.jsonl", tmp_path / "other")
