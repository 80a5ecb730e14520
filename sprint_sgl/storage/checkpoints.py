"""The folder of a training run, seen from outside: its newest checkpoint, and the one to use."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.shipped import MODELS, model_names

MODEL_NOTES = "sprint.json"
ADAPTER = "adapter_config.json"
TRANSFORMERS_IMPORT = (
    Lock()
)  # transformers puts another module in its own place while it is imported, which threads would meet


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, by its step."""
    found = {path.name.removeprefix("checkpoint-"): path for path in run.glob("checkpoint-*")}
    steps = {
        int(step): folder for step, folder in found.items() if step.isdecimal() and trainer_state(folder) is not None
    }
    return steps[max(steps)] if steps else None


def trainer_state(checkpoint: Path) -> dict[str, Any] | None:
    """What the trainer keeps of a checkpoint, in the last file that it writes; None while that is not whole."""
    try:
        found = json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def best_checkpoint(run: Path) -> Path | None:
    """The checkpoint with the lowest evaluation loss so far, as the newest one's state has it, else the newest."""
    last = last_checkpoint(run)
    step = (trainer_state(last) or {}).get("best_global_step") if last else None
    best = run / f"checkpoint-{step}"
    return best if step and _is_model(best) else last


def weights_folder(model: str) -> Path:
    """Return the folder with the weights: of a shipped model by its name, the model itself, or a run's checkpoint."""
    folder = MODELS / model if model in model_names() else Path(model).expanduser()
    return folder if _is_model(folder) else best_checkpoint(folder) or folder


def may_be_on_hub(model: str) -> bool:
    """Whether the name reads as org/name and as no folder of this machine, or one in a folder that is here."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).parent.is_dir()


def refuse_adapters(folder: Path) -> None:
    """Raises BadInput for adapters, which are no model by themselves."""
    if (folder / ADAPTER).is_file():
        raise BadInput(f"{folder} are adapters: python -m training.export checkpoint={folder} out=MODEL merges them")


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", ADAPTER))


def check_tokenizer(folder: Path) -> None:
    """Raises BadInput for a file, and for a folder without a tokenizer: transformers would make an empty one."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: a model is a folder, or a hub id")
    if folder.is_dir() and not any(folder.glob("token*")) and not any(folder.glob("vocab*")):
        raise BadInput(f"{folder} holds no tokenizer (tokenizer.json)")


def model_type(folder: Path) -> str | None:
    """The architecture that a folder's config names, since ms-swift takes several to be possible; a hub id says it."""
    return str(model_config(folder)["model_type"]) if (folder / "config.json").is_file() else None


def model_config(folder: Path) -> dict[str, Any]:
    """Its config.json. Raises BadInput for one that is broken."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise BadInput(f"{folder}/config.json is broken: {error}") from error
    if not isinstance(found, dict) or "model_type" not in found:
        raise BadInput(f"{folder}/config.json names no model_type")
    return found


def load_tokenizer(model: str, *, here: bool = False) -> Any:
    """Return the transformers tokenizer of a model as `weights` knows it, or of a hub id; `here` downloads none.

    Raises BadInput where there is none.
    """
    folder = weights_folder(model)
    check_tokenizer(folder)
    with TRANSFORMERS_IMPORT:
        from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=here)
    except (OSError, ValueError) as error:
        raise BadInput(f"{model!r} is no folder with a tokenizer, and no tokenizer on the hub: {error}") from error


def model_notes(model: str) -> dict[str, Any]:
    """What the folder's sprint.json, or for a checkpoint its run's, says of how to use the model: prompt style, limits.

    Nothing where there is none.
    """
    for folder in (Path(model), Path(model).parent):
        if (file := folder / MODEL_NOTES).is_file():
            return dict(json.loads(file.read_text()))
    return {}
