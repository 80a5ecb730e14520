"""Reinforcement learning on a real runtime with ms-swift: two rounds, killed in the second, started again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sprint_sgl.bench.records import read_records
from sprint_sgl.storage.checkpoints import last_checkpoint, trainer_state
from tests.fakes.waiting import wait_for

pytestmark = [pytest.mark.training, pytest.mark.runtime]
ROOT = Path(__file__).parents[2]
START_LIMIT = 1800.0  # seconds


def command(out: Path) -> list[str]:
    """Seconds as the measure and a high temperature: no two rollouts are alike, so there is something to learn.

    In float32, as the runtime's: in bfloat16 the two disagree by up to 2e-5.
    """
    words = """
        task=countdown task.split=train task.numbers=[3] task.problems=4
        evaluation_task.numbers=[3] evaluation_task.problems=2
        evaluation.questions=2 evaluation.every=9 evaluation.stop_below=100
        rl.rounds=2 rl.questions=1 rl.group_size=3 rl.updates=1 rl.temperature=1.5 rl.kl=0.01
        reward.measure=seconds model=countdown-mini-sprint recipe.args.warmup_steps=0 recipe.args.bf16=false
    """
    return [sys.executable, "-m", "sprint_sgl.cli.app", "rl", *words.split(), f"out={out}"]


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in everyone:
        each.kill()
    process.wait()
    psutil.wait_procs(everyone, 30)


def test_a_training_that_is_killed_goes_on_with_the_same_round(tmp_path: Path) -> None:
    out = tmp_path / "rl"
    first, second = (out / "rounds" / name / "records.jsonl" for name in ("0000", "0001"))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command(out), cwd=ROOT, stdout=log, stderr=log)
    wait_for(lambda: process.poll() is not None or (second.is_file() and second.stat().st_size > 0), START_LIMIT)
    assert process.poll() is None, (tmp_path / "log").read_text()
    kill_tree(process)
    before = first.read_bytes(), second.read_bytes().rpartition(b"\n")[0]
    done = subprocess.run(command(out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + (out / "train.log").read_text()[-3000:]
    assert first.read_bytes() == before[0]
    assert second.read_bytes().startswith(before[1])
    assert [len(read_records(path)) for path in (first, second)] == [3, 3]
    checkpoint = last_checkpoint(out)
    assert checkpoint
    state = trainer_state(checkpoint)
    assert state
    assert state["global_step"] == 2
    figures = {key: value for line in (out / "logging.jsonl").open() for key, value in json.loads(line).items()}
    assert abs(figures["policy/kl"]) < 1e-5  # the runtime's log-probabilities are the trainer's
    assert figures["policy/clipped"] == 0
    assert 0 < figures["policy/drift"] < 0.1  # of the second round, after one small step
    assert figures["evaluation/correct"] >= 0
    for folder in ("policy", "best_policy"):
        assert {"sprint.json", "model.safetensors", "tokenizer.json"} <= {
            path.name for path in (out / folder).iterdir()
        }
    other = [*command(out), "rl.credit=trajectory"]
    refused = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "choose another out=FOLDER" in refused.stderr
