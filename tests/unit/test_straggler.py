"""Policies for slow executors: who is cut off and when, and what the planner reads of it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import sprint_program
from sprint_sgl.bench.replay import Replay, ReplayQuestion, StageShape, TrajectoryShape, filler_text
from sprint_sgl.bench.replay_backend import ReplayBackend
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.joining import WAIT_FOR_ALL, JoinPolicy
from sprint_sgl.lang.registry import build_method, named_method
from sprint_sgl.lang.straggler import StragglerPolicy, shorten
from sprint_sgl.tasks.datasets import DataSource
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.trajectory_page import ShownRun, write_trajectory_page
from tests.fakes.scripted import ScriptedBackend
from tests.fakes.shapes import Wordy, shapes
from tests.fakes.uneven import UNEVEN, model

policies = st.builds(
    StragglerPolicy,
    st.none() | st.integers(1, 20),
    st.none() | st.floats(1, 4),
    st.none() | st.floats(0.01, 1),
)


def run(policy: JoinPolicy | None, seconds: float = 0.0, **options: Any) -> Trajectory:
    """Run with an executor of prompt 1.2 that takes `seconds`; the others take a fifth of a second."""

    def slow(context: str) -> float:
        return seconds if context.endswith("<execution_1.2>\n") else 0.2 if context.endswith(">\n") else 0.0

    backend = ScriptedBackend(model, pause=slow)
    return sprint_program.run("How much is it?", backend=backend, straggler=policy, **options).trajectory


def statuses(trajectory: Trajectory) -> list[str]:
    return [execution.status for execution in trajectory.stages[0].executions]


def test_a_budget_shortens_executions_and_cancels_no_request() -> None:
    trajectory = run(StragglerPolicy(budget=10))
    assert statuses(trajectory) == ["ok", "cancelled", "ok", "ok"]
    cut = trajectory.stages[0].executions[1]
    assert cut.call is not None
    assert (cut.call.finish, cut.tokens, cut.text) == ("length", 10, " ".join(["word"] * 10))
    assert trajectory.repairs == ()
    assert trajectory.final_answer == UNEVEN.final_answer


def test_a_budget_above_the_limit_of_a_call_changes_nothing() -> None:
    trajectory = run(StragglerPolicy(budget=25), max_new_tokens=22)
    assert statuses(trajectory) == ["ok", "truncated", "ok", "ok"]
    assert dict(trajectory.repairs)["truncated"] == 1


@pytest.mark.parametrize("policy", [StragglerPolicy(patience=3), StragglerPolicy(quorum=0.75)])
@pytest.mark.parametrize("launch", ["eager", "barrier"])
def test_rules_that_compare_siblings_cut_off_the_slow_one(policy: StragglerPolicy, launch: str) -> None:
    trajectory = run(policy, seconds=10.0, launch=launch)
    assert statuses(trajectory) == ["ok", "cancelled", "ok", "ok"]
    assert trajectory.seconds < 8.0
    assert trajectory.cancelled_count == 1


def test_without_a_rule_everybody_is_waited_for() -> None:
    for policy in (None, WAIT_FOR_ALL, StragglerPolicy(), StragglerPolicy(quorum=1), StragglerPolicy(patience=1000)):
        trajectory = run(policy, seconds=0.3)
        assert statuses(trajectory) == ["ok"] * 4
        assert trajectory.seconds > 0.3


def test_an_executor_alone_has_no_siblings_to_be_late_for() -> None:
    trajectory = run(StragglerPolicy(patience=1, quorum=0.01), seconds=0.2)
    assert trajectory.stages[1].executions[0].status == "ok"


def test_a_backend_that_cannot_abort_is_waited_for() -> None:
    class Stubborn(ScriptedBackend):
        abort = None  # type: ignore[assignment]

    slow = 0.3
    backend = Stubborn(model, pause=lambda context: slow if context.endswith("<execution_1.2>\n") else 0.0)
    trajectory = sprint_program.run(
        "How much is it?", backend=backend, straggler=StragglerPolicy(quorum=0.5)
    ).trajectory
    assert statuses(trajectory) == ["ok"] * 4
    assert trajectory.seconds > slow


def test_an_abort_that_came_too_early_is_sent_again() -> None:
    """As on a runtime that has not yet read the request when the abort comes."""

    class Deaf(ScriptedBackend):
        heard = 0

        def abort(self, request_id: str) -> None:
            self.heard += 1
            if self.heard > 1:
                super().abort(request_id)

    backend = Deaf(model, pause=lambda context: 10.0 if context.endswith("<execution_1.2>\n") else 0.0)
    begun = time.monotonic()
    sprint_program.run("How much is it?", backend=backend, straggler=StragglerPolicy(quorum=0.75))
    assert time.monotonic() - begun < 8.0


def test_what_was_cut_enters_the_context_as_it_stands_or_with_the_mark() -> None:
    contexts = {}
    for mark in (None, "No way."):
        backend = ScriptedBackend(model)
        policy = StragglerPolicy(budget=3, mark=mark)
        seen: list[str] = []
        trajectory = sprint_program.run(
            "How much is it?",
            backend=backend,
            straggler=policy,
            watch=lambda branch, text, seen=seen: seen.append(text) if branch.prompt == 2 else None,  # type: ignore[misc]
        ).trajectory
        contexts[mark] = backend.requests[-1].context
        assert trajectory.stages[0].executions[1].text == "word word word" + policy.suffix
        assert "".join(seen) == "word word word" + policy.suffix
        assert Trajectory.from_json(trajectory.to_json()) == trajectory
    assert "<execution_1.2>\nword word word\n</execution_1.2>" in contexts[None]
    assert "<execution_1.2>\nword word word\nNo way.\n</execution_1.2>" in contexts["No way."]
    assert "<execution_1.4>\ntwo\n</execution_1.4>" in contexts["No way."]


def test_the_viewer_says_what_was_cut_off(tmp_path: Path) -> None:
    cut, whole = run(StragglerPolicy(budget=10)), run(WAIT_FOR_ALL)
    for trajectory, said in ((cut, 1), (whole, 0)):
        write_trajectory_page([ShownRun(trajectory)], tmp_path / "page.html", "runs")
        page = (tmp_path / "page.html").read_text()
        assert page.count('<p class="state">cancelled, ') == page.count("<b>1</b><span>cut off</span>") == said


@pytest.mark.parametrize("policy", [5, {"budget": 30}, "budget=30"])
def test_what_is_no_policy_is_refused(policy: Any) -> None:
    with pytest.raises(BadInput, match="straggler must be a StragglerPolicy"):
        sprint_program.run("q", straggler=policy, backend=ScriptedBackend(lambda context: ""))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"budget": 0}, "straggler.budget must be a whole number of tokens, at least 1, got 0"),
        ({"budget": 1.5}, "straggler.budget must be"),
        ({"budget": True}, "straggler.budget must be"),
        ({"patience": 0.5}, "straggler.patience must be a number, at least 1, got 0.5"),
        ({"patience": math.nan}, "straggler.patience must be"),
        ({"patience": "long"}, "straggler.patience must be a number, at least 1, got 'long'"),
        ({"quorum": 0}, "straggler.quorum must be in \(0, 1\], got 0"),
        ({"quorum": 75}, "straggler.quorum must be"),
        ({"mark": " "}, "straggler.mark must be a text"),
    ],
)
def test_unusable_rules_are_one_clear_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        StragglerPolicy(**values)
    settings = named_method("sprint_stragglers").settings
    with pytest.raises(BadInput, match=said):
        build_method({**settings, "straggler": {**settings["straggler"], **values}})


@given(
    policies,
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 50)), min_size=1, max_size=6),
    st.integers(0, 100),
)
def test_the_ideal_never_lengthens_and_waits_for_all_without_a_rule(
    policy: StragglerPolicy, siblings: list[tuple[int, int]], joins: int
) -> None:
    began, lengths = [b for b, _ in siblings], [n for _, n in siblings]
    left = shorten(policy, began, lengths, joins)
    assert all(0 <= after <= before for after, before in zip(left, lengths, strict=True))
    assert shorten(StragglerPolicy(), began, lengths, joins) == lengths
    allowed = [min(n, policy.budget or n) for n in lengths]
    whole = sum(a == b for a, b in zip(left, allowed, strict=True))
    assert whole >= math.ceil(min(policy.quorum or 1, 0.5 if policy.patience else 1) * len(lengths))
    assert all(  # before the planner waits nobody is cut off by the others
        a == b or start + a >= joins for start, a, b in zip(began, left, allowed, strict=True)
    )


def test_the_ideal_of_each_rule_by_hand() -> None:
    lengths = [10, 20, 40, 100]
    assert shorten(StragglerPolicy(budget=30), [0] * 4, lengths) == [10, 20, 30, 30]
    assert shorten(StragglerPolicy(patience=3), [0] * 4, lengths) == [10, 20, 40, 60]
    assert shorten(StragglerPolicy(patience=3), [0, 0, 0, 5], lengths) == [10, 20, 40, 60]
    assert shorten(StragglerPolicy(quorum=0.75), [0, 0, 0, 5], lengths) == [10, 20, 40, 35]
    assert shorten(StragglerPolicy(quorum=0.75), [0] * 4, lengths, joins=70) == [10, 20, 40, 70]
    shape = TrajectoryShape(1, (StageShape((5, 5), 2, (10, 90)),), 3)
    assert shape.cut(StragglerPolicy(quorum=0.5)).stages[0].executions == (10, 5)
    assert shape.cut(StragglerPolicy(budget=20)).sequential == 10 + 20 + 3


@settings(max_examples=40)
@given(shapes, st.integers(1, 9))
def test_a_replay_under_a_budget_is_the_recording_but_for_what_was_cut(shape: TrajectoryShape, budget: int) -> None:
    policy, backend = StragglerPolicy(budget=budget), ReplayBackend(Wordy(), shape)  # type: ignore[arg-type]
    question = ReplayQuestion("1", filler_text(3, 1), "", "", shape)
    trajectory = sprint_program.run(question.text, backend=backend, straggler=policy).trajectory
    assert trajectory.sequential_tokens == shape.cut(policy).sequential
    task = Replay(DataSource("x.jsonl"), "response", 1.0, 4.0)
    grade = task.grade_run(question, trajectory)
    assert grade.correct
    assert grade.reason == (
        f"{trajectory.cancelled_count} executions were cut off" if trajectory.cancelled_count else ""
    )
    other = replace(shape, answer=shape.answer + 1)
    assert not task.grade_run(replace(question, shape=other), trajectory).correct
