"""Claims about where the time of a run goes: the parts add up to its wall clock; what nobody waited for is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sprint_sgl.bench.profile import mean_profile, profile
from sprint_sgl.bench.report.profiles import profile_table
from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Timing, Trajectory
from tests.fakes.runs import record, write_run

HTTP = 0.01


def call(start: float, tokens: int, decode: float) -> Call:
    """A request of 10 ms in HTTP, 2 ms each of tokenising and queue, 5 ms of prefill and 1 ms of reply."""
    timing = Timing(0.002, 0.002, 0.005, decode, 0.001)
    return Call(completion_tokens=tokens, start=start, end=start + timing.total + HTTP, timing=timing)


def run(*, second: float = 0.5, stamped: bool = True) -> Trajectory:
    """A plan of two pieces; the executors start behind each of them, the second decodes for `second` seconds."""
    first = call(0.1, 10, 0.1)
    rest = call(first.end, 12, 0.12)
    executors = (call(first.end, 20, 0.2), call(rest.end, 50, second))
    joined = max(rest.end, *(each.end for each in executors))
    answer = call(joined + 0.03, 5, 0.05)
    stage = Stage(
        (Prompt("a", offset=10), Prompt("b", offset=22)),
        tuple(Execution("x", call=each) for each in executors),
        "",
        (first, rest),
    )
    if not stamped:
        answer = Call(completion_tokens=5, start=answer.start, end=answer.end)
    return Trajectory("q", (stage,), "42", answer_calls=(answer,), seconds=answer.end + 0.02)


def test_the_parts_add_up_to_the_wall_clock() -> None:
    found = profile(run())
    assert found is not None
    assert found.seconds == pytest.approx(run().seconds)
    assert found.program == pytest.approx(0.1 + 0.03 + 0.02)
    assert (found.calls, found.tokens) == (4, 10 + 12 + 50 + 5)
    assert found.decode == pytest.approx(0.1 + 0.12 + 0.5 + 0.05)
    assert found.prefill == pytest.approx(4 * 0.005)
    assert found.http == pytest.approx(4 * (HTTP + 0.001))


def test_what_nobody_waited_for_is_not_counted() -> None:
    found = profile(run(second=0.01))
    assert found is not None
    assert found.tokens == 10 + 20 + 5  # the first executor ends last
    assert found.seconds == pytest.approx(run(second=0.01).seconds)


def test_a_run_without_the_runtimes_stamps_has_no_profile() -> None:
    assert profile(run(stamped=False)) is None
    assert profile(replace(run(), seconds=0.0)) is None
    timeless = [replace(call, start=0.0, end=0.0) for call in run().answer_calls]
    assert profile(replace(run(), answer_calls=tuple(timeless))) is None
    assert profile(Trajectory("q")) is None


def test_a_mean_is_over_questions() -> None:
    profiles = [found for second in (0.5, 0.7) if (found := profile(run(second=second)))]
    assert mean_profile(profiles).decode == pytest.approx(0.1 + 0.12 + 0.6 + 0.05)
    assert mean_profile(profiles).step == pytest.approx(0.87 / 77)


def test_a_table_says_how_many_answers_it_is_taken_from(tmp_path: Path) -> None:
    kept = [replace(record(k, "sprint"), trajectory=run(stamped=k > 0)) for k in range(3)]
    shown = Console(width=100, file=StringIO())
    shown.print(profile_table(write_run(tmp_path / "run", kept)))
    text = shown.file.getvalue()
    assert re.search(r"answers with stamps +2 of 3", text)
    assert re.search(rf"all +{run().seconds:.3f}", text)
    assert "as fast as alone" not in text
    thought = Trajectory("q", answer_calls=(call(0.1, 10, 0.1),), seconds=0.2, launch="sequential")
    beside = [*kept, *(replace(record(k, "my_thought"), trajectory=thought) for k in range(3))]
    shown.print(profile_table(write_run(tmp_path / "beside", beside)))
    assert "as fast as alone" in shown.file.getvalue()
    unstamped = write_run(tmp_path / "unstamped", [replace(kept[0], id=str(k)) for k in range(2)])
    with pytest.raises(BadInput, match="has no time stamps"):
        profile_table(unstamped)
