"""Experiments: steps run in order and once, what is interrupted goes on, and every shipped one can be composed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sprint_sgl.errors import BadInput
from sprint_sgl.experiment import CONF, Config, Experiment, run, words
from sprint_sgl.settings import settings

ROWS = "curation.countdown_rows problems.three=3 problems.four=0 validation=1"


def experiment(out: Path, **steps: list[str]) -> Config:
    return Config(str(out), Experiment(steps))


def test_a_step_is_done_once_until_it_or_one_before_it_reads_otherwise(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "traces.jsonl", tmp_path / "second" / "traces.jsonl"
    steps = {"one": [f"{ROWS} out={first.parent}"], "two": [f"{ROWS} out={second.parent}"]}
    run(experiment(tmp_path, **steps))
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    run(experiment(tmp_path, **steps))
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == before
    run(experiment(tmp_path, **steps | {"two": [f"{ROWS} problems.seed=2 out={second.parent}"]}))
    assert first.stat().st_mtime_ns == before[0]
    assert second.stat().st_mtime_ns > before[1]
    changed = second.stat().st_mtime_ns
    run(experiment(tmp_path, one=[f"{ROWS} problems.seed=2 out={first.parent}"], two=steps["two"]))
    assert second.stat().st_mtime_ns > changed


def test_commands_of_a_step_run_side_by_side_and_a_failure_shows_its_log(tmp_path: Path) -> None:
    good, bad = f"{ROWS} out={tmp_path / 'good'}", f"{ROWS} no_such_value=1"
    with pytest.raises(BadInput, match="no_such_value"):
        run(experiment(tmp_path, rows=[good, bad]))
    assert (tmp_path / "good" / "traces.jsonl").is_file()
    assert "1 rows" in (tmp_path / "logs" / "rows-1.log").read_text()
    assert not (tmp_path / "steps.json").exists()
    run(experiment(tmp_path, rows=[good, f"{ROWS} out={tmp_path / 'other'}"]))
    assert list(json.loads((tmp_path / "steps.json").read_text())) == ["rows"]


def test_only_our_entry_points_can_be_steps(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'os' is no entry point"):
        run(experiment(tmp_path, rows=[f"{ROWS} out={tmp_path}"], bad=["os system"]))
    assert not (tmp_path / "traces.jsonl").exists()


def test_nothing_is_left_behind_by_an_experiment_that_is_stopped(tmp_path: Path) -> None:
    """Two commands that would run for long; the experiment is interrupted as Ctrl-C does."""
    step = json.dumps(
        {"rows": [f"curation.countdown_rows problems.four=900000 out={tmp_path / str(k)}" for k in (1, 2)]}
    )
    code = f"from sprint_sgl.experiment import *; run(Config({str(tmp_path)!r}, Experiment({step})))"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    mark = str(tmp_path).encode()
    deadline = time.monotonic() + 30
    while len(with_word(mark)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    process.wait(30)
    assert with_word(mark) == []


def with_word(word: bytes) -> list[Path]:
    """The processes whose command line holds the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(CONF, "experiment").glob("*.yaml")))
def test_every_command_of_every_shipped_experiment_is_one_that_its_entry_point_takes(name: str, tmp_path: Path) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        config = settings(compose("experiment", [f"experiment={name}", f"out={tmp_path}"]), Config)
        for commands in config.experiment.steps.values():
            for command in commands:
                _, _, module, *overrides = words(command)
                __import__(module)
                composed = compose(module.rpartition(".")[2], overrides)
                assert composed.out.startswith(str(tmp_path))
