"""Replays: what is kept of a recording, and that the real programs generate just that again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import sequential_program, sprint_program
from sprint_sgl import protocol
from sprint_sgl.bench.replay import Replay, ReplayQuestion, StageShape, TrajectoryShape, filler_text
from sprint_sgl.bench.replay_backend import ReplayBackend, tag_token_bias
from sprint_sgl.bench.runner import BackendTask
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.checkpoints import load_tokenizer
from sprint_sgl.tasks.datasets import DataSource
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory
from tests.fakes.shapes import MINI, Wordy, shapes


def replay(source: Path, **more: Any) -> Replay:
    return Replay(
        **{"source": DataSource(str(source)), "column": "response", "scale": 1.0, "characters_a_token": 4.0} | more
    )


@settings(max_examples=60)
@given(shapes, st.sampled_from(["eager", "barrier"]))
def test_the_program_does_what_the_recording_did(shape: TrajectoryShape, launch: str) -> None:
    question = ReplayQuestion("1", filler_text(3, 1), "", "", shape)
    run = sprint_program.run(question.text, launch=launch, backend=ReplayBackend(Wordy(), shape))  # type: ignore[arg-type]
    grade = replay(Path("x.jsonl")).grade_run(question, run.trajectory)
    assert grade.correct, grade.reason
    assert run.trajectory.total_tokens == shape.total
    assert run.trajectory.sequential_tokens_eager == shape.sequential


@given(shapes)
@settings(max_examples=20)
def test_the_sequential_program_writes_the_same_total(shape: TrajectoryShape) -> None:
    run = sequential_program.run("q", backend=ReplayBackend(Wordy(), shape))  # type: ignore[arg-type]
    assert run.trajectory.total_tokens == shape.total
    assert replay(Path("x.jsonl")).grade_run(ReplayQuestion("1", "q", "", "", shape), run.trajectory).correct


def test_another_shape_or_a_repair_is_not_faithful() -> None:
    shape = TrajectoryShape(1, (StageShape((2,), 1, (3,)),), 2)
    other = TrajectoryShape(1, (StageShape((2,), 1, (4,)),), 2)
    task = replay(Path("x.jsonl"))
    run = sprint_program.run("q", backend=ReplayBackend(Wordy(), other))  # type: ignore[arg-type]
    assert task.grade_run(ReplayQuestion("1", "q", "", "", shape), run.trajectory).reason.startswith("another shape")
    forced = sprint_program.run("q", max_stages=1, backend=ReplayBackend(Wordy(), shape))  # type: ignore[arg-type]
    assert "forced_answer" in task.grade_run(ReplayQuestion("1", "q", "", "", shape), forced.trajectory).reason


def test_counts_of_the_runtime_come_before_lengths_of_texts() -> None:
    executions = (Execution("x" * 40, call=Call(completion_tokens=7)), Execution("y"))
    stage = Stage(
        (Prompt("a", offset=5), Prompt("b", offset=9)), executions, planner_calls=(Call(completion_tokens=12),)
    )
    shape = TrajectoryShape.of(Trajectory("q" * 8, (stage,), "z" * 12))
    assert shape == TrajectoryShape(2, (StageShape((5, 4), 3, (7, 1)),), 3)
    assert TrajectoryShape.of(Trajectory("q" * 8, (stage,), "z" * 12), scale=0.5).stages[0].executions == (4, 1)


def test_questions_are_the_trajectories_that_planned(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    planned = Trajectory("q", (Stage((Prompt("p"),), (Execution("e"),)),), "a")
    texts = [protocol.render(planned), "no tags at all"]
    path.write_text("".join(json.dumps({"response": text}) + "\n" for text in texts))
    (question,) = replay(path).questions()
    assert (question.id, question.group) == ("0", "1 stages")
    assert isinstance(replay(path), BackendTask)
    records = [
        {"method": "my_planner", "trajectory": planned.to_dict()},
        {"method": "sprint_of_samples", "trajectory": replace(planned, launch="rounds").to_dict()},
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    assert [question.id for question in replay(tmp_path / "records.jsonl").questions()] == ["0"]
    with pytest.raises(BadInput, match=r"no column 'trajectory' or 'text'; the rows have response"):
        list(replay(path, column="text").questions())
    for key, value in (("scale", 0), ("scale", math.nan), ("characters_a_token", math.inf)):
        with pytest.raises(BadInput, match=f"{key} must be a number above 0, got {value}"):
            replay(path, **{key: value})


def test_a_source_that_holds_no_trajectories_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text('{"trajectory": {"foo": 1}}\n')
    with pytest.raises(BadInput, match=r"some\.jsonl, row 1: not a trajectory: "):
        list(replay(path).questions())
    path.write_text('{"response": "Well, 5."}\n')
    with pytest.raises(BadInput, match="contains no trajectory with a stage, in `trajectory` or in 'response'"):
        list(replay(path).questions())


def test_recordings_of_other_shapes_are_other_questions(tmp_path: Path) -> None:
    path, golds = tmp_path / "some.jsonl", set()
    for execution in ("e", "e" * 100):
        planned = Trajectory("q", (Stage((Prompt("p"),), (Execution(execution),)),), "a")
        path.write_text(json.dumps({"trajectory": planned.to_dict()}) + "\n")
        golds |= {question.gold for question in replay(path).questions()}
    assert len(golds) == 2


def test_no_token_that_is_allowed_can_be_a_tag_or_blank() -> None:
    tokenizer = load_tokenizer(MINI)
    allowed = [id for id in range(len(tokenizer)) if str(id) not in tag_token_bias(MINI)]
    assert len(allowed) > 50
    assert all(tokenizer.decode([id]).strip() and "<" not in tokenizer.decode([id]) for id in allowed)


def test_released_trajectories_have_the_shape_that_their_authors_report(shared_data: Path) -> None:
    """4.5 stages and 7.5 executions on average, over all 500; here over 120 of them."""
    found = [question.shape for question in replay(shared_data / "sprint_trajectories_dev.jsonl").questions()]
    assert len(found) >= 115
    assert 3.5 < sum(len(shape.stages) for shape in found) / len(found) < 5.5
    assert 6 < sum(len(stage.executions) for shape in found for stage in shape.stages) / len(found) < 9
    assert all(shape.sequential <= shape.total for shape in found)
