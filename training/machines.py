"""Where a training runs: one process, several on one machine, or several machines. More than one are started by
torchrun.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput

SLURM = "slurm"


@dataclass
class Machines:
    """Where a training runs.

    processes   on each node, one for each device
    nodes       number of machines
    rank        this node's number, from 0; needed with several nodes
    address     host name of the first node; `slurm` takes rank and address from a Slurm job with one task on each node
    port        on the first node
    """

    processes: int = 1
    nodes: int = 1
    rank: int | None = None
    address: str | None = None
    port: int = 29500

    @property
    def devices(self) -> int:
        return self.processes * self.nodes

    @property
    def distributed(self) -> bool:
        return self.devices > 1

    @cached_property
    def rank_and_address(self) -> tuple[int, str]:
        """This node's rank and the first node's address. Raise BadInput if they are missing or invalid."""
        if self.address == SLURM:
            return slurm_rank_and_address()
        if self.nodes > 1 and (self.rank is None or self.address is None):
            raise BadInput(
                f"machines.nodes={self.nodes} needs machines.rank=N on each node and machines.address=FIRST_NODE "
                "on all of them, or machines.address=slurm in a Slurm job"
            )
        rank = self.rank or 0
        if not 0 <= rank < max(self.nodes, 1):
            raise BadInput(f"machines.rank must be in [0, {self.nodes - 1}] with {self.nodes} nodes, got {rank}")
        return rank, self.address or "127.0.0.1"

    def check(self, args: Mapping[str, Any]) -> None:
        """Raise BadInput if the numbers are invalid or do not fit the recipe's sequence parallelism."""
        if min(self.processes, self.nodes) < 1:
            raise BadInput(
                f"machines.processes and machines.nodes must be at least 1, got {self.processes} and {self.nodes}"
            )
        if not 0 < self.port < 2**16:
            raise BadInput(f"machines.port must be in [1, 65535], got {self.port}")
        parallel = int(args.get("sequence_parallel_size") or 1)
        if self.devices % parallel:
            raise BadInput(f"sequence_parallel_size must divide the number of devices, {self.devices}, got {parallel}")
        _ = self.rank_and_address

    def torchrun_args(self) -> list[str]:
        """Return Python's arguments that start torchrun. Raise BadInput as `rank_and_address` does."""
        words = ["--nnodes", str(self.nodes), "--nproc_per_node", str(self.processes)]
        if self.nodes > 1:
            rank, address = self.rank_and_address
            words += ["--node_rank", str(rank), "--master_addr", address]
        return ["-m", "torch.distributed.run", *words, "--master_port", str(self.port)]


def slurm_rank_and_address() -> tuple[int, str]:
    """Return this task's node number and the job's first host name. Raise BadInput outside of a Slurm job."""
    try:
        rank, nodes = int(os.environ["SLURM_NODEID"]), os.environ["SLURM_JOB_NODELIST"]
        names = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        return rank, names.stdout.split()[0]
    except (KeyError, OSError, subprocess.CalledProcessError, IndexError) as error:
        lacks = f"{error.args[0]} is not set" if isinstance(error, KeyError) else str(error)
        raise BadInput(f"machines.address=slurm works only inside a Slurm job: {lacks}") from error


def processor_has_bf16(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies in bfloat16. Emulation runs at an eighth of float32's speed."""
    return flags.is_file() and bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.read_text().split()))
