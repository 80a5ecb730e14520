"""Experiments: steps run in order and once, what is interrupted goes on, and every shipped one can be composed."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sprint_sgl.cli.experiment import Experiment, ExperimentConfig, process_arguments, run_experiment, run_step
from sprint_sgl.config import open_overrides, typed_settings
from sprint_sgl.errors import BadInput, CommandFailed
from sprint_sgl.storage.package_files import CONF
from tests.fakes.waiting import wait_for

ROWS = "curation.countdown.rows problems.three=3 problems.four=0 validation=1"


def experiment(out: Path, **steps: list[str]) -> ExperimentConfig:
    return ExperimentConfig(str(out), Experiment(steps))


def test_a_step_is_done_once_and_one_that_failed_again(tmp_path: Path) -> None:
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    steps = {"one": [f"{ROWS} out={first}"], "two": [f"{ROWS} out={second}/below"]}
    second.write_text("a file where a folder should be")
    with pytest.raises(CommandFailed, match="two ended with exit status 1"):
        run_experiment(experiment(out, **steps))
    before = (first / "steps.jsonl").stat().st_mtime_ns
    second.unlink()
    run_experiment(experiment(out, **steps))
    assert (second / "below" / "steps.jsonl").is_file()
    assert (first / "steps.jsonl").stat().st_mtime_ns == before


def test_a_folder_holds_one_experiment_with_one_set_of_values(tmp_path: Path) -> None:
    run_experiment(experiment(tmp_path, one=[f"{ROWS} out={tmp_path}/one"]))
    for steps in ({"one": [f"{ROWS} problems.seed=2 out={tmp_path}/one"]}, {"two": [f"{ROWS} out={tmp_path}/two"]}):
        with pytest.raises(BadInput, match="contains this experiment with another step 'one'"):
            run_experiment(experiment(tmp_path, **steps))
    with pytest.raises(BadInput, match="must not contain spaces"):
        run_experiment(experiment(tmp_path / "my runs", one=[ROWS]))


def test_commands_of_a_step_run_side_by_side_and_a_failure_shows_its_log(tmp_path: Path) -> None:
    good, bad = f"{ROWS} out={tmp_path / 'good'}", f"{ROWS} no_such_value=1"
    with pytest.raises(CommandFailed, match="no_such_value"):
        run_experiment(experiment(tmp_path, rows=[good, bad]))
    assert (tmp_path / "good" / "steps.jsonl").is_file()
    assert "1 rows" in (tmp_path / "logs" / "rows-1.log").read_text()


def test_only_our_entry_points_can_be_steps(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'os' is not an entry point"):
        run_experiment(experiment(tmp_path, rows=[f"{ROWS} out={tmp_path}"], bad=["os system"]))
    assert not (tmp_path / "steps.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind_by_an_experiment_that_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """Two commands that would run for long; the experiment ends in one of the ways in which it can."""
    commands = [f"curation.countdown.rows problems.four=900000 out={tmp_path / str(k)}" for k in (1, 2)]
    step = json.dumps({"rows": commands})
    config = f"ExperimentConfig({str(tmp_path)!r}, Experiment({step}))"
    code = f"from sprint_sgl.cli.experiment import *; run_experiment({config})"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    mark = str(tmp_path).encode()
    try:
        wait_for(lambda: len(with_word(mark)) == 5, 30)  # it, two supervisors, two commands
        os.kill(process.pid, number)
        process.wait(30)
        wait_for(lambda: with_word(mark) == [], 30)
    finally:
        process.kill()


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
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed_settings(compose("experiment", [f"experiment={name}", f"out={tmp_path}"]), ExperimentConfig)
        for commands in config.experiment.steps.values():
            for command in commands:
                _, _, module, *overrides = process_arguments(command)
                entry = import_module(module)
                ((config_name, schema),) = re.findall(r'@entry_point\("(\w+)", (\w+)\)', inspect.getsource(entry))
                composed = compose(config_name, open_overrides(getattr(entry, schema), overrides))
                assert composed.out.startswith(str(tmp_path))


def test_commands_side_by_side_say_now_and_then_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sprint_sgl.cli.experiment.PLAIN_EVERY", 0.1)
    code = "import sys, time; print('step: 1 of 2', flush=True); time.sleep(float(sys.argv[1]))"
    logs = tmp_path / "logs"
    run_step("pair", [[sys.executable, "-c", code, "0"], [sys.executable, "-c", code, "3"]], logs)
    assert "pair-2: step: 1 of 2" in capsys.readouterr().err
