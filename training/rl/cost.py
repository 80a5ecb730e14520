"""Estimate what a training on rollouts takes: memory of the training devices, seconds of a round, hours in all.

    sprint-sgl rl cost path=trajectories.jsonl machines.processes=4 device=a100_40gb workers=4

Takes the overrides of `sprint-sgl rl`. Rollouts have the lengths of recorded trajectories and are simulated on workers
(sprint_sgl/capacity); updates are estimated as `sprint-sgl train cost` does, on the trees of such rollouts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import MISSING
from rich.table import Table

from sprint_sgl.bench.replay import TrajectoryShape
from sprint_sgl.capacity.plan import check_worker, read_shapes
from sprint_sgl.capacity.simulator import FleetSimulator, WorkerSpec, draw_shapes
from sprint_sgl.config import entry_point
from sprint_sgl.console import screen
from sprint_sgl.errors import BadInput
from sprint_sgl.validation import checked_count
from training.estimate.cost import (
    GIB,
    CostConfig,
    Device,
    DeviceMemory,
    TrainingEstimate,
    format_span,
    memory_table,
    verdict,
)
from training.machines import Machines
from training.rl.settings import EvaluationSettings, RoundSettings, check_settings
from training.train import Recipe


@dataclass
class RlCostConfig:
    """The training to estimate; takes the overrides of `sprint-sgl rl`, of which task, program, reward are not used.

    model                hub id, folder, or a run's folder
    path                 recorded trajectories of such a model: a file of rows
    column               the rows' column with the texts of trajectories
    characters_a_token   by which texts without token counts are measured
    device               a name in conf/device: what trains
    worker, workers      a name in conf/worker, and how many of them make the rollouts
    disk                 GB/s at which weights are written, and read by all workers together
    price                dollars per GPU hour
    """

    model: str
    out: str | None = None
    task: Any = None
    evaluation_task: Any = None
    program: Any = None
    reward: Any = None
    runtime: Any = None
    url: str | None = None
    path: str = MISSING
    column: str = "response"
    characters_a_token: float = 4.0
    rl: RoundSettings = field(default_factory=RoundSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    device: Device = field(default_factory=lambda: Device(0, 0))
    worker: WorkerSpec = field(default_factory=lambda: WorkerSpec(0, 0, 0, 0, 0, 0, 0, 0))
    workers: int = 1
    disk: float = 1.0
    price: float = 2.0


@dataclass(frozen=True)
class RoundCost:
    """Seconds of the parts of a round; `evaluation` is the share of a round in an evaluation. `trees` are in tokens."""

    rollouts: float
    weights: float
    updates: float
    evaluation: float
    trees: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return self.rollouts + self.weights + self.updates + self.evaluation


class RlEstimate:
    """The estimate for a config. Raises BadInput for settings that a training would refuse."""

    def __init__(self, config: RlCostConfig) -> None:
        check_settings(config.rl, config.evaluation, config.machines.devices)
        if not config.disk > 0:
            raise BadInput(f"disk must be above 0 GB/s, got {config.disk}")
        self.config = config
        self.rollouts = config.rl.questions * config.rl.group_size
        checked_count("workers", config.workers)
        check_worker(config.worker)
        self.shapes = read_shapes(config.path, config.column, 1.0, config.characters_a_token)
        self.training = self._training(config.device)
        if config.rl.kl:
            held = config.device.overhead + self.reference_bytes / GIB
            self.training = self._training(replace(config.device, overhead=held))

    def _training(self, device: Device) -> TrainingEstimate:
        config = self.config
        return TrainingEstimate(CostConfig(config.model, None, None, config.recipe, config.machines, device))

    def round(self) -> RoundCost:
        """Return the cost of a round whose rollouts have the lengths of the recorded trajectories."""
        evaluation = self.config.evaluation
        trees = self.trees()
        work = self.training.work(trees)
        moved = self.training.sizes.total_bytes / 1e9 * (1 + self.config.workers)
        return RoundCost(
            rollouts=self._answering(self.rollouts),
            weights=moved / self.config.disk,
            updates=work.flops / self.training.flops_per_second,
            evaluation=self._answering(evaluation.questions) / evaluation.every,
            trees=tuple(trees),
        )

    def _answering(self, questions: int) -> float:
        """Return the seconds until all workers together have answered the questions."""
        rl, workers = self.config.rl, self.config.workers
        at_once = min(questions, rl.concurrency * self.config.machines.devices)
        fleet = FleetSimulator(self.config.worker, workers, at_once, sticky=True)
        return max(fleet.run(draw_shapes(self.shapes, questions, rl.seed)).ends)

    def trees(self) -> list[int]:
        """Return the tokens of the trees of a round. The rollouts of a group share their question, and nothing else."""
        rl, drawn = self.config.rl, random.Random(self.config.rl.seed)
        return [
            size
            for (asked,) in (draw_shapes(self.shapes, 1, drawn.randrange(2**32)) for _ in range(rl.questions))
            for size in pack_sizes(asked.question, [own_tokens(asked)] * rl.group_size, rl.max_length)
        ]

    def memory(self, trees: Sequence[int]) -> DeviceMemory:
        """Return the memory of a training device with the largest tree."""
        return self.training.memory(max(trees))

    @property
    def reference_bytes(self) -> int:
        """Bytes of the first policy, which a KL term keeps whole on each device."""
        return self.training.sizes.total_bytes if self.config.rl.kl else 0


def own_tokens(shape: TrajectoryShape) -> int:
    """Return the tokens of a rollout's tree after the question: executions stand in the trunk, and in a branch each."""
    return shape.total + sum(sum(stage.executions) for stage in shape.stages)


def pack_sizes(question: int, rollouts: Sequence[int], limit: int) -> list[int]:
    """Return the sizes of the trees that hold rollouts of these sizes, as training/rl/tree.py packs them."""
    sizes: list[int] = []
    for size in rollouts:
        if sizes and sizes[-1] + size <= limit:
            sizes[-1] += size
        else:
            sizes.append(question + size)
    return sizes


def round_table(estimate: RlEstimate, cost: RoundCost) -> Table:
    """Return a table of the parts of a round, with who waits in each."""
    rl, config = estimate.config.rl, estimate.config
    table = Table("a round", "seconds", "share", "works on it", title=f"{rl.rounds:,} rounds")
    for column in table.columns[1:3]:
        column.justify = "right"
    workers, devices = f"{config.workers} worker(s)", f"{estimate.training.devices} training device(s)"
    parts = [
        (f"{estimate.rollouts:,} rollouts of {rl.questions:,} questions", cost.rollouts, workers),
        ("weights to the workers", cost.weights, "disk"),
        (f"updates on {len(cost.trees):,} trees of {sum(cost.trees):,} tokens", cost.updates, devices),
        (f"evaluation, one round in {config.evaluation.every:,}", cost.evaluation, workers),
    ]
    for name, seconds, who in parts:
        table.add_row(name, f"{seconds:,.1f}", f"{seconds / cost.seconds:.0%}", who)
    table.add_section()
    table.add_row("all", f"{cost.seconds:,.1f}", "", "")
    return table


def summary_line(estimate: RlEstimate, cost: RoundCost) -> str:
    """Return hours, GPU hours and price of the training, and the share of the time that each side waits."""
    hours = cost.seconds * estimate.config.rl.rounds / 3600
    gpu_hours = (estimate.config.workers + estimate.training.devices) * hours
    return (
        f"{format_span(hours * 3600).capitalize()}, {gpu_hours:,.1f} GPU hours, "
        f"${gpu_hours * estimate.config.price:,.0f} at ${estimate.config.price:g}. The training devices wait "
        f"{1 - cost.updates / cost.seconds:.0%} of the time, the workers "
        f"{1 - (cost.rollouts + cost.evaluation) / cost.seconds:.0%}: rollouts are those of the newest weights."
    )


@entry_point("rl_cost", RlCostConfig)
def main(config: RlCostConfig) -> None:
    estimate = RlEstimate(config)
    cost, out = estimate.round(), screen()
    memory = estimate.memory(cost.trees)
    out.print(memory_table(estimate.training, memory, max(cost.trees)), highlight=False)
    out.print(verdict(estimate.training, memory, "rl.max_length"), highlight=False)
    if estimate.reference_bytes:
        held = estimate.reference_bytes / GIB
        out.print(f"The first row includes {held:.2f} GiB of the first policy, for rl.kl.", highlight=False)
    out.print(round_table(estimate, cost))
    out.print(summary_line(estimate, cost), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
