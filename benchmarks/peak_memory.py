"""Run an ms-swift training and write the memory it took: python benchmarks/peak_memory.py FILE ARGUMENTS...

Writes bytes into FILE: `states`, held by weights and optimiser after the first step, and `peak`, needed above them by
later steps. The process's own code counts in neither: it is loaded before, or during the first step.
"""

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from swift.pipelines import sft_main
from transformers import PreTrainedModel


def used() -> int:
    """Return this process's memory in bytes."""
    return int(psutil.Process().memory_info().rss)


def highest() -> int:
    """Return the peak memory of this process in bytes (VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main(file: Path) -> None:
    before: list[int] = []

    def note(module: torch.nn.Module, inputs: Any) -> None:
        if isinstance(module, PreTrainedModel) and module.training and torch.is_grad_enabled():
            before.append(used())

    torch.nn.modules.module.register_module_forward_pre_hook(note)
    loaded = used()
    sft_main()
    file.write_text(json.dumps({"states": before[-1] - loaded, "peak": highest() - before[-1]}))


if __name__ == "__main__":
    main(Path(sys.argv.pop(1)))
