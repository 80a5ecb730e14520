"""Estimate what a training needs before anyone pays for it: memory of each device, and hours.

    sprint-sgl train cost recipe=paper machines.processes=8 device=a100_40gb dataset=work/curation/sprint

Takes the overrides of `sprint-sgl train`. Activations come from a simulated step on the longest row that the recipe
admits (training/estimate/step_costs.py); weights, gradients and optimiser from what ZeRO leaves on a device.
benchmarks/bench_cost.py compares both with measured peaks.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

from rich.progress import track
from rich.table import Table

from sprint_sgl.config import entry_point
from sprint_sgl.console import notes, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.tokenizer import ModelTokenizer
from sprint_sgl.storage.checkpoints import model_config
from sprint_sgl.training_rows import Row
from training.estimate.step_costs import StepCosts
from training.machines import Machines
from training.preflight import check_channel, load_spelling, model_folder
from training.row_file import locate_errors, read_rows
from training.train import Recipe
from training.tree.labels import TREE_TEMPLATE, row_tree

GIB = 2**30
MASTER_AND_MOMENTS = 12  # bytes a trained weight: DeepSpeed's full-precision copy and Adam's two moments
MASK_BYTES = 3  # bytes a pair of tokens: a boolean mask, and the 16-bit mask that attention adds
FOUR_BITS = 0.52  # bytes a weight, including its share of the quantised scales


@dataclass
class Device:
    """A GPU as a training sees it.

    memory         GiB
    teraflops      peak rate of dense bf16
    utilisation    share of that rate that training reaches
    overhead       GiB that a process holds before any tensor
    communication  GiB for NCCL's buffers if several devices train together
    fragments      share of the activations' memory that lies idle between tensors
    """

    memory: float
    teraflops: float
    utilisation: float = 0.4
    overhead: float = 1.0
    communication: float = 1.0
    fragments: float = 0.05


@dataclass
class CostConfig:
    """The training to estimate; takes the overrides of `sprint-sgl train`.

    model     hub id, folder, or a run's folder
    dataset   rows whose tokens are counted; without rows only the memory is estimated
    out       accepted, so that a training's overrides can be pasted; nothing is written
    """

    model: str
    dataset: str | None = None
    out: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    device: Device = field(default_factory=lambda: Device(0, 0))


@dataclass(frozen=True)
class Zero:
    """What DeepSpeed's config leaves on a device. Stage 0 means no sharding."""

    stage: int = 0
    offload_optimizer: bool = False
    offload_weights: bool = False
    live: int = 0  # most weights that stage 3 gathers at a time
    group: float = math.inf  # weights updated at a time; all of them below stage 3

    @staticmethod
    def from_name(name: str | None) -> Zero:
        """Read ms-swift's config of that name (zero0 to zero3_offload), or a file. Raise BadInput if neither exists."""
        if not name:
            return Zero()
        found = json.loads(_deepspeed_file(name).read_text()).get("zero_optimization", {})

        def leaves(key: str) -> bool:
            return bool(found.get(key, {}).get("device", "none") != "none")

        stage, live = int(found.get("stage", 0)), int(found.get("stage3_max_live_parameters", 1e9))
        group = float(found.get("sub_group_size", 1e9)) if stage == 3 else math.inf
        return Zero(stage, leaves("offload_optimizer"), leaves("offload_param"), live, group)


def _deepspeed_file(name: str) -> Path:
    shipped = Path(str(distribution("ms-swift").locate_file(f"swift/config/{name}.json")))
    for path in (shipped, Path(name)):
        if path.is_file():
            return path
    raise BadInput(f"deepspeed={name!r} is neither a config of ms-swift, such as zero3, nor a file")


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on each device by content. `step` is what the optimiser needs while it runs, when activations are freed."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    step: float
    overhead: float

    @property
    def states(self) -> float:
        return self.weights + self.gradients + self.optimizer

    @property
    def peak(self) -> float:
        return self.overhead + self.states + max(self.gathered + self.activations, self.step)


@dataclass(frozen=True)
class LayoutLengths:
    """Tokens of a row in three layouts: as a tree, as its transcript, and as one row for each call."""

    tree: int
    longest_path: int
    transcript: int
    calls: tuple[int, ...]

    @staticmethod
    def of_row(row: Row, spelling: ModelTokenizer) -> LayoutLengths:
        """Return the lengths of a row. Raise BadInput for a tree that cannot be laid out."""
        tree = row_tree(row, spelling, end=0)
        return LayoutLengths(len(tree.input_ids), tree.longest_path, tree.trunk_length, tuple(tree.call_lengths))


@dataclass(frozen=True)
class EpochWork:
    """An epoch: its rows, their tokens, and the floating-point operations."""

    rows: int
    tokens: int
    flops: float


class TrainingEstimate:
    """The estimate for a config. Raise BadInput for a model without a config, or invalid values in the recipe."""

    def __init__(self, config: CostConfig) -> None:
        self.config, self.args = config, config.recipe.resolved_args()
        config.machines.check(self.args)
        if int(self.args.get("per_device_train_batch_size", 1)) < 1:
            raise BadInput(
                "recipe.args.per_device_train_batch_size must be at least 1, "
                f"got {self.args['per_device_train_batch_size']}"
            )
        device = config.device
        if not 0 < device.utilisation <= 1:
            raise BadInput(f"device.utilisation must be in (0, 1], got {device.utilisation}")
        for name in ("memory", "teraflops", "overhead", "communication", "fragments"):
            if not getattr(device, name) >= 0:
                raise BadInput(f"device.{name} must be at least 0, got {getattr(device, name)}")
        limit = self.args.get("max_length")
        if limit is not None and not (type(limit) is int and limit > 0):
            raise BadInput(f"recipe.args.max_length must be a whole number of at least 1, got {limit}")
        self.folder = model_folder(config.model)
        if (self.folder / "config.json").is_file():
            model_config(self.folder)
        self.step_costs = StepCosts(self.folder, self.args)
        self.sizes = self.step_costs.sizes
        self.devices = config.machines.devices
        self.sequence_parallel = int(self.args.get("sequence_parallel_size", 1))
        if self.max_length > self.step_costs.context and not self.lays_out_trees:
            raise BadInput(
                f"max_length={self.max_length} is larger than the model's context, {self.step_costs.context} tokens"
            )

    @property
    def lays_out_trees(self) -> bool:
        """Whether rows of channel `tree` are laid out as trees."""
        return self.args.get("template") == TREE_TEMPLATE

    @property
    def max_length(self) -> int:
        return int(self.args.get("max_length") or self.step_costs.context)

    @cached_property
    def rows(self) -> list[LayoutLengths]:
        """The lengths of each row that is trained on."""
        spelling, path = load_spelling(str(self.folder)), Path(f"{self.config.dataset}.train.jsonl")
        found = []
        for number, row in enumerate(track(read_rows(path), "counting tokens", console=notes, transient=True), 1):
            with locate_errors(path, number):
                check_channel(row, self.lays_out_trees)
                found.append(LayoutLengths.of_row(row, spelling))
        if kept := [row for row in found if self.admits(row)]:
            return kept
        least = min(row.tree for row in found)
        if least > self.max_length:
            raise BadInput(f"{path}: all rows are longer than {self.max_length} tokens, the shortest has {least}")
        raise BadInput(
            f"{path}: every row has a path longer than the model's context, {self.step_costs.context} tokens"
        )

    def admits(self, row: LayoutLengths) -> bool:
        """Return whether ms-swift would train on the row."""
        return row.tree <= self.max_length and row.longest_path <= self.step_costs.context

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row that is trained on, in the recipe's layout."""
        return [row.tree for row in self.rows]

    @property
    def longest(self) -> int:
        """Tokens of the longest row in the data; without data, of the longest row that the recipe admits."""
        return max(self.lengths) if self.config.dataset else self.max_length

    @property
    def mask_bytes_per_pair(self) -> int:
        """Bytes of a dense mask for each pair of tokens of a row; 0 without a dense mask."""
        dense = self.lays_out_trees and self.args.get("attn_impl") == "tree_sdpa"
        return MASK_BYTES * int(self.args.get("per_device_train_batch_size", 1)) if dense else 0

    def memory(self, length: int) -> DeviceMemory:
        """Return the memory of each device with rows of `length` tokens."""
        zero, sizes = Zero.from_name(self.args.get("deepspeed")), self.sizes
        width = sizes.total_bytes / sizes.total
        held = sizes.total_bytes - (sizes.linear * (width - FOUR_BITS) if self.args.get("quant_bits") == 4 else 0)
        moments = MASTER_AND_MOMENTS * sizes.trained if self.args.get("deepspeed") else 2 * sizes.trained_bytes
        weights, gradients, optimizer = (self.devices if zero.stage >= stage else 1 for stage in (3, 2, 1))
        gathers = zero.stage == 3 and (self.devices > 1 or zero.offload_weights)
        rows = int(self.args.get("per_device_train_batch_size", 1))
        activations = self.step_costs.activations(rows, math.ceil(length / self.sequence_parallel))
        activations += self.mask_bytes_per_pair * length**2
        communication = self.config.device.communication if self.devices > 1 else 0
        return DeviceMemory(
            weights=0 if zero.offload_weights else held / weights,
            gradients=0 if zero.offload_optimizer else sizes.trained_bytes / gradients,
            optimizer=0 if zero.offload_optimizer else moments / optimizer,
            gathered=min(sizes.total, zero.live) * width if gathers else 0,
            activations=activations * (1 + self.config.device.fragments),
            step=0 if zero.offload_optimizer or not zero.stage else 4 * min(sizes.trained / optimizer, zero.group),
            overhead=(self.config.device.overhead + communication) * GIB,
        )

    def longest_that_fits(self, tree: bool = True) -> int:
        """Return the tokens of the longest row that fits on a device, 0 if none does. Activations grow with the row.

        tree   whether the row is laid out as a tree, and may need a dense mask
        """
        room = self.config.device.memory * GIB
        few, many = (1024 * self.sequence_parallel, 2048 * self.sequence_parallel)
        low, high = self.memory(few), self.memory(many)
        if low.overhead + low.states + max(low.step, low.gathered) > room:
            return 0
        per_pair = self.mask_bytes_per_pair * (1 + self.config.device.fragments)
        small, large = low.activations - per_pair * few**2, high.activations - per_pair * many**2
        per_token = (large - small) / (many - few)
        left = room - low.overhead - low.states - low.gathered - small + per_token * few
        # Solve per_pair * n^2 + per_token * n = left for n, in the form that also holds for per_pair = 0.
        per_pair *= tree
        most = math.floor(2 * left / (per_token + math.sqrt(per_token**2 + 4 * per_pair * max(0, left))))
        return max(0, min(most, sys.maxsize if self.lays_out_trees else self.step_costs.context))

    def work(self, lengths: Sequence[int] | None = None) -> EpochWork:
        """Return the work of an epoch of rows of these lengths, by default those of the dataset.

        The work of a row grows linearly with its length and, in attention, quadratically.
        """
        short, long = (self.step_costs.flops(length) for length in (512, 1024))
        square = (long - 2 * short) / (2 * 512**2)
        line = short / 512 - square * 512
        lengths = self.lengths if lengths is None else lengths
        return EpochWork(len(lengths), sum(lengths), sum(line * n + square * n * n for n in lengths))

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations per second of all devices together."""
        return self.devices * self.config.device.teraflops * 1e12 * self.config.device.utilisation

    @property
    def rows_per_step(self) -> int:
        per_device = self.args.get("per_device_train_batch_size", 1) * self.args.get("gradient_accumulation_steps", 1)
        return int(per_device) * self.devices // self.sequence_parallel

    def steps(self, work: EpochWork) -> int:
        epoch = math.ceil(work.rows / self.rows_per_step)
        most = int(self.args.get("max_steps", -1))
        return most if most > 0 else math.ceil(float(self.args.get("num_train_epochs", 3)) * epoch)

    def seconds(self, work: EpochWork) -> float:
        return self.steps(work) * self.rows_per_step * work.flops / work.rows / self.flops_per_second


def memory_table(estimate: TrainingEstimate, memory: DeviceMemory, length: int) -> Table:
    """Return the memory of a device with rows of `length` tokens by content, with its peak and what the device has."""
    device = estimate.config.device
    table = Table("on each device", "GiB", title=f"{estimate.devices} device(s), rows of {length:,} tokens")
    table.columns[1].justify = "right"
    stepping = memory.step > memory.gathered + memory.activations
    shown = {
        "process, communication buffers": memory.overhead,
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimiser": memory.optimizer,
        "weights gathered by ZeRO-3": 0 if stepping else memory.gathered,
        "activations, logits, backward pass": 0 if stepping else memory.activations,
        "gradients in full precision": memory.step if stepping else 0,
    }
    for name, size in shown.items():
        if size:
            table.add_row(name, f"{size / GIB:.2f}")
    fits = memory.peak <= device.memory * GIB
    table.add_section()
    table.add_row("peak", f"{memory.peak / GIB:.2f}", style="bold")
    table.add_row("a device has", f"{device.memory:.2f}", style="green" if fits else "red")
    return table


def verdict(estimate: TrainingEstimate, memory: DeviceMemory, limit: str = "recipe.args.max_length") -> str:
    """Return whether the training fits, and otherwise what would make it fit; `limit` is the key of a row's length."""
    most = estimate.longest_that_fits()
    if memory.peak <= estimate.config.device.memory * GIB:
        return f"It fits, with rows of up to {most:,} tokens."
    if not most:
        return "It does not fit with rows of any length: use more devices, or recipe.args.deepspeed=zero3_offload."
    ways = [f"{limit}={most}"]
    if not estimate.args.get("use_liger_kernel"):
        ways.append("recipe.args.use_liger_kernel=true (package liger-kernel)")
    return f"It does not fit. Rows of {most:,} tokens would fit: {' or '.join(ways)}."


def duration_line(estimate: TrainingEstimate) -> str:
    """Return rows, steps and expected time of the training in one line."""
    device, work = estimate.config.device, estimate.work()
    span = format_span(estimate.seconds(work))
    rate = estimate.flops_per_second * work.tokens / work.flops
    return (
        f"{work.rows:,} rows, {work.tokens:,} tokens: {estimate.steps(work):,} steps of {estimate.rows_per_step} rows "
        f"take {span} ({rate:,.0f} tokens/s) if each device reaches "
        f"{device.utilisation:.0%} of {device.teraflops:g} TFLOP/s"
    )


def format_span(seconds: float) -> str:
    """Return a duration in words, such as "about 2.3 hours"."""
    if seconds < 60:
        return "less than a minute"
    return f"about {seconds / 3600:.1f} hours" if seconds > 3600 else f"about {seconds / 60:.0f} minutes"


def layouts_table(estimate: TrainingEstimate) -> Table:
    """Return a table of the same trajectories in each layout: tokens, rows that fit, and hours."""
    epochs = float(estimate.args.get("num_train_epochs", 3))
    table = Table("layout", "rows", "tokens", "longest", "rows that fit", f"hours, epochs: {epochs:g}")
    table.title = "The same trajectories"
    for column in table.columns[1:]:
        column.justify = "right"
    rows = estimate.rows
    layouts = {
        "tree": [row.tree for row in rows],
        "transcript (the paper's)": [row.transcript for row in rows],
        "one row for each call": [length for row in rows for length in row.calls],
    }
    for name, lengths in layouts.items():
        work, most = estimate.work(lengths), estimate.longest_that_fits(tree=name == "tree")
        shown = [f"{work.rows:,}", f"{work.tokens:,}", f"{max(lengths):,}", f"{sum(n <= most for n in lengths):,}"]
        table.add_row(name, *shown, f"{epochs * work.flops / estimate.flops_per_second / 3600:.2g}")
    return table


@entry_point("cost", CostConfig)
def main(config: CostConfig) -> None:
    estimate = TrainingEstimate(config)
    out = screen()
    memory = estimate.memory(estimate.longest)
    out.print(memory_table(estimate, memory, estimate.longest), verdict(estimate, memory), highlight=False)
    if estimate.config.dataset:
        if any(row.tree > row.transcript for row in estimate.rows):
            out.print(layouts_table(estimate))
        out.print(duration_line(estimate), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
