"""Progress in places that are no terminal, and what a run's log says of a training."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from sprint_sgl import progress as module
from sprint_sgl.progress import progress_bars, progress_line
from tests.fakes.waiting import wait_for
from training.progress import step_details
from training.record import read_log


def test_a_line_says_what_is_done_how_fast_and_how_long_it_still_takes() -> None:
    clock = iter([0.0, 20.0, 20.0, 20.0, 20.0])
    progress = Progress(get_time=lambda: next(clock))
    progress.add_task("answers", total=100, completed=10, details="sprint 90%")
    task = progress.tasks[0]
    task.completed = 50
    line = progress_line(task, begun_at=10)
    assert line == "answers: 50 of 100, 2.0/s, 0:00:25 left, sprint 90%"


def test_the_rate_leaves_out_what_was_done_and_waited_before() -> None:
    clock = iter([0.0, 90.0])
    progress = Progress(get_time=lambda: next(clock))
    progress.add_task("step", total=100, details="loss 1")
    task = progress.tasks[0]
    task.completed = 30
    assert progress_line(task, begun_at=10, begun_after=80.0) == "step: 30 of 100, 2.0/s, 0:00:35 left, loss 1"


def test_a_line_says_how_long_nothing_has_been_done_yet() -> None:
    clock = iter([0.0, 90.0, 90.0])
    progress = Progress(get_time=lambda: next(clock))
    progress.add_task("step", total=None, details="loading")
    assert progress_line(progress.tasks[0]) == "step: loading, 0:01:30 so far"


def test_a_file_gets_plain_lines_while_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY", 0.01)
    file = io.StringIO()
    with progress_bars(TextColumn("bar"), console=Console(file=file)) as bars:
        task = bars.add_task("answers", total=3)
        bars.advance(task)
        wait_for(lambda: "answers: 1 of 3" in file.getvalue(), 60)
    assert file.getvalue().splitlines()[0] == "answers: 1 of 3"


def test_a_trainings_line_has_its_last_losses_and_its_speed(tmp_path: Path) -> None:
    lines = [
        {"loss": 2.0, "tokens_per_second": 90, "remaining_time": "2m", "global_step/max_steps": "50/150"},
        {"eval_loss": 1.5, "global_step/max_steps": "50/150"},
        {"loss": 1.0, "tokens_per_second": 1100, "remaining_time": "1m", "global_step/max_steps": "100/150"},
    ]
    (tmp_path / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert step_details(read_log(tmp_path)) == "loss 1.0000, evaluation loss 1.5000, 1,100 tokens/s"
