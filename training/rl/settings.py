"""The settings of reinforcement learning that the command writes and the trainer reads."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from sprint_sgl.config import instantiate_target
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import Method, build_method
from sprint_sgl.storage.files import whole_file
from sprint_sgl.tasks.base import Task
from sprint_sgl.validation import checked_count
from training.rl.credit import Baseline, Credit
from training.rl.loss import Clip
from training.rl.reward import RewardFunction

SETTINGS_FILE = "rl.json"
SETTINGS_VARIABLE = "SPRINT_RL"  # the environment variable with the file's path


@dataclass
class RoundSettings:
    """Rounds of rollouts and updates.

    rounds          number of rounds
    questions       in a round, of all processes together
    group_size      rollouts of each question
    updates         most optimiser steps in a round, each on other rollouts
    save_every      rounds between two checkpoints
    credit          trajectory, critical_path or branch (training/rl/credit.py)
    baseline        group: the advantage is the reward less the mean of its group; none: the reward (RAFT)
    even_calls      whether each call weighs the same, whatever its length; by default each token does
    temperature     of the rollouts; 1 samples from the policy itself
    concurrency     rollouts at a time, of each process
    clip            limits of the probability ratio
    kl              weight of the divergence from the first policy; above 0 each process holds that policy too
    max_length      tokens of a tree; longer groups are split by rollouts
    max_new_tokens  limit of a call; by default the model's own
    time_limit      seconds that one call may take
    seed            of the questions' order, and of samples where the runtime honours seeds
    """

    rounds: int = 30
    questions: int = 16
    group_size: int = 8
    updates: int = 2
    save_every: int = 1
    credit: str = "critical_path"
    baseline: str = "group"
    even_calls: bool = False
    temperature: float = 1.0
    concurrency: int = 32
    clip: Clip = field(default_factory=Clip)
    kl: float = 0.0
    max_length: int = 8192
    max_new_tokens: int | None = None
    time_limit: float = 1800.0
    seed: int = 1


@dataclass
class EvaluationSettings:
    """The evaluation on fixed questions at temperature 0.

    every       rounds between two evaluations
    questions   the first of the evaluation task
    stop_below  points of accuracy below the first evaluation at which the training stops
    """

    every: int = 5
    questions: int = 50
    stop_below: float = 10.0


@dataclass(frozen=True)
class RlSettings:
    """What the trainer needs to know. `url` is the server of the rollouts, `out` the run's folder."""

    url: str
    out: str
    model: str
    task: dict[str, Any]
    evaluation_task: dict[str, Any]
    program: dict[str, Any]
    reward: dict[str, Any]
    rounds: RoundSettings
    evaluation: EvaluationSettings

    def write(self) -> Path:
        """Write the settings to the run's folder and return the file."""
        path = Path(self.out, SETTINGS_FILE)
        with whole_file(path) as file:
            json.dump(asdict(self), file, indent=2)
        return path

    @staticmethod
    def read(path: str | Path | None = None) -> RlSettings:
        """Return the settings in the file, by default the one that the environment names."""
        path = path or os.environ.get(SETTINGS_VARIABLE)
        if not path:
            raise BadInput(f"{SETTINGS_VARIABLE} is not set: start the training with sprint-sgl rl")
        row = json.loads(Path(path).read_text())
        rounds = RoundSettings(**{**row["rounds"], "clip": Clip(**row["rounds"]["clip"])})
        return RlSettings(**{**row, "rounds": rounds, "evaluation": EvaluationSettings(**row["evaluation"])})

    @property
    def method(self) -> Method:
        return build_method(self.program)

    def make_task(self) -> Task:
        task: Task = instantiate_target(self.task, "task")
        return task

    def make_evaluation_task(self) -> Task:
        task: Task = instantiate_target(self.evaluation_task, "evaluation_task")
        return task

    def make_reward(self) -> RewardFunction:
        reward: RewardFunction = instantiate_target(self.reward, "reward")
        return reward

    @property
    def credit(self) -> Credit:
        return self.rounds.credit  # type: ignore[return-value]

    @property
    def baseline(self) -> Baseline:
        return self.rounds.baseline  # type: ignore[return-value]


def check_settings(rounds: RoundSettings, evaluation: EvaluationSettings, processes: int) -> None:
    """Raise BadInput for numbers that cannot be."""
    for name in ("rounds", "questions", "group_size", "updates", "save_every", "concurrency", "max_length"):
        checked_count(f"rl.{name}", getattr(rounds, name))
    for name in ("every", "questions"):
        checked_count(f"evaluation.{name}", getattr(evaluation, name))
    if rounds.group_size < 2:
        raise BadInput(f"rl.group_size must be at least 2, got {rounds.group_size}: rollouts are compared in a group")
    if rounds.questions % processes:
        raise BadInput(f"rl.questions={rounds.questions} must be a multiple of the {processes} training processes")
    for name, choices in (("credit", get_args(Credit)), ("baseline", get_args(Baseline))):
        if (value := getattr(rounds, name)) not in choices:
            raise BadInput(f"rl.{name} must be one of {', '.join(choices)}, got {value!r}")
    if not 0 <= rounds.kl < math.inf:
        raise BadInput(f"rl.kl must be at least 0, got {rounds.kl}")
    clip = rounds.clip
    if not (0 < clip.low < 1 and clip.high > 0 and clip.most > 1 + clip.high):
        raise BadInput(f"rl.clip needs 0 < low < 1, high > 0 and most > 1 + high, got {clip}")
    if rounds.temperature <= 0:
        raise BadInput(f"rl.temperature must be above 0, got {rounds.temperature}: equal rollouts teach nothing")
