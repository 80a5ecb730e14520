"""Which of a model's own trajectories become rows, and what the rows are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from curation.countdown.traces import write_trace
from curation.self_training import (
    KEPT,
    BenchSample,
    SelfTrainingConfig,
    make_rows,
    select_shortest,
    sequential_tokens,
    verdict,
)
from curation.stages.pack import pack
from curation.trace import Trace
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.countdown.problem import generate_problems
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

MINI = Path(__file__).parents[2] / "models" / "countdown-mini-sprint"


def words(text: str) -> int:
    return len(text.split())


def traces() -> Iterator[Trace]:
    return (trace for problem in generate_problems(3, seed=5) if (trace := write_trace(problem)))


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
    assert verdict(shorter, True, seed, words, 1.5) == KEPT
    assert verdict(shorter, False, seed, words, 1.5) == "wrong"
    assert verdict(replace(shorter, repairs=(("unclosed", 1),)), True, seed, words, 1.5) == "malformed"
    assert verdict(shorter, True, seed, words, 9) == "narrow"
    assert verdict(shorter, True, None, words, 1.5) == "no seed"
    assert verdict(seed, True, seed, words, 1.5) == "not shorter than the seed"
    stage = seed.stages[0]
    cut = (replace(stage.executions[0], status="truncated"), *stage.executions[1:])
    truncated = replace(seed, stages=(replace(stage, executions=cut), *seed.stages[1:]))
    assert verdict(truncated, True, seed, words, 1.5) == "malformed"


def test_sequential_tokens_are_the_longest_of_plan_and_branches_in_each_stage() -> None:
    def stage(first: str, second: str) -> Stage:
        return Stage((Prompt("a b"), Prompt("c")), (Execution(first), Execution(second)))

    def tokens(first: str, second: str) -> int:
        return sequential_tokens(Trajectory("q", (stage(first, second),), "x"), words)

    # <Plan_1> and two prompts with their tags, 3 words; an execution's close is one, the answer with its tags four.
    assert tokens("w " * 20, "w") == (1 + 4) + (20 + 1) + 4
    assert tokens("w " * 20, "w " * 17) == tokens("w " * 20, "w")
    assert tokens("w " * 20, "w " * 18) == tokens("w " * 20, "w") + 1
    assert tokens("", "") == (1 + 4 + 3) + 1 + 4
    twice = Trajectory("q", (stage("w " * 20, "w"), stage("w", "w")), "x")
    assert sequential_tokens(twice, words) == tokens("w " * 20, "w") + tokens("w", "w") - 4


def test_of_several_samples_the_shortest_is_taken(seed: Trajectory) -> None:
    shorter = without_first_prompt(seed)
    shortest = without_first_prompt(shorter)
    samples = [BenchSample(each, correct=True) for each in (seed, shortest, shorter)]
    kept, verdicts = select_shortest(samples, {seed.question: seed}, words, 1.5)
    assert kept == {seed.question: shortest}
    assert verdicts == {KEPT: 2, "not shorter than the seed": 1}


def test_questions_without_a_kept_trajectory_keep_their_seed(tmp_path: Path) -> None:
    chosen = list(islice(traces(), 6))
    seeds = [pack(trace).trajectory for trace in chosen]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(trace.to_dict()) + "\n" for trace in chosen))
    sampled = [record(without_first_prompt(seeds[0])), record(seeds[1]), record(seeds[2], correct=False)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in sampled))
    config = SelfTrainingConfig(
        str(tmp_path / "records.jsonl"), str(tmp_path / "traces.jsonl"), str(MINI), str(tmp_path / "rows"), validation=1
    )
    account = make_rows(config)
    assert account[KEPT] == account["wrong"] == account["not shorter than the seed"] == 1
    assert (account["questions"], account["questions with one"]) == (6, 1)
    assert account["valid rows"] == 1
    text = "".join((tmp_path / "rows" / f"sprint.{split}.jsonl").read_text() for split in ("train", "valid"))
    assert text.count("</Final_answer>") >= 6
    assert all(seed.question in text for seed in seeds)
    assert make_rows(replace(config, fill=False, validation=0))["questions"] == 1


def test_nothing_to_keep_is_one_clear_error(tmp_path: Path) -> None:
    trace = next(traces())
    (tmp_path / "traces.jsonl").write_text(json.dumps(trace.to_dict()) + "\n")
    (tmp_path / "records.jsonl").write_text(json.dumps(record(pack(trace).trajectory)) + "\n")
    config = SelfTrainingConfig(
        str(tmp_path / "records.jsonl"), str(tmp_path / "traces.jsonl"), str(MINI), str(tmp_path / "rows")
    )
    with pytest.raises(BadInput, match="0 of them kept"):
        make_rows(config)
    with pytest.raises(BadInput, match="is not there"):
        make_rows(replace(config, seeds="nowhere.jsonl"))


def test_a_broken_record_is_named_by_its_line(tmp_path: Path) -> None:
    trace = next(traces())
    good = json.dumps(record(pack(trace).trajectory))
    (tmp_path / "traces.jsonl").write_text(json.dumps(trace.to_dict()) + "\n")
    (tmp_path / "records.jsonl").write_text(f"{good}\n{good[:99]}\n")
    config = SelfTrainingConfig(
        str(tmp_path / "records.jsonl"), str(tmp_path / "traces.jsonl"), str(MINI), str(tmp_path / "rows")
    )
    with pytest.raises(BadInput, match=r"records\.jsonl:2"):
        make_rows(config)
