"""The settings of `sprint-sgl bench`, and the folder of each job of a sweep."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import method_names, weights_for
from sprint_sgl.runtime.server import RuntimeConfig
from sprint_sgl.validation import checked_count, checked_seconds, checked_temperature

LONGEST_NAME = 120  # characters of a job folder's name


@dataclass
class BenchConfig:
    """The settings of a benchmark.

    task, program   names in conf/task and conf/program
    model           a name in conf/models, which lists the weights of each program, or one model for all programs;
                    `served` is whichever model the server at `url` has
    weights         overrides of the model's weights for single programs
    against         names of other programs to compare with; they take turns with `program`
    out             the run's folder; a run that is started again resumes where it stopped
    limit           number of questions, from the task's beginning
    samples         number of answers to each question; accuracy is their mean (pass@1)
    temperature     by default the program's own
    max_new_tokens  limit of a call, except one whole thought (program.max_tokens); by default the model's, or the
                    paper's 8,000
    time_limit      seconds that one call may take
    concurrency     questions at a time; wall clocks are comparable at 1
    block           questions between two changes of the method; by default 25, or 4 for each concurrent question
    seed            from which each sample's seed is derived; only runtimes with deterministic inference honour it
    runtime         a name in conf/runtime; by default the GPU's if there is one, else the CPU's
    url             a running server, whose weights are swapped, in the place of `runtime`
    judge           a name in conf/judge: grades answers that the rules cannot read
    """

    task: Any = MISSING
    program: Any = MISSING
    model: str = "countdown_mini"
    weights: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(method_names()))
    judge: Any = None
    against: Any = field(default_factory=list)
    out: str = "work/bench"
    limit: int | None = None
    samples: int = 1
    temperature: float | None = None
    max_new_tokens: int | None = None
    time_limit: float = 1800.0
    concurrency: int = 1
    block: int | None = None
    seed: int = 1
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    url: str | None = None

    @property
    def folder(self) -> Path:
        """Return `out`, or in a sweep a folder below it, which is named by the swept values."""
        if not is_sweep_job():
            return Path(self.out)
        name = re.sub(r"[^\w.,=+-]", "_", HydraConfig.get().job.override_dirname) or "run"
        short = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return Path(self.out, short if len(name) > LONGEST_NAME else name)

    def weights_of(self, method: str) -> str:
        """Return the model whose weights the method runs on. Raises BadInput if no setting names one."""
        return self.weights.get(method) or weights_for(self.model, method)


def is_sweep_job() -> bool:
    """Return whether this run is one job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_name() -> str | None:
    """Return the task's name in conf/task; None if the settings did not come through Hydra."""
    return HydraConfig.get().runtime.choices.get("task") if HydraConfig.initialized() else None


def check_config(config: BenchConfig) -> None:
    """Raise BadInput for settings that cannot be run."""
    for name in ("limit", "samples", "concurrency", "block", "max_new_tokens"):
        if (value := getattr(config, name)) is not None:
            checked_count(name, value)
    checked_seconds("time_limit", config.time_limit)
    if config.temperature is not None:
        checked_temperature(config.temperature)
    if config.url and config.runtime != RuntimeConfig():
        raise BadInput("url=... is a server that runs, runtime=... starts one: leave one of them out")
