"""ms-swift's entry point for several processes on CPU cores: creates the process group before DeepSpeed asks for its
size.

python -m torch.distributed.run --nproc_per_node 2 -m training.gloo --use_cpu true --deepspeed zero3 ...
"""

from __future__ import annotations

import deepspeed
import torch
from swift.pipelines import sft_main


def main() -> None:
    # DeepSpeed would compile its shared-memory kernel, which takes minutes and needs a C++ compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")
    try:
        sft_main()
    finally:
        torch.distributed.destroy_process_group()  # else gloo's threads may abort the interpreter at exit


if __name__ == "__main__":
    main()
