"""Turns a Hydra config into one ms-swift run (paper, appendix A.3): we compose the command, ms-swift trains.

    python -m training.train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint

The command is printed and kept as `command.sh` in the run's folder. A run that was interrupted goes on
from its last checkpoint when it is started again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore

from sprint_sgl.console import one_line_errors
from sprint_sgl.errors import BadInput
from sprint_sgl.settings import settings

CONF = str(Path(__file__).parents[1] / "conf")
SLURM = "slurm"


@dataclass
class Recipe:
    """`args` are ms-swift's own arguments, `env` the environment that they need, `base` is what it fine-tunes."""

    base: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Machines:
    """Where it runs: so many processes (devices) on each of so many nodes; this node's rank, and the first's address.

    `address: slurm` takes rank and address from the Slurm job that this is a task of.
    """

    processes: int = 1
    nodes: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int = 29500

    def torchrun(self) -> list[str]:
        """torchrun's arguments; none where one process does."""
        if self.processes * self.nodes == 1:
            return []
        rank, address = self.rank, self.address
        if address == SLURM:
            from submitit import JobEnvironment

            job = JobEnvironment()
            rank, address = job.node, job.hostnames[0]
        where = ["--node_rank", str(rank), "--master_addr", address] if self.nodes > 1 else []
        sizes = ["--nnodes", str(self.nodes), "--nproc_per_node", str(self.processes)]
        return ["-m", "torch.distributed.run", *sizes, *where, "--master_port", str(self.port)]


@dataclass
class Config:
    model: str
    dataset: str
    out: str
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)


def last_checkpoint(out: Path) -> Path | None:
    """The newest complete checkpoint of a run, by its step."""
    found = [path.parent for path in out.glob("checkpoint-*/trainer_state.json")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def weights(model: str) -> str:
    """The model, or the last checkpoint where it is the folder of a run: a run can go on from another's end."""
    return str(last_checkpoint(Path(model)) or model)


def compose(config: Config) -> list[str]:
    """The ms-swift command of that run, resuming where a checkpoint exists."""
    args: dict[str, Any] = {
        "model": weights(config.model),
        "dataset": f"{config.dataset}.train.jsonl",
        "val_dataset": f"{config.dataset}.valid.jsonl",
        "output_dir": config.out,
        "add_version": False,
        **config.recipe.args,
    }
    if checkpoint := last_checkpoint(Path(config.out)):
        args["resume_from_checkpoint"] = str(checkpoint)
    flags = [word for key, value in args.items() for word in (f"--{key}", _word(value))]
    cpu = bool(config.recipe.args.get("use_cpu"))
    torchrun = config.machines.torchrun()
    return [sys.executable, *torchrun, "-m", "training.gloo" if cpu and torchrun else "swift.cli.sft", *flags]


def _word(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def check(config: Config) -> None:
    """Finds what would stop the run before anything loads. Raises BadInput."""
    if not config.model:
        raise BadInput("model is missing: this recipe has none of its own, give model=...")
    for split in ("train", "valid"):
        path = Path(f"{config.dataset}.{split}.jsonl")
        if not path.is_file() or not path.stat().st_size:
            problem = "is empty" if path.is_file() else "is not there"
            raise BadInput(f"{path} {problem}: dataset=FOLDER/NAME names NAME.train.jsonl and NAME.valid.jsonl")
    model = Path(weights(config.model))
    if model.exists() and not any(model.glob("*.safetensors")):
        raise BadInput(f"{model} holds no weights (*.safetensors)")
    out = Path(config.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be written to: {error.strerror}") from error
    if not os.access(out, os.W_OK):
        raise BadInput(f"{out} cannot be written to")


def train(config: Config) -> int:
    """Runs the command in the foreground; returns its exit status. Raises BadInput before anything loads."""
    check(config)
    out = Path(config.out)
    command = compose(config)
    line = shlex.join([*(f"{k}={v}" for k, v in config.recipe.env.items()), *command])
    (out / "command.sh").write_text(line + "\n")
    print(line, flush=True)
    return subprocess.run(command, env=os.environ | config.recipe.env, check=False).returncode


ConfigStore.instance().store("train_schema", Config)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def main(raw: Config) -> None:
    with one_line_errors():
        config = settings(raw, Config)
        sys.exit(train(config))


if __name__ == "__main__":
    main()
