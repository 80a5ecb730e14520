"""Which of a model's own trajectories become rows, and what the rows are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from curation.countdown import write
from curation.pack import pack
from curation.self_training import KEPT, Config, critical_path, make, select, verdict
from curation.trace import Trace
from sprint_sgl.countdown import problems
from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Stage, Trajectory

MINI = Path(__file__).parents[1] / "models" / "countdown-mini-sprint"


def words(text: str) -> int:
    return len(text.split())


def traces() -> Iterator[Trace]:
    return (trace for problem in problems(3, seed=5) if (trace := write(problem)))


def record(trajectory: Trajectory, correct: bool = True) -> dict[str, Any]:
    return {"method": "sprint", "correct": correct, "trajectory": trajectory.to_dict()}


def without_first_prompt(trajectory: Trajectory) -> Trajectory:
    """Shorter on the critical path, since its first plan is."""
    first, *others = trajectory.stages
    return replace(trajectory, stages=(Stage(first.prompts[1:], first.executions[1:], first.tail), *others))


@pytest.fixture
def seed() -> Trajectory:
    return pack(next(traces())).trajectory


def test_what_is_right_well_formed_wide_and_shorter_than_the_seed_is_kept(seed: Trajectory) -> None:
    shorter = without_first_prompt(seed)
    assert verdict(record(shorter), seed, words, 1.5) == KEPT
    assert verdict(record(shorter, correct=False), seed, words, 1.5) == "wrong"
    assert verdict(record(replace(shorter, repairs=(("unclosed", 1),))), seed, words, 1.5) == "malformed"
    assert verdict(record(shorter), seed, words, 9) == "narrow"
    assert verdict(record(shorter), None, words, 1.5) == "no seed"
    assert verdict(record(seed), seed, words, 1.5) == "not shorter than the seed"
    stage = seed.stages[0]
    cut = (replace(stage.executions[0], status="truncated"), *stage.executions[1:])
    truncated = replace(seed, stages=(replace(stage, executions=cut), *seed.stages[1:]))
    assert verdict(record(truncated), seed, words, 1.5) == "malformed"


def test_the_critical_path_is_the_longest_of_plan_and_branches_in_each_stage(seed: Trajectory) -> None:
    shorter = without_first_prompt(seed)
    assert 0 < critical_path(shorter, words) < critical_path(seed, words)
    stage = seed.stages[0]
    longer = replace(stage.executions[-1], text=stage.executions[-1].text + " more" * 1000)
    grown = replace(seed, stages=(replace(stage, executions=(*stage.executions[:-1], longer)), *seed.stages[1:]))
    assert critical_path(grown, words) > critical_path(seed, words) + 900


def test_of_several_samples_the_shortest_is_taken(seed: Trajectory) -> None:
    shorter = without_first_prompt(seed)
    shortest = without_first_prompt(shorter)
    records = [record(each) for each in (seed, shortest, shorter)]
    kept, verdicts = select(iter(records), {seed.question: seed}, words, 1.5)
    assert kept == {seed.question: shortest}
    assert verdicts == {KEPT: 2, "not shorter than the seed": 1}


def test_questions_without_a_kept_trajectory_keep_their_seed(tmp_path: Path) -> None:
    chosen = list(islice(traces(), 6))
    seeds = [pack(trace).trajectory for trace in chosen]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(trace.to_dict()) + "\n" for trace in chosen))
    sampled = [record(without_first_prompt(seeds[0])), record(seeds[1]), record(seeds[2], correct=False)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in sampled))
    config = Config(
        str(tmp_path / "records.jsonl"), str(tmp_path / "traces.jsonl"), str(MINI), str(tmp_path / "rows"), validation=1
    )
    account = make(config)
    assert account[KEPT] == account["wrong"] == account["not shorter than the seed"] == 1
    assert (account["questions"], account["questions with one"]) == (6, 1)
    assert account["valid rows"] == 3  # a transcript and two executors
    text = "".join((tmp_path / "rows" / f"sprint.{split}.jsonl").read_text() for split in ("train", "valid"))
    assert text.count("</Final_answer>") >= 6
    assert all(seed.question in text for seed in seeds)
    assert make(replace(config, fill=False, validation=0))["questions"] == 1


def test_nothing_to_keep_is_one_clear_error(tmp_path: Path) -> None:
    trace = next(traces())
    (tmp_path / "traces.jsonl").write_text(json.dumps(trace.to_dict()) + "\n")
    (tmp_path / "records.jsonl").write_text(json.dumps(record(pack(trace).trajectory)) + "\n")
    config = Config(str(tmp_path / "records.jsonl"), str(tmp_path / "traces.jsonl"), str(MINI), str(tmp_path / "rows"))
    with pytest.raises(BadInput, match="no trajectory is kept"):
        make(config)
    with pytest.raises(BadInput, match="is not there"):
        make(replace(config, seeds="nowhere.jsonl"))
