"""Makes a model that ships of a checkpoint: bf16 safetensors, its tokenizer, how it is to be used.

python -m training.export checkpoint=work/mini/sprint out=models/countdown-mini-sprint
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprint_sgl.checkpoints import ADAPTER, MODEL_NOTES, model_notes, weights
from sprint_sgl.errors import BadInput
from sprint_sgl.settings import entry_point


@dataclass
class Config:
    """`checkpoint` is a checkpoint or a run's folder."""

    checkpoint: str
    out: str


def export(checkpoint: Path, out: Path) -> int:
    """Writes the model and returns its size in bytes. Raises BadInput where there is no checkpoint."""
    from transformers import AutoTokenizer

    source = weights(str(checkpoint))
    model = load(source)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(model.config.name_or_path).save_pretrained(out)
    (out / MODEL_NOTES).write_text(json.dumps(model_notes(str(source)), indent=2) + "\n")
    return sum(file.stat().st_size for file in out.iterdir())


def load(source: Path) -> Any:
    """The checkpoint's model in bf16, adapters put into it. Raises BadInput where there is none."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    if (source / ADAPTER).is_file():
        return AutoPeftModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).merge_and_unload()
    if not (source / "config.json").is_file():
        raise BadInput(f"{source} is no checkpoint and holds none")
    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)


@entry_point("export", Config)
def main(config: Config) -> None:
    size = export(Path(config.checkpoint), Path(config.out))
    print(f"{config.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
