"""Export a checkpoint as a model to ship: bf16 safetensors, its tokenizer, and sprint.json.

python -m training.export checkpoint=work/mini/sprint out=models/countdown-mini-sprint

Runs that started from the same weights can be averaged (Wortsman et al., "Model soups", 2022), at no cost at inference:
`also=[work/mini/sprint7]` takes the mean of their weights.
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
class ExportConfig:
    """`checkpoint` is a checkpoint or a run's folder. The weights of the checkpoints in `also` are averaged with it."""

    checkpoint: str
    out: str
    also: list[str] = field(default_factory=list)


def export(checkpoint: Path, out: Path, also: Sequence[Path] = ()) -> int:
    """Write the model and return its size in bytes.

    Raise BadInput if a checkpoint is missing, or if a checkpoint in `also` has other shapes.
    """
    import torch
    from transformers import AutoTokenizer

    source = weights_folder(str(checkpoint))
    model = load_model(source, torch.float32 if also else torch.bfloat16)
    if also:
        others = {path: load_model(weights_folder(str(path)), torch.float32).state_dict() for path in also}
        model.load_state_dict(mean_weights(model.state_dict(), others))
    with whole_file(out / MODEL_NOTES) as file:  # first: it marks the folder as an export
        file.write(json.dumps(model_notes(str(source)), indent=2) + "\n")
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(model.config.name_or_path).save_pretrained(out)
    return sum(file.stat().st_size for file in out.iterdir())


def mean_weights(own: Mapping[str, Any], others: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each tensor. Raise BadInput if names or shapes differ from those of `own`."""
    shapes = {name: tensor.shape for name, tensor in own.items()}
    for path, other in others.items():
        if {name: tensor.shape for name, tensor in other.items()} != shapes:
            raise BadInput(f"{path} has tensors of other names or shapes than the first checkpoint: cannot be averaged")
    every = [own, *others.values()]
    return {name: sum(weights[name] for weights in every) / len(every) for name in own}


def load_model(source: Path, dtype: torch.dtype) -> Any:
    """Load a checkpoint; adapters are merged into their model. Raise BadInput if there is no checkpoint."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    if (source / ADAPTER).is_file():
        return AutoPeftModelForCausalLM.from_pretrained(source, dtype=dtype).merge_and_unload()
    if not (source / "config.json").is_file():
        raise BadInput(f"{source} is not a checkpoint and contains none")
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype)


@entry_point("export", ExportConfig)
def main(config: ExportConfig) -> None:
    out = output_folder(config.out, EXPORT)
    size = export(Path(config.checkpoint), out, [Path(each) for each in config.also])
    print(f"{config.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
