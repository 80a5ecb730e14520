"""Model folders: checkpoints of a training run, weights, tokenizers, notes."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.package_files import MODELS, model_names

MODEL_NOTES = "sprint.json"
ADAPTER = "adapter_config.json"
TRANSFORMERS_IMPORT = (
    Lock()
)  # transformers puts another module in its own place while it is imported, which threads would meet


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    found = {path.name.removeprefix("checkpoint-"): path for path in run.glob("checkpoint-*")}
    steps = {
        int(step): folder for step, folder in found.items() if step.isdecimal() and trainer_state(folder) is not None
    }
    return steps[max(steps)] if steps else None


def trainer_state(checkpoint: Path) -> dict[str, Any] | None:
    """Return the trainer's state, the last file of a checkpoint, or None while it is incomplete."""
    try:
        found = json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def best_checkpoint(run: Path) -> Path | None:
    """Return the checkpoint with the lowest evaluation loss, or the newest if that is unknown, or None."""
    last = last_checkpoint(run)
    step = (trainer_state(last) or {}).get("best_global_step") if last else None
    best = run / f"checkpoint-{step}"
    return best if step and _is_model(best) else last


def weights_folder(model: str) -> Path:
    """Return the folder with the weights of a shipped model, of a model folder, or of a training run."""
    folder = MODELS / model if model in model_names() else Path(model).expanduser()
    return folder if _is_model(folder) else best_checkpoint(folder) or folder


def may_be_on_hub(model: str) -> bool:
    """Return whether the name is org/name and neither a local path nor inside an existing folder."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).parent.is_dir()


def refuse_adapters(folder: Path) -> None:
    """Raise BadInput for a folder of adapters, which are not a whole model."""
    if (folder / ADAPTER).is_file():
        raise BadInput(f"{folder} are adapters: python -m training.export checkpoint={folder} out=MODEL merges them")


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", ADAPTER))


def check_tokenizer(folder: Path) -> None:
    """Raise BadInput for a file, or a folder without a tokenizer, where transformers would make an empty one."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: a model is a folder, or a hub id")
    if folder.is_dir() and not any(folder.glob("token*")) and not any(folder.glob("vocab*")):
        raise BadInput(f"{folder} holds no tokenizer (tokenizer.json)")


def model_type(folder: Path) -> str | None:
    """Return the architecture in a folder's config, which ms-swift cannot always guess; None without a config."""
    return str(model_config(folder)["model_type"]) if (folder / "config.json").is_file() else None


def model_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a folder. Raises BadInput if it is broken."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise BadInput(f"{folder}/config.json is broken: {error}") from error
    if not isinstance(found, dict) or "model_type" not in found:
        raise BadInput(f"{folder}/config.json names no model_type")
    return found


def load_tokenizer(model: str, *, here: bool = False) -> Any:
    """Return the transformers tokenizer of a model name, folder or hub id; with `here`, without a download.

    Raises BadInput if there is none.
    """
    folder = weights_folder(model)
    check_tokenizer(folder)
    with TRANSFORMERS_IMPORT:
        from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=here)
    except (OSError, ValueError) as error:
        raise BadInput(f"{model!r} is neither a folder with a tokenizer nor a tokenizer on the hub: {error}") from error


def model_notes(model: str) -> dict[str, Any]:
    """Return how to use the model (prompt style, limits) from sprint.json in its folder or the run's; {} without."""
    for folder in (Path(model), Path(model).parent):
        if (file := folder / MODEL_NOTES).is_file():
            return dict(json.loads(file.read_text()))
    return {}
