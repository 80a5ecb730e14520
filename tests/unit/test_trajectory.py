"""Claims about the nouns: what follows from a trajectory's texts, calls and offsets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sprint_sgl.trajectory import Call, Execution, Launch, Prompt, Stage, Trajectory

EAGER_WINS = Stage(
    (Prompt("a", offset=10), Prompt("b", offset=30)),
    (Execution("x", call=Call(completion_tokens=50)), Execution("y", call=Call(completion_tokens=40))),
    planner_calls=(Call(completion_tokens=10), Call(completion_tokens=20), Call(completion_tokens=5)),
)


def run() -> Trajectory:
    answer = Call(prompt_tokens=200, cached_tokens=150, completion_tokens=7, finish="</Final_answer>")
    first = Stage(
        (Prompt("a", lead="l", offset=12),),
        (Execution("x", "truncated", Call(100, 80, 60, finish="length")),),
        tail="t",
        planner_calls=(Call(100, 0, 12), Call(120, 100, 100)),
    )
    return Trajectory("q", (first, EAGER_WINS), "5", "", (answer,), (("truncated", 1),), 3, 1.5, "eager")


def one(*prompts: Prompt, tail: str = "") -> Stage:
    return Stage(prompts, tuple(Execution("x") for _ in prompts), tail)


def test_surrounding_whitespace_is_no_part_of_a_text() -> None:
    assert Prompt(" a\n", "\r\nl ") == Prompt("a", "l")
    assert Execution("\n\x85x\t") == Execution("x")
    assert Trajectory(" q ", (Stage(tail="\nt\n"),), " 5 ") == Trajectory("q", (Stage(tail="t"),), "5")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_prompt_has_a_text(text: str) -> None:
    with pytest.raises(ValueError, match="a prompt needs a text"):
        Prompt(text)


def test_a_stage_has_one_execution_for_each_prompt() -> None:
    with pytest.raises(ValueError, match="got 1 prompts and 2 executions"):
        Stage((Prompt("a"),), (Execution("x"), Execution("y")))


def test_sequential_tokens_are_the_longest_branch_from_its_prompts_end() -> None:
    assert EAGER_WINS.plan_tokens == 35
    assert EAGER_WINS.sequential_tokens_eager == 70
    assert EAGER_WINS.sequential_tokens_barrier == 85


def test_a_plan_longer_than_its_branches_is_its_stages_length() -> None:
    stage = Stage(
        (Prompt("a", offset=5),),
        (Execution("x", call=Call(completion_tokens=4)),),
        planner_calls=(Call(completion_tokens=20),),
    )
    assert stage.sequential_tokens_eager == 20
    assert Stage(planner_calls=(Call(completion_tokens=9),)).sequential_tokens_eager == 9
    assert Stage().sequential_tokens_eager == Stage().sequential_tokens_barrier == 0


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5))
def test_eager_launch_is_never_longer_than_barrier_launch(branches: list[tuple[int, int]]) -> None:
    pieces = [planner for planner, _ in branches]
    stage = Stage(
        tuple(Prompt("a", offset=sum(pieces[: k + 1])) for k in range(len(branches))),
        tuple(Execution("x", call=Call(completion_tokens=executor)) for _, executor in branches),
        planner_calls=tuple(Call(completion_tokens=piece) for piece in pieces),
    )
    assert max(0, sum(pieces)) <= stage.sequential_tokens_eager <= stage.sequential_tokens_barrier


def test_a_trajectory_adds_up_its_stages_and_its_answer() -> None:
    trajectory = run()
    assert trajectory.sequential_tokens_eager == 112 + 70 + 7
    assert trajectory.sequential_tokens_barrier == 172 + 85 + 7
    assert trajectory.total_tokens == 112 + 60 + 35 + 90 + 7
    assert trajectory.uncached_prefill_tokens == 100 + 20 + 20 + 50
    assert trajectory.cached_share == pytest.approx(330 / 520)
    assert trajectory.width == 2


@pytest.mark.parametrize(("launch", "tokens"), [("eager", 189), ("barrier", 264), ("rounds", 264), ("sequential", 264)])
def test_sequential_tokens_are_those_of_the_launch_that_the_run_had(launch: Launch, tokens: int) -> None:
    trajectory = replace(run(), launch=launch)
    assert trajectory.sequential_tokens == tokens
    assert trajectory.sequential_tokens_eager == 189


def test_calls_come_stage_by_stage_and_planner_before_executors() -> None:
    assert [call.completion_tokens for call in run().calls] == [12, 100, 60, 10, 20, 5, 50, 40, 7]


def test_parsed_texts_cost_nothing() -> None:
    trajectory = Trajectory("q", (one(Prompt("a")),), "5")
    assert (trajectory.sequential_tokens, trajectory.total_tokens, trajectory.cached_share) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        (Stage(), 0),
        (Stage(tail="only thoughts"), 1),
        (Stage(tail="one\n-----\ntwo\n-----\n"), 2),
        (one(Prompt("a"), Prompt("b")), 2),
        (one(Prompt("a", "lead"), Prompt("b", "-----\nBased on execution_1.1:\nlead")), 2),
        (one(Prompt("a", "thoughts\n-----\nlead")), 2),
        (one(Prompt("a"), Prompt("b", "so it is\n-----\n\nlead")), 3),
        (one(Prompt("a"), tail="-----\nthoughts"), 2),
        (one(Prompt("a"), tail="thoughts"), 2),
        (one(Prompt("a", "x\r\n-----\r\ny")), 2),
        (one(Prompt("a", "a rule: ------\nno ----- line")), 1),
    ],
)
def test_a_step_is_a_prompt_or_a_train_of_thought_without_one(stage: Stage, steps: int) -> None:
    assert stage.steps == steps


def test_the_parallelization_ratio_is_steps_over_stages() -> None:
    stages = (one(Prompt("a"), Prompt("b"), tail="-----\nthoughts"), one(Prompt("c")))
    assert Trajectory("q", stages).parallelization_ratio == 2.0
    assert Trajectory("q").parallelization_ratio == 0.0


def test_the_plan_is_its_text_without_its_prompts() -> None:
    assert one(Prompt("a", "l"), Prompt("b"), tail="t").plan == "l\nt"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_gives_the_trajectory_back(indent: int | None) -> None:
    assert Trajectory.from_json(run().to_json(indent)) == run()


def test_json_that_is_no_trajectory_names_the_field() -> None:
    with pytest.raises(ValidationError, match="final_answer"):
        Trajectory.from_json('{"question": "q", "final_answer": 5}')


def test_seconds_are_finite() -> None:
    with pytest.raises(ValidationError, match="seconds"):
        Trajectory.from_json('{"question": "q", "seconds": 1e999}')
    stage = '{"prompts": [{"text": "p", "offset": -1}], "executions": [{"text": "e"}]}'
    with pytest.raises(ValidationError, match="offset"):
        Trajectory.from_json(f'{{"question": "q", "stages": [{stage}]}}')
