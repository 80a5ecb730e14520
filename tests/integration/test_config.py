"""Entry points that take Hydra overrides answer a mistake in one clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sprint_sgl.bench.config import BenchConfig
from sprint_sgl.config import dictionary_keys, open_overrides
from training.train import TrainConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["training.mini", "rows=[README.md]", "weights=nowhere"], "weights=nowhere: neither a model"),
        (["training.mini"], "rows is missing: give rows=..."),
        (["training.mini", "rows=[nowhere.jsonl]"], "nowhere.jsonl does not exist"),
        (["training.export", "out=x"], "checkpoint is missing: give checkpoint=..."),
        (["training.train", "model=m"], "dataset is missing: give dataset=... and out=..."),
        (["training.train", "recipe=papr"], "Could not find 'recipe/papr'. Available options in 'recipe': authors, "),
        (["training.train", "recipe=papr"], "qlora, did you mean paper?"),
        (["training.train", "machines.procesess=2"], "'procesess' is none of address, nodes, port, processes, rank"),
        (["training.train", "--recipe", "paper"], "no option --recipe: settings are written recipe=VALUE"),
        (["training.train", "modle=m"], "model, out, recipe, did you mean model?"),
        (["training.train", "dry_run=true", "dataset=x", "out=work/nothing"], "model is missing: this recipe has no"),
        (["training.train", "machines.processes=two"], "Value 'two' of type 'str' could not be converted to Integer"),
        (["training.mini", "rows=[README.md]", "out=models"], "and no run of training.mini: give a new or an empty"),
        (["training.export", "checkpoint=countdown-mini-rft", "out=."], "and no run of training.export"),
        (["curation.countdown.rows", "out=tests"], "and no run of curation.countdown.rows"),
        (["curation.merge", "source.path=x", "shards=2", "out="], "out= is empty"),
        (["curation.self_training", "records=README.md", "seeds=README.md", "tokenizer=x", "out=."], "out=. holds "),
        (["benchmarks.soak", "--out", "tests"], "--out tests holds "),
        (["benchmarks.bench_throughput", "--out", ""], "--out is empty"),
        (["benchmarks.bench_gateway", "--out", "README.md"], "--out README.md cannot be a folder"),
        (["benchmarks.gpu.run", "--out", "."], "--out . holds "),
        (["training.train", "model=[x"], "'model=[x' does not read as KEY=VALUE"),
    ],
)
def test_a_value_left_out_or_wrong_is_one_clear_line(command: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_dictionaries_take_new_keys_and_everything_else_does_not() -> None:
    words = ["recipe.args.warmup_steps=3", "+recipe.env.A=1", "recipe.args={seed: 2}"]
    others = ["recipe=paper", "out=x", "~recipe.args.seed"]
    opened = ["++recipe.args.warmup_steps=3", "++recipe.env.A=1", "++recipe.args={seed: 2}"]
    assert open_overrides(TrainConfig, words + others) == opened + others
    assert set(dictionary_keys(BenchConfig)) == {"runtime.args", "runtime.env"}  # weights has the programs' names
