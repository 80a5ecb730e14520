"""Recorded plans with a tool: what is asked when, what it takes, and how far that is from the ideal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sprint_sgl.bench.tool_replay import Latency, Lookup, PlannedQuestion, ToolReplay
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import named_method
from sprint_sgl.tasks.datasets import DataSource
from sprint_sgl.trajectory import Trajectory
from tests.fakes.shapes import Wordy

FANOUT = {
    "id": "q1",
    "question": "Which of the two largest cities is the older one?",
    "answer": "Amberg",
    "decomposition": [
        {"id": "a", "question": "Which are the two largest cities?", "depends_on": [], "answer": ["Amberg", "Zell"]},
        {"id": "b", "question": 'How old is "Amberg"?', "depends_on": ["a"], "answer": "900 years"},
        {"id": "c", "question": "How old is Zell?", "depends_on": ["a"], "answer": 700},
        {
            "id": "d",
            "question": "Are these figures recent?",
            "depends_on": ["b"],
            "answer": "yes",
            "decomposition": [{"id": "e", "question": "What year is it?", "depends_on": [], "answer": "2026"}],
        },
    ],
}
PARALLEL = {"id": "p", "question": "Is a fox faster than a hare?", "answer": "no", "branch": 3}


def task(tmp_path: Path, *rows: dict[str, Any], **latency: float) -> ToolReplay:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return ToolReplay(DataSource(path=str(path)), Latency(**{"median": 0.001, "spread": 0.0, **latency}))


def run(work: ToolReplay, method: str, number: int = 0) -> tuple[PlannedQuestion, Trajectory]:
    question = list(work.questions())[number]
    backend = work.backend(question, Wordy())  # type: ignore[arg-type]
    program = named_method(method).program
    return question, program.run(question.text, backend=backend, **work.arguments(question)).trajectory


def asked(trajectory: Trajectory) -> list[list[str]]:
    return [[prompt.text for prompt in stage.prompts] for stage in trajectory.stages]


@pytest.mark.parametrize("method", ["sprint", "sprint_barrier"])
def test_a_stage_asks_everything_whose_needs_are_answered(tmp_path: Path, method: str) -> None:
    work = task(tmp_path, FANOUT)
    question, trajectory = run(work, method)
    assert asked(trajectory) == [
        ['ask("Which are the two largest cities?")', 'ask("What year is it?")'],
        ['ask("How old is \\"Amberg\\"?")', 'ask("How old is Zell?")'],
        ['ask("Are these figures recent?")'],
    ]
    texts = [execution.text for stage in trajectory.stages for execution in stage.executions]
    assert texts == ['["Amberg", "Zell"]', "2026", "900 years", "700", "yes"]
    assert trajectory.final_answer == "\\boxed{Amberg}"
    assert work.grade_run(question, trajectory).correct


def test_a_sub_question_may_stand_twice(tmp_path: Path) -> None:
    twice = [{"id": name, "question": "Same?", "depends_on": [], "answer": "yes"} for name in "ab"]
    work = task(tmp_path, {**FANOUT, "decomposition": twice})
    question, trajectory = run(work, "sprint")
    assert asked(trajectory) == [['ask("Same?")', 'ask("Same?")']]
    assert work.grade_run(question, trajectory).correct


def test_one_by_one_each_plan_has_one_call(tmp_path: Path) -> None:
    work = task(tmp_path, FANOUT)
    question, trajectory = run(work, "sprint_one_by_one")
    assert [len(stage) for stage in asked(trajectory)] == [1] * 5
    assert work.grade_run(question, trajectory).correct


def test_a_row_that_says_only_how_many_searches_it_takes(tmp_path: Path) -> None:
    question, trajectory = run(task(tmp_path, {"question": "no plan"}, PARALLEL), "sprint")
    assert (question.id, [len(stage) for stage in asked(trajectory)]) == ("p", [3, 1])
    assert trajectory.stages[1].executions[0].text == "no"


def test_a_call_takes_the_seconds_that_were_drawn_for_it(tmp_path: Path) -> None:
    question, trajectory = run(task(tmp_path, FANOUT, median=0.02, spread=0.5), "sprint")
    seconds = {call: lookup.seconds for lookup in question.lookups for call in [f"ask({json.dumps(lookup.text)})"]}
    for stage in trajectory.stages:
        for prompt, execution in zip(stage.prompts, stage.executions, strict=True):
            assert execution.call
            assert execution.call.seconds >= seconds[prompt.text]
    assert len(set(seconds.values())) == 5
    assert question.longest_path <= trajectory.critical_seconds


def test_the_longest_path_goes_along_needs() -> None:
    lookups = (
        Lookup("a", "", (), 1.0),
        Lookup("b", "", (0,), 2.0),
        Lookup("c", "", (), 2.5),
        Lookup("d", "", (2,), 0.1),
    )
    assert PlannedQuestion("1", "q", "", "", lookups).longest_path == 3.0


def test_a_run_that_asks_too_early_or_too_little_is_wrong(tmp_path: Path) -> None:
    work = task(tmp_path, FANOUT)
    question, trajectory = run(work, "sprint")
    first, second, last = trajectory.stages
    for stages, reason in (
        ((second, first, last), "too early"),
        ((first, first, second), "too often"),
        ((first, second), "1 sub-questions were not asked"),
    ):
        grade = work.grade_run(question, Trajectory(question.text, stages))
        assert (grade.correct, reason in grade.reason) == (False, True)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([{"question": "x"}], "no row with a question and a `decomposition` or a `branch`"),
        ([{**FANOUT, "decomposition": [{"id": "b", "question": "?", "depends_on": ["a"]}]}], "b depends on a, which"),
    ],
)
def test_rows_without_a_plan_are_refused(tmp_path: Path, rows: list[dict[str, Any]], error: str) -> None:
    with pytest.raises(BadInput, match=error):
        list(task(tmp_path, *rows).questions())


def test_a_latency_out_of_range_is_refused() -> None:
    with pytest.raises(BadInput, match="median above 0"):
        Latency(median=0)
