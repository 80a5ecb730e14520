"""Turns a Hydra config into one ms-swift run (paper, appendix A.3): we compose the command, ms-swift trains.

    python -m training.train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint

The command is printed and kept as `command.sh` in the run's folder. A run that was interrupted goes on
from its last checkpoint when it is started again.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sprint_sgl.config import changed, entry_point
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.supervisor import supervised
from sprint_sgl.storage.checkpoints import MODEL_NOTES, last_checkpoint, model_notes, model_type, trainer_state, weights
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import TRAINING, alone, output_folder
from training.card import write_card
from training.machines import Machines, processor_has_bf16
from training.preflight import check
from training.record import draw, record
from training.tree.rows import TREE_TEMPLATE

# Arguments that do not change what has been learned so far.
MAY_CHANGE = {"max_steps", "num_train_epochs", "save_steps", "save_total_limit", "logging_steps", "report_to"}
MAY_CHANGE |= {"eval_strategy", "eval_steps", "per_device_eval_batch_size", "dataloader_num_workers"}
PLUGINS = Path(__file__).with_name("plugins")


@dataclass
class Recipe:
    """`args` are ms-swift's own arguments, `env` the environment that they need, `base` is what it fine-tunes.

    `notes` say how the model is to be used (sprint.json of the run); without them those of the model it begins from.
    """

    args: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    base: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def ready(self) -> dict[str, Any]:
        """The arguments with bf16=auto decided: on a CPU where the processor multiplies in it, on a GPU always."""
        if self.args.get("bf16") != "auto":
            return dict(self.args)
        return {**self.args, "bf16": not self.args.get("use_cpu") or processor_has_bf16()}


@dataclass
class Config:
    model: str
    dataset: str
    out: str
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    dry_run: bool = False  # only prints the command


def rows_of(config: Config) -> list[Path]:
    """The files that are trained on and evaluated on."""
    return [Path(f"{config.dataset}.{split}.jsonl") for split in ("train", "valid")]


def compose(config: Config) -> list[str]:
    """The ms-swift command of that run, resuming where a checkpoint exists."""
    folder = weights(config.model)
    args: dict[str, Any] = {
        "model": absolute(folder),
        "model_type": model_type(folder),
        "dataset": str(rows_of(config)[0].absolute()),
        "val_dataset": str(rows_of(config)[1].absolute()),
        "output_dir": str(Path(config.out).absolute()),
        "add_version": False,
        "external_plugins": [str(PLUGINS / f"{name}.py") for name in plugins(config.recipe.args)],
        "callbacks": "throughput",
        "include_num_input_tokens_seen": True,
        **config.recipe.ready(),
    }
    if checkpoint := last_checkpoint(Path(config.out)):
        args["resume_from_checkpoint"] = str(checkpoint.absolute())
    flags = [word for key, value in args.items() if value is not None for word in (f"--{key}", *_words(value))]
    if not (config.machines.several or args.get("deepspeed")):  # DeepSpeed expects a process group, even of one
        return [sys.executable, "-m", "swift.cli.sft", *flags]
    entry = "training.gloo" if args.get("use_cpu") else "swift.cli.sft"
    return [sys.executable, *config.machines.torchrun(), "-m", entry, *flags]


def plugins(args: Mapping[str, Any]) -> list[str]:
    """The names of our plugins of ms-swift that a run with these arguments needs."""
    return ["throughput", *([TREE_TEMPLATE] if args.get("template") == TREE_TEMPLATE else [])]


def absolute(folder: Path) -> str:
    """The model's place from any folder, or its name on the hub."""
    return str(folder.absolute() if folder.exists() else folder)


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    if isinstance(value, dict):
        return [json.dumps(value)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def shell_line(config: Config) -> str:
    """The command with its environment, to be pasted into a shell."""
    environment = [f"{key}={shlex.quote(value)}" for key, value in config.recipe.env.items()]
    return " ".join([*environment, shlex.join(compose(config))])


def claim(out: Path, made: Mapping[str, Any]) -> None:
    """Raises BadInput if checkpoints there, from which the run would go on, are of another run than this one."""
    path = out / "run.json"
    if not last_checkpoint(out):
        return
    before = json.loads(path.read_text())
    models = [each["weights"] or each["settings"]["model"] for each in (before, made)]  # one on the hub has a name only
    if models[0] != models[1]:
        raise BadInput(f"{out} holds a run from other weights: choose another out=FOLDER, or remove it")
    devices = [Machines(**each["settings"]["machines"]).devices for each in (before, made)]
    if devices[0] != devices[1]:
        raise BadInput(f"{out} holds a run on {devices[0]} devices, whose batches {devices[1]} would not repeat")
    if [file["sha256"] for file in before["data"].values()] != [file["sha256"] for file in made["data"].values()]:
        raise BadInput(f"{out} holds a run on other rows: choose another out=FOLDER, or remove it")
    old, new = (each["settings"]["recipe"]["args"] for each in (before, made))
    if others := sorted(set(changed(old, new)) - MAY_CHANGE):
        key = others[0]
        raise BadInput(
            f"{out} holds a run with {key}={old.get(key)}, which goes on as it began: "
            f"choose another out=FOLDER for {key}={new.get(key)}"
        )


def finished(out: Path, args: Mapping[str, Any]) -> int | None:
    """The last step of a run that has nothing left to do; ms-swift would train one more."""
    checkpoint = last_checkpoint(out)
    state = trainer_state(checkpoint) if checkpoint else None
    if state is None:
        return None
    most = int(args.get("max_steps", -1))
    if most <= 0:  # epochs decide
        same = state.get("num_train_epochs") == math.ceil(float(args.get("num_train_epochs", 3)))
        most = int(state["max_steps"]) if same else sys.maxsize
    return int(state["global_step"]) if state["global_step"] >= most else None


def train(config: Config) -> int:
    """Runs the command in the foreground; returns its exit status. Raises BadInput before anything loads."""
    config.machines.check(config.recipe.args)
    out = output_folder(config.out, TRAINING)
    for note in check(config.model, rows_of(config), out, config.recipe.args):
        say(note)
    made = record(asdict(config), weights(config.model), rows_of(config))
    claim(out, made)
    if step := finished(out, config.recipe.args):
        say(f"{out} has been trained to its end, step {step}")
        return 0
    command, line = compose(config), shell_line(config)
    leads = config.machines.place[0] == 0
    if leads:
        keep(out, config, made, line)
    print(line, flush=True)
    try:
        with supervised(command, env=os.environ | config.recipe.env) as supervisor:
            code = supervisor.wait()
        if code:
            say(f"ms-swift ended with status {code}: what it said stands above", style="red")
        return code
    finally:
        if leads:
            draw(out)
            write_card(out)


def keep(out: Path, config: Config, made: Mapping[str, Any], line: str) -> None:
    """What the run is: its first command stays as it was, later starts are added to its record."""
    path = out / "run.json"
    before = json.loads(path.read_text()).get("starts", []) if path.is_file() and last_checkpoint(out) else []
    start = {"versions": made["versions"], "commit": made["commit"], "command": line}
    files = {"run.json": json.dumps({**made, "starts": [*before, start]}, indent=2)}
    if not before:
        files["command.sh"] = line
    if notes_of_model := config.recipe.notes or model_notes(str(weights(config.model))):
        files[MODEL_NOTES] = json.dumps(notes_of_model, indent=2)
    for name, text in files.items():
        with whole_file(out / name) as file:
            file.write(text + "\n")
    for link in ("best", "last"):  # ms-swift makes them anew at the end, and stumbles over old ones
        (out / link).unlink(missing_ok=True)


@entry_point("train", Config)
def main(config: Config) -> None:
    if config.dry_run:
        config.machines.check(config.recipe.args)
        if Path(config.out).exists():
            output_folder(config.out, TRAINING)
        print(shell_line(config))
        return
    if config.machines.place[0]:  # the first node holds the folder for all of them
        code = train(config)
    else:
        with alone(config.out, TRAINING):
            code = train(config)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
