"""Reinforcement learning of a program's model: rollouts on a server, rewards, updates by ms-swift (beyond the paper).

    sprint-sgl rl task=countdown task.split=train model=work/mini/sprint out=work/rl

The command starts the server, composes one ms-swift command as `sprint-sgl train` does, and runs it. A run that was
interrupted goes on with the round that it was in.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from sprint_sgl.bench.run import read_questions
from sprint_sgl.config import changed_keys, entry_point, flatten_settings, instantiate_target
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import build_method
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import RuntimeConfig
from sprint_sgl.storage.checkpoints import model_notes, weights_folder
from sprint_sgl.storage.files import whole_file
from sprint_sgl.tasks.base import Question
from sprint_sgl.training_rows import make_row
from training.machines import Machines
from training.rl.rounds import ROUNDS
from training.rl.settings import (
    SETTINGS_FILE,
    SETTINGS_VARIABLE,
    EvaluationSettings,
    RlSettings,
    RoundSettings,
    check_settings,
)
from training.train import PLUGINS, Recipe, TrainConfig, lock_of_first_node, shell_line, train

QUESTIONS = "questions.jsonl"
MAY_CHANGE = {"url", "rounds.rounds", "rounds.concurrency", "rounds.time_limit", "evaluation.stop_below"}


@dataclass
class RlConfig:
    """Training on rollouts of the model's own.

    model        the model to train: a folder, a run's folder, or a shipped model
    out          folder of checkpoints, rounds with all rollouts, evaluations and logs
    task         a name in conf/task: the questions, and the checker of answers
    evaluation_task   the questions of the evaluation, none of which may be in task
    program      a name in conf/program: what a rollout is
    reward       a name in conf/reward
    rl           rounds, groups and updates
    evaluation   how often and on how many questions
    runtime      a name in conf/runtime; by default the GPU's if there is one, else the CPU's
    url          a running server of the same model, whose weights are replaced, in the place of `runtime`
    dry_run      whether to only print the command, which needs the file that a real start writes
    """

    model: str
    out: str
    task: Any = MISSING
    evaluation_task: Any = MISSING
    program: Any = MISSING
    reward: Any = MISSING
    rl: RoundSettings = field(default_factory=RoundSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    url: str | None = None
    dry_run: bool = False


def check_config(config: RlConfig) -> None:
    """Raise BadInput for settings that cannot be run."""
    check_settings(config.rl, config.evaluation, config.machines.devices)
    build_method(config.program)
    instantiate_target(config.reward, "reward")
    for key, wanted in (("template", "sprint_tree"), ("tuner_type", "full"), ("gradient_accumulation_steps", 1)):
        if config.recipe.args.get(key) != wanted:
            raise BadInput(f"recipe.args.{key} must be {wanted} for rollouts, got {config.recipe.args.get(key)}")
    config.machines.check(config.recipe.args)
    if config.machines.nodes > 1 and not config.url:
        raise BadInput(
            f"machines.nodes={config.machines.nodes} needs url=ADDRESS, a server or a gateway that all nodes reach"
        )
    if config.url and config.runtime != RuntimeConfig():
        raise BadInput("url=... is a server that runs, runtime=... starts one: leave one of them out")


def training_config(config: RlConfig, settings_file: Path) -> TrainConfig:
    """Return the ms-swift training; its data set is a file of the questions, of which only the length is used."""
    plugins = [str(PLUGINS / f"{name}.py") for name in ("sprint_tree", "sprint_rl")]
    args = {
        **config.recipe.args,
        "max_steps": config.rl.rounds * config.rl.updates,
        "save_steps": 10**6,  # the trainer saves where a round ends
        "ignore_data_skip": True,  # the rounds find their place themselves
        "eval_strategy": "no",
        "include_num_input_tokens_seen": False,
        "callbacks": None,
        "external_plugins": plugins,
    }
    base = config.recipe.notes or model_notes(str(weights_folder(config.model)))
    notes = {**base, "trained_on": build_method(config.program).program.needs or base.get("trained_on")}
    env = {**config.recipe.env, SETTINGS_VARIABLE: str(settings_file.absolute())}
    recipe = Recipe(args, env, notes=notes)
    return TrainConfig(config.model, f"{config.out}/{QUESTIONS}", config.out, recipe, config.machines)


def settings_for(config: RlConfig, url: str) -> RlSettings:
    return RlSettings(
        url,
        str(Path(config.out).absolute()),
        str(weights_folder(config.model).absolute()),
        config.task,
        config.evaluation_task,
        config.program,
        config.reward,
        config.rl,
        config.evaluation,
    )


def read_training_questions(config: RlConfig) -> list[Question]:
    """Return the task's questions. Raises BadInput for too few, an unusable one, or one that is also evaluated."""
    questions = read_questions(instantiate_target(config.task, "task"), None)
    if len(questions) < config.rl.questions:
        raise BadInput(f"the task has {len(questions)} questions, fewer than rl.questions={config.rl.questions}")
    evaluated = read_questions(
        instantiate_target(config.evaluation_task, "evaluation_task"), config.evaluation.questions
    )
    if common := {each.text for each in questions} & {each.text for each in evaluated}:
        raise BadInput(
            f"{len(common)} questions are in task and evaluation_task, such as {min(common)!r}: train on others, such "
            "as those of task.split=train"
        )
    return questions


def run(config: RlConfig) -> int:
    """Train in the foreground and return ms-swift's exit status."""
    questions, settings = read_training_questions(config), settings_for(config, config.url or "")
    check_same_run(settings)
    settings.write()  # first, since it tells whose folder this is
    with whole_file(Path(config.out, QUESTIONS)) as file:
        file.writelines(json.dumps(make_row(each.text, "-")) + "\n" for each in questions)
    model = str(weights_folder(config.model))
    with nullcontext(config) if config.url else running_server(model, runtime=config.runtime) as running:
        return train(training_config(config, settings_for(config, str(running.url)).write()), on_rollouts=True)


def check_same_run(settings: RlSettings) -> None:
    """Raise BadInput if the folder has rounds of other settings; a few may change."""
    path = Path(settings.out, SETTINGS_FILE)
    if path.is_file() and Path(settings.out, ROUNDS).exists():
        old, new = (flatten_settings(json.loads(text)) for text in (path.read_text(), json.dumps(asdict(settings))))
        if others := [key for key in changed_keys(old, new) if key not in MAY_CHANGE]:
            key, out = others[0], settings.out
            raise BadInput(f"{out} has rounds of {key}={old.get(key)}, not {new.get(key)}: choose another out=FOLDER")


@entry_point("rl", RlConfig)
def main(config: RlConfig) -> None:
    check_config(config)
    if config.dry_run:
        print(shell_line(training_config(config, Path(config.out, SETTINGS_FILE))))
        return
    with lock_of_first_node(config.machines, config.out):
        code = run(config)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
