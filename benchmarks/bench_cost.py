"""Compare the estimate of `sprint-sgl train cost` with real trainings: .venv/bin/python benchmarks/bench_cost.py

Runs four trainings of a shipped mini model (activations) and one of 57 M parameters under ZeRO-3 (weights, gradients
and optimiser), two steps each, each in its own process. Takes about four minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.progress import track
from rich.table import Table

from sprint_sgl.console import notes, one_line_errors, screen
from sprint_sgl.runtime.server import free_port
from training.estimate.cost import CostConfig, Device, TrainingEstimate
from training.machines import Machines
from training.mini import MiniShape, init_weights
from training.train import Recipe, TrainConfig, compose_command

ROOT = Path(__file__).parents[1]
MINI = ROOT / "models" / "countdown-mini-sprint"
SCRIPT = ROOT / "benchmarks" / "peak_memory.py"
# Freed memory is returned at once, so that the process holds no more than its tensors.
ENV = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
ENV |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """A training: `rows` rows of `length` tokens a step, with changes to the recipe's arguments."""

    name: str
    model: Path
    rows: int
    length: int
    args: dict[str, Any]


@dataclass(frozen=True)
class MemoryComparison:
    """MiB estimated and measured."""

    case: Case
    what: str
    estimated: float
    measured: float


def write_rows(path: Path, count: int, length: int) -> None:
    """Write rows of exactly `length` tokens: each digit is one token, and the end token is one more."""
    half = length // 2
    said = {"user": "1" * half, "assistant": "2" * (length - half - 1)}
    row = {"messages": [{"role": role, "content": content} for role, content in said.items()]}
    for split in ("train", "valid"):
        path.with_name(f"{path.name}.{split}.jsonl").write_text((json.dumps(row) + "\n") * count)


def train_case(case: Case, folder: Path) -> tuple[TrainingEstimate, dict[str, float]]:
    """Return the estimate for a case, and the bytes that its training took."""
    recipe = yaml.safe_load((ROOT / "conf/recipe/countdown_mini.yaml").read_text())
    args = recipe["args"] | case.args | {"per_device_train_batch_size": case.rows, "max_length": 4096, "max_steps": 2}
    args |= {"eval_strategy": "no", "save_strategy": "no", "group_by_length": False}
    data, found = folder / "rows", folder / "found.json"
    write_rows(data, 2 * case.rows, case.length)
    config = CostConfig(
        str(case.model), str(data), recipe=Recipe(args), device=Device(16, 1, overhead=0, communication=0, fragments=0)
    )
    machines = Machines(port=free_port())
    command = compose_command(TrainConfig(config.model, str(data), str(folder / "out"), config.recipe, machines))
    entry = max(at for at, word in enumerate(command) if word == "-m")
    command[entry : entry + 2] = [str(SCRIPT), str(found)]
    subprocess.run(command, env=os.environ | recipe["env"] | ENV, check=True, capture_output=True)
    return TrainingEstimate(config), json.loads(found.read_text())


def compare(case: Case, folder: Path) -> Iterator[MemoryComparison]:
    """Yield what the case compares: states under DeepSpeed, otherwise activations and gradients."""
    estimate, measured = train_case(case, folder)
    memory = estimate.memory(case.length)
    if "deepspeed" in case.args:
        yield MemoryComparison(case, "weights, gradients, optimiser", memory.states / MIB, measured["states"] / MIB)
    else:
        step = memory.activations + memory.gradients
        yield MemoryComparison(case, "activations and gradients", step / MIB, measured["peak"] / MIB)


def cases(folder: Path) -> Iterator[Case]:
    for rows, length, checkpointing in ((8, 1024, False), (8, 2048, False), (2, 4000, False), (8, 2048, True)):
        name = f"{rows} rows of {length}" + ", checkpointing" * checkpointing
        yield Case(name, MINI, rows, length, {"gradient_checkpointing": checkpointing})
    shape = MiniShape(hidden_size=768, layers=8, heads=12, kv_heads=12, intermediate_size=2048)
    for file in MINI.glob("token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    init_weights(folder, 455, shape, seed=1)
    yield Case("57 M parameters, ZeRO-3", folder, 1, 16, {"deepspeed": "zero3"})


def main() -> None:
    table = Table("training", "what", "estimated, MiB", "measured, MiB", "ratio")
    with tempfile.TemporaryDirectory() as name:
        (base := Path(name) / "base").mkdir()
        for number, case in enumerate(track(list(cases(base)), "training", console=notes)):
            (folder := Path(name) / str(number)).mkdir()
            for found in compare(case, folder):
                ratio = f"{found.estimated / found.measured:.2f}"
                table.add_row(case.name, found.what, f"{found.estimated:.0f}", f"{found.measured:.0f}", ratio)
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
