"""ms-swift's entry for several processes on CPU cores: the process group begins before DeepSpeed asks for its size.

python -m torch.distributed.run --nproc_per_node 2 -m training.gloo --use_cpu true --deepspeed zero3 ...
"""

from __future__ import annotations

import deepspeed
from swift.pipelines import sft_main


def main() -> None:
    deepspeed.init_distributed("gloo")
    sft_main()


if __name__ == "__main__":
    main()
