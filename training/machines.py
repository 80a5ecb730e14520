"""Where a training runs: one process, several on one machine, several machines. torchrun starts what needs more."""

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
    """`processes` (devices) on each of `nodes`; on several nodes this node's `rank` and the first one's `address`.

    address: slurm takes rank and address from the Slurm job of which this is a task, one task a node.
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
    def several(self) -> bool:
        return self.devices > 1

    @cached_property
    def place(self) -> tuple[int, str]:
        """This node's rank and the first one's address. Raises BadInput, for Slurm's outside of a job too."""
        if self.address == SLURM:
            return slurm_place()
        if self.nodes > 1 and (self.rank is None or self.address is None):
            raise BadInput(
                f"machines.nodes={self.nodes} needs machines.rank=N on each node and machines.address=FIRST_NODE "
                "on all of them, or machines.address=slurm in a Slurm job"
            )
        rank = self.rank or 0
        if not 0 <= rank < max(self.nodes, 1):
            raise BadInput(f"machines.rank={rank} is none of the {self.nodes} nodes, which count from 0")
        return rank, self.address or "127.0.0.1"

    def check(self, args: Mapping[str, Any]) -> None:
        """Raises BadInput where the numbers do not go together, with the recipe's sequence parallelism too."""
        if min(self.processes, self.nodes) < 1:
            raise BadInput("machines: processes and nodes must be at least 1")
        if not 0 < self.port < 2**16:
            raise BadInput(f"machines.port={self.port} is no port")
        parallel = int(args.get("sequence_parallel_size") or 1)
        if self.devices % parallel:
            raise BadInput(f"sequence_parallel_size={parallel} does not divide {self.devices} devices")
        _ = self.place

    def torchrun(self) -> list[str]:
        """Python's arguments that start torchrun. Raises BadInput as `place` does."""
        words = ["--nnodes", str(self.nodes), "--nproc_per_node", str(self.processes)]
        if self.nodes > 1:
            rank, address = self.place
            words += ["--node_rank", str(rank), "--master_addr", address]
        return ["-m", "torch.distributed.run", *words, "--master_port", str(self.port)]


def slurm_place() -> tuple[int, str]:
    """This task's node and the name of the job's first one. Raises BadInput outside of a Slurm job."""
    try:
        rank, nodes = int(os.environ["SLURM_NODEID"]), os.environ["SLURM_JOB_NODELIST"]
        names = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        return rank, names.stdout.split()[0]
    except (KeyError, OSError, subprocess.CalledProcessError, IndexError) as error:
        raise BadInput(f"machines.address=slurm is for a task of a Slurm job: {error!r}") from error


def processor_has_bf16(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies in bfloat16; without, it is emulated at an eighth of float32's speed."""
    return flags.is_file() and bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.read_text().split()))
