"""Run one ms-swift training from a Hydra config (paper, appendix A.3): this module composes the command, ms-swift
trains.

    python -m training.train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint

The command and its output are kept in the run's folder (`command.sh`, `train.log`). An interrupted run continues from
its last checkpoint when it is started again.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from sprint_sgl.config import changed_keys, command_line, entry_point
from sprint_sgl.console import notes, say
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.supervisor import supervised
from sprint_sgl.storage.checkpoints import (
    MODEL_NOTES,
    last_checkpoint,
    model_notes,
    model_type,
    trainer_state,
    weights_folder,
)
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import TRAINING, locked_folder, output_folder
from training.card import ARGUMENTS, serving_commands, write_card
from training.machines import Machines, processor_has_bf16
from training.preflight import check_args, check_training, model_folder
from training.progress import LOG, follow_training, log_tail
from training.record import draw_curves, run_record
from training.report import write_training_report
from training.row_file import rows_kind
from training.tree.labels import TREE_TEMPLATE

# Arguments that a resumed run may change: they do not affect what has been learned so far.
MAY_CHANGE = {"max_steps", "num_train_epochs", "save_steps", "save_total_limit", "logging_steps", "report_to"}
MAY_CHANGE |= {"eval_strategy", "eval_steps", "eval_on_start", "per_device_eval_batch_size", "dataloader_num_workers"}
NO_EVALUATION = {"eval_strategy": "no", "eval_on_start": False, "load_best_model_at_end": False}
PLUGINS = Path(__file__).with_name("plugins")


@dataclass
class Recipe:
    """A recipe.

    args    ms-swift's own arguments, any of them
    env     environment variables that they need
    base    the model to fine-tune, unless model= names one
    notes   what sprint.json of the run says about the model's use; by default what the base model's says
    """

    args: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    base: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def resolved_args(self) -> dict[str, Any]:
        """Return the arguments with bf16=auto resolved: true on a GPU, and on a CPU that multiplies in bfloat16."""
        if self.args.get("bf16") != "auto":
            return dict(self.args)
        return {**self.args, "bf16": not self.args.get("use_cpu") or processor_has_bf16()}


@dataclass
class TrainConfig:
    """One ms-swift training.

    model     hub id, folder, or a run's folder (its best checkpoint, else its last)
    dataset   FOLDER/NAME for NAME.train.jsonl and NAME.valid.jsonl, which may be missing; or FILE.jsonl, all trained
    out       folder for checkpoints, the command and its log; a run that is started again goes on from there
    recipe    a name in conf/recipe
    dry_run   whether to only print the command; `sprint-sgl train check` looks at the rows
    """

    model: str
    dataset: str
    out: str
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    dry_run: bool = False


def data_files(config: TrainConfig) -> list[Path]:
    """Return the file of training rows and, if there is one with rows, the file of validation rows."""
    if config.dataset.endswith(".jsonl"):
        return [Path(config.dataset)]
    train, valid = (Path(f"{config.dataset}.{split}.jsonl") for split in ("train", "valid"))
    return [train, valid] if valid.is_file() and valid.stat().st_size else [train]


def compose_command(config: TrainConfig) -> list[str]:
    """Return the ms-swift command; it resumes from the last checkpoint in `out`, if any."""
    folder = weights_folder(config.model)
    train, *valid = [str(file.absolute()) for file in data_files(config)]
    args: dict[str, Any] = {
        "model": absolute_model(folder),
        "model_type": model_type(folder),
        "dataset": train,
        "output_dir": str(Path(config.out).absolute()),
        "add_version": False,
        "external_plugins": [str(PLUGINS / f"{name}.py") for name in plugin_names(config.recipe.args)],
        "callbacks": "throughput",
        "include_num_input_tokens_seen": True,
        **config.recipe.resolved_args(),
        **({"val_dataset": valid} if valid else {"split_dataset_ratio": 0}),
    }
    checkpoint = last_checkpoint(Path(config.out))
    if not valid or args.get("eval_strategy") == "no":
        args |= NO_EVALUATION
    elif checkpoint:  # the start has been evaluated
        args["eval_on_start"] = False
    if checkpoint:
        args["resume_from_checkpoint"] = str(checkpoint.absolute())
    flags = [word for key, value in args.items() if value is not None for word in (f"--{key}", *_words(value))]
    if not (config.machines.distributed or args.get("deepspeed")):  # DeepSpeed needs a process group, even of one
        return [sys.executable, "-m", "swift.cli.sft", *flags]
    entry = "training.gloo" if args.get("use_cpu") else "swift.cli.sft"
    return [sys.executable, *config.machines.torchrun_args(), "-m", entry, *flags]


def plugin_names(args: Mapping[str, Any]) -> list[str]:
    """Return the names of the ms-swift plugins that these arguments need."""
    return ["throughput", *([TREE_TEMPLATE] if args.get("template") == TREE_TEMPLATE else [])]


def absolute_model(folder: Path) -> str:
    """Return the model's absolute path, or its name on the hub."""
    return str(folder.absolute() if folder.exists() else folder)


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    if isinstance(value, dict):
        return [json.dumps(value)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def shell_line(config: TrainConfig) -> str:
    """Return the command with its environment variables, ready to paste into a shell."""
    environment = [f"{key}={shlex.quote(value)}" for key, value in config.recipe.env.items()]
    return " ".join([*environment, shlex.join(compose_command(config))])


def check_same_run(out: Path, record: Mapping[str, Any]) -> None:
    """Raise BadInput if `out` has checkpoints of another run: other weights, devices, rows or arguments."""
    path = out / "run.json"
    if not last_checkpoint(out):
        return
    before = json.loads(path.read_text())
    models = [each["weights"] or each["settings"]["model"] for each in (before, record)]  # a hub model has only a name
    if models[0] != models[1]:
        raise BadInput(f"{out} holds a run from other weights: choose another out=FOLDER, or remove the folder")
    devices = [Machines(**each["settings"]["machines"]).devices for each in (before, record)]
    if devices[0] != devices[1]:
        raise BadInput(
            f"{out} holds a run on {devices[0]} devices, whose batches cannot be continued on {devices[1]} devices"
        )
    if [file["sha256"] for file in before["data"].values()] != [file["sha256"] for file in record["data"].values()]:
        raise BadInput(f"{out} holds a run on other rows: choose another out=FOLDER, or remove the folder")
    old, new = (each["settings"]["recipe"]["args"] for each in (before, record))
    if others := sorted(set(changed_keys(old, new)) - MAY_CHANGE):
        key = others[0]
        raise BadInput(
            f"{out} holds a run with {key}={old.get(key)}, which cannot change when it is resumed: "
            f"choose another out=FOLDER for {key}={new.get(key)}"
        )


def finished_step(out: Path, args: Mapping[str, Any]) -> int | None:
    """Return the last step of a run that is complete, else None. ms-swift would train one step more."""
    checkpoint = last_checkpoint(out)
    state = trainer_state(checkpoint) if checkpoint else None
    if state is None:
        return None
    most = int(args.get("max_steps", -1))
    if most <= 0:  # epochs decide
        same = state.get("num_train_epochs") == math.ceil(float(args.get("num_train_epochs", 3)))
        most = int(state["max_steps"]) if same else sys.maxsize
    return int(state["global_step"]) if state["global_step"] >= most else None


def train(config: TrainConfig, *, on_rollouts: bool = False) -> int:
    """Run the command in the foreground and return its exit status. Raise BadInput before anything loads.

    on_rollouts   the trainer makes its own rows and evaluations, and knows when it is done (training/rl)
    """
    config.machines.check(config.recipe.args)
    out = output_folder(config.out, TRAINING)
    files = data_files(config)
    for note in check_training(config.model, files, out, config.recipe.args):
        say(note)
    if len(files) == 1 and not on_rollouts:
        say(f"no validation rows beside {files[0]}: the training is not evaluated")
    record = run_record(asdict(config), weights_folder(config.model), files)
    check_same_run(out, record)
    if not on_rollouts and (step := finished_step(out, config.recipe.args)):
        say(f"{out} is complete: trained to step {step}")
        return 0
    command, line = compose_command(config), shell_line(config)
    leads = config.machines.rank_and_address[0] == 0
    if leads:
        write_run_files(out, config, record, line)
    log = out / (LOG if leads else f"node{config.machines.rank_and_address[0]}-{LOG}")
    notes.print(recipe_table(config, record, log, unit="questions" if on_rollouts else "rows"))
    try:
        with (
            log.open("ab") as file,
            supervised(command, env=os.environ | config.recipe.env, stdout=file, stderr=subprocess.STDOUT) as process,
        ):
            code = follow_training(process, out)
        if code:
            if unknown := unknown_argument(log_tail(log)):
                raise BadInput(f"recipe.args.{unknown} is no argument of ms-swift: see its documentation, or {log}")
            say(f"ms-swift ended with status {code}; {log} ends:\n{log_tail(log)}", style="red")
        return code
    finally:
        if leads:
            draw_curves(out)
            report = write_training_report(out)
            if (card := write_card(out)) and last_checkpoint(out):
                serving = serving_commands(out, config.recipe.args)
                say(f"{card} is the model card, {report} its page. To use the model:\n{serving}")


def unknown_argument(log: str) -> str | None:
    """Return the first argument that ms-swift says it does not know."""
    found = re.search(r"remaining_argv: \['--(\w+)'", log)
    return found[1] if found else None


def recipe_table(config: TrainConfig, record: Mapping[str, Any], log: Path, *, unit: str) -> Table:
    """Return what is trained on what, with the arguments that matter most, and where the rest is found."""
    args = config.recipe.resolved_args()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("model", Text(config.model))
    for path, file in record["data"].items():
        table.add_row(unit, Text(f"{file['rows']:,} in {path}"))
    table.add_row("recipe", Text(", ".join(f"{key}={args[key]}" for key in ARGUMENTS if key in args)))
    table.add_row("devices", Text(str(config.machines.devices)))
    table.add_row("command", Text(f"{config.out}/command.sh, its output {log}"))
    return table


def write_run_files(out: Path, config: TrainConfig, record: Mapping[str, Any], line: str) -> None:
    """Write run.json, command.sh and sprint.json. The first command stays; later starts are appended to run.json.

    A start has the command that was given (`asked`) and ms-swift's (`command`).
    """
    path = out / "run.json"
    before = json.loads(path.read_text()).get("starts", []) if path.is_file() and last_checkpoint(out) else []
    start = {"versions": record["versions"], "commit": record["commit"], "asked": command_line(), "command": line}
    files = {"run.json": json.dumps({**record, "starts": [*before, start]}, indent=2)}
    if not before:
        files["command.sh"] = line
    notes_of_model = dict(config.recipe.notes or model_notes(str(weights_folder(config.model))))
    if "trained_on" not in config.recipe.notes:
        notes_of_model["trained_on"] = rows_kind(data_files(config)[0])
    files[MODEL_NOTES] = json.dumps(notes_of_model, indent=2)
    for name, text in files.items():
        with whole_file(out / name) as file:
            file.write(text + "\n")
    for link in ("best", "last"):  # ms-swift creates them at the end, and fails if they exist
        (out / link).unlink(missing_ok=True)


def lock_of_first_node(machines: Machines, out: str) -> AbstractContextManager[object]:
    """Return a context that holds the run's folder, on the first node for all nodes."""
    return nullcontext() if machines.rank_and_address[0] else locked_folder(out, TRAINING)


@entry_point("train", TrainConfig)
def main(config: TrainConfig) -> None:
    if config.dry_run:
        config.machines.check(config.recipe.args)
        check_args(config.recipe.args)
        model_folder(config.model)
        if Path(config.out).exists():
            output_folder(config.out, TRAINING)
        print(shell_line(config))
        return
    with lock_of_first_node(config.machines, config.out):
        code = train(config)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
