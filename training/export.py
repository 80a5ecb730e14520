"""Makes a model that ships of a checkpoint: bf16 safetensors, its tokenizer, how it is to be used.

python -m training.export checkpoint=work/mini/sprint out=models/countdown-mini-sprint

Runs that began from one another can be averaged: `also=[work/mini/sprint7]` takes the mean of their weights, at no cost
at inference (Wortsman et al., "Model soups", 2022).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprint_sgl.config import entry_point
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.checkpoints import ADAPTER, MODEL_NOTES, model_notes, weights_folder
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import EXPORT, output_folder

if TYPE_CHECKING:
    import torch


@dataclass
class Config:
    """`checkpoint` is a checkpoint or a run's folder; the weights of those in `also` are averaged with its own."""

    checkpoint: str
    out: str
    also: list[str] = field(default_factory=list)


def export(checkpoint: Path, out: Path, also: Sequence[Path] = ()) -> int:
    """Writes the model and returns its size in bytes. Raises BadInput where there is no checkpoint, or one to average
    with is of another shape."""
    import torch
    from transformers import AutoTokenizer

    source = weights_folder(str(checkpoint))
    model = load(source, torch.float32 if also else torch.bfloat16)
    if also:
        others = {path: load(weights_folder(str(path)), torch.float32).state_dict() for path in also}
        model.load_state_dict(mean(model.state_dict(), others))
    with whole_file(out / MODEL_NOTES) as file:  # first, since the folder is known by it
        file.write(json.dumps(model_notes(str(source)), indent=2) + "\n")
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(model.config.name_or_path).save_pretrained(out)
    return sum(file.stat().st_size for file in out.iterdir())


def mean(own: Mapping[str, Any], others: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each tensor. Raises BadInput for weights whose names or shapes are not `own`'s."""
    shapes = {name: tensor.shape for name, tensor in own.items()}
    for path, other in others.items():
        if {name: tensor.shape for name, tensor in other.items()} != shapes:
            raise BadInput(f"{path} has other weights than the first checkpoint: they cannot be averaged")
    every = [own, *others.values()]
    return {name: sum(weights[name] for weights in every) / len(every) for name in own}


def load(source: Path, dtype: torch.dtype) -> Any:
    """The checkpoint's model, adapters put into it. Raises BadInput where there is none."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    if (source / ADAPTER).is_file():
        return AutoPeftModelForCausalLM.from_pretrained(source, dtype=dtype).merge_and_unload()
    if not (source / "config.json").is_file():
        raise BadInput(f"{source} is no checkpoint and holds none")
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype)


@entry_point("export", Config)
def main(config: Config) -> None:
    out = output_folder(config.out, EXPORT)
    size = export(Path(config.checkpoint), out, [Path(each) for each in config.also])
    print(f"{config.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
