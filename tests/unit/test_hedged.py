"""A sequential thought beside SPRINT: the first to end answers, the other is stopped and counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from programs import hedged_program
from sprint_sgl.errors import BadInput, ProgramFailed
from sprint_sgl.lang.program import Run
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.trajectory import Trajectory
from tests.fakes.scripted import ScriptedBackend
from tests.fakes.uneven import UNEVEN, model

pytestmark = pytest.mark.filterwarnings("ignore:Error in stream_executor")
SEQUENTIAL = prompt_style("sprint").sequential
THOUGHT = "It is three, I think.\n</think>\n\n\\boxed{3}"


def is_thought(context: str) -> bool:
    return context.startswith(SEQUENTIAL)


def both(context: str) -> str:
    return THOUGHT if is_thought(context) else model(context)


def ask(thinking: float, planning: float, script: Callable[[str], str] = both, **options: object) -> Run:
    """Run with a thought that takes `thinking` seconds and a planner whose calls take `planning` seconds each."""
    backend = ScriptedBackend(script, pause=lambda context: thinking if is_thought(context) else planning)
    run = hedged_program.run("How much is it?", backend=backend, **options)
    assert sum(not request.context.startswith(SEQUENTIAL) for request in backend.requests) <= 20
    return run


@pytest.mark.parametrize("stream", [False, True])
def test_a_short_thought_answers_and_stops_the_planner(stream: bool) -> None:
    seen: list[str] = []
    run = ask(thinking=0.2, planning=10.0, stream=stream, watch=lambda branch, text: seen.append(text))
    trajectory = run.trajectory
    assert (run["answer"], trajectory.launch, trajectory.stages) == ("3", "sequential", ())
    assert trajectory.thought == "It is three, I think."
    assert trajectory.seconds < 8.0
    assert trajectory.sequential_tokens == trajectory.answer_tokens
    assert trajectory.total_tokens == trajectory.answer_tokens + sum(
        call.completion_tokens for call in trajectory.beside
    )
    assert [call.finish for call in trajectory.beside] == ["abort"]
    assert "".join(seen) == THOUGHT
    assert Trajectory.from_json(trajectory.to_json()) == trajectory


def test_a_planner_that_ends_first_answers_and_stops_the_thought() -> None:
    run = ask(thinking=10.0, planning=0.01)
    trajectory = run.trajectory
    assert (run["answer"], trajectory.launch, len(trajectory.stages)) == ("2", "eager", len(UNEVEN.stages))
    assert trajectory.seconds < 8.0
    assert [call.finish for call in trajectory.beside] == ["abort"]
    alone = sum(call.completion_tokens for stage in trajectory.stages for call in stage.calls)
    assert trajectory.sequential_tokens <= alone + trajectory.answer_tokens < trajectory.total_tokens


@pytest.mark.parametrize("limit", ["thought_tokens", "max_tokens"])
def test_a_thought_that_reaches_its_limit_is_given_up(limit: str) -> None:
    run = ask(thinking=0.0, planning=0.02, **{limit: 4})
    assert (run["answer"], run.trajectory.launch) == ("2", "eager")
    assert [(call.finish, call.completion_tokens) for call in run.trajectory.beside] == [("length", 4)]


def test_a_thought_that_fails_leaves_the_planner_alone() -> None:
    def failing(context: str) -> str:
        if is_thought(context):
            raise OSError("no thought today")
        return model(context)

    run = ask(thinking=0.0, planning=0.01, script=failing)
    assert (run["answer"], run.trajectory.beside) == ("2", ())


def test_a_planner_that_fails_is_the_runs_error_and_leaves_no_thread() -> None:
    def failing(context: str) -> str:
        if not is_thought(context):
            raise OSError("no plan today")
        return THOUGHT

    before = threading.active_count()
    with pytest.raises(ProgramFailed, match="planner, stage 1"):
        ask(thinking=1.0, planning=0.0, script=failing)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_a_thought_without_tokens_is_refused() -> None:
    with pytest.raises(BadInput, match=r"thought_tokens must be a whole number from 1 to .*, got 0"):
        ask(0.0, 0.0, thought_tokens=0)
