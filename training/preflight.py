"""Checks before a training starts: everything that would stop or spoil the run, found before a model is loaded."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from rich.progress import track

from sprint_sgl import protocol
from sprint_sgl.console import notes
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.tokenizer import ModelTokenizer, TransformersTokenizer, cached_file, json_tokenizer
from sprint_sgl.storage.checkpoints import (
    check_tokenizer,
    load_tokenizer,
    may_be_on_hub,
    model_config,
    refuse_adapters,
    weights_folder,
)
from sprint_sgl.training_rows import TREE, Row, row_text, tree_channel, tree_format
from sprint_sgl.validation import suggestion
from training.row_file import locate_errors, read_rows
from training.swift_arguments import argument_names
from training.tree.labels import ATTENTIONS, TREE_TEMPLATE, read_trajectory, row_tree

# A bf16 checkpoint holds two bytes a weight, and twelve for the optimiser: a full-precision copy and two moments.
CHECKPOINT_BYTES_PER_WEIGHT_BYTE = 7
MIN_DISK_SPACE = 10**8  # bytes for logs, curves and adapters
MAX_COPIES = 3  # a tree repeats a text on its trunk and on a branch, and adds the tags that open the branch
HUB_TIMEOUT = 10.0  # seconds


def check_training(model: str, files: Iterable[Path], out: Path, args: Mapping[str, Any]) -> list[str]:
    """Return notes about rows that will be left out. Raise BadInput for a run that cannot work."""
    check_args(args)
    folder = model_folder(model)
    refuse_adapters(folder)
    context = check_model(folder, args)
    found = [note for path in files for note in check_rows(path, folder, context, args)]
    found += check_disk_space(out, folder, args)
    check_devices(args)
    return found


def check_args(args: Mapping[str, Any]) -> None:
    """Raise BadInput for arguments that ms-swift would refuse only after a minute, or take for another one: its parser
    accepts the beginning of a name.
    """
    known = argument_names()
    if unknown := [name for name in args if known and name not in known]:
        raise BadInput(f"ms-swift has no argument recipe.args.{unknown[0]}{suggestion(unknown[0], sorted(known))}")
    for name in ("max_length", "save_total_limit", "eval_steps", "save_steps", "per_device_train_batch_size"):
        value = args.get(name)
        share = name.endswith("_steps") and isinstance(value, float) and 0 < value < 1  # of all steps
        if not (value is None or share or (type(value) is int and value > 0)):
            raise BadInput(f"recipe.args.{name} must be a whole number of at least 1, got {value}")
    if args.get("load_best_model_at_end") and args.get("eval_strategy", "no") == "steps":
        saved, evaluated = (args.get(name, 500) for name in ("save_steps", "eval_steps"))
        if type(saved) is type(evaluated) is int and saved % evaluated:
            raise BadInput(
                f"save_steps={saved} must be a multiple of eval_steps={evaluated}: "
                "only an evaluated checkpoint can be the best one"
            )
    check_tree_args(args)
    reports = args.get("report_to") or []
    needed = [reports] if isinstance(reports, str) else [*reports]
    needed = [name for name in needed if name in ("tensorboard", "wandb", "swanlab", "mlflow")]
    needed += ["bitsandbytes"] if args.get("quant_method") == "bnb" else []
    needed += ["liger_kernel"] if args.get("use_liger_kernel") else []
    if missing := [name for name in needed if find_spec(name) is None]:
        raise BadInput(
            f"this recipe needs a package that is missing; install it: uv pip install {missing[0].replace('_', '-')}"
        )


def check_tree_args(args: Mapping[str, Any]) -> None:
    """Raise BadInput if the arguments for trees are incomplete or exclude one another."""
    trees, attention = args.get("template") == TREE_TEMPLATE, args.get("attn_impl")
    usable = ATTENTIONS[bool(args.get("use_cpu"))]
    if not trees:
        if attention in {name for names in ATTENTIONS.values() for name in names}:
            raise BadInput(
                f"attn_impl={attention} needs template={TREE_TEMPLATE}: with template={args.get('template')} "
                "set recipe.args.attn_impl=null"
            )
        return
    if attention not in usable:
        raise BadInput(
            f"template={TREE_TEMPLATE} needs recipe.args.attn_impl={' or '.join(usable)} on this device, got "
            f"{attention}; rows without trees also work with recipe.args.template=dummy and any attention"
        )
    for name in ("packing", "padding_free"):
        if args.get(name):
            raise BadInput(f"{name}=true joins rows into one sequence, which template={TREE_TEMPLATE} does not support")
    if int(args.get("sequence_parallel_size") or 1) > 1:
        raise BadInput(
            f"sequence_parallel_size={args['sequence_parallel_size']} splits a row over devices, which a tree's mask "
            "does not allow: set it to 1, or train on transcripts (rows.format=transcript) with recipe=long"
        )


def check_devices(args: Mapping[str, Any]) -> None:
    """Raise BadInput if the recipe needs a GPU and there is none."""
    if not args.get("use_cpu"):
        import torch  # takes seconds, and a training on the CPU does not need it here

        if not torch.accelerator.is_available():
            raise BadInput("no GPU found: recipe.args.use_cpu=true trains on the CPU, as recipe=countdown_mini does")


def model_folder(model: str) -> Path:
    """Return the model's folder, or its hub id as a path. Raise BadInput if the model is missing or does not exist."""
    if not model:
        raise BadInput("model is missing: this recipe has no default model, give model=...")
    folder = weights_folder(model)
    if not (folder.exists() or may_be_on_hub(model)):
        raise BadInput(f"model={model!r} does not exist, and is not a hub id such as org/name")
    return folder


def check_model(folder: Path, args: Mapping[str, Any]) -> int | None:
    """Return the model's context in tokens, None if it is not known. Raise BadInput for a broken folder.

    A hub id is not looked up.
    """
    limit = args.get("max_length")
    if not folder.exists():
        return None
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} holds no config.json")
    if missing := sorted(weight_files(folder) - {path.name for path in folder.iterdir()}):
        raise BadInput(f"{folder} lacks {missing[0]}, which its index lists")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(f"{folder} holds no weights (*.safetensors)")
    check_tokenizer(folder)
    for path in folder.glob("*.safetensors"):
        check_weight_file(path)
    context: int | None = model_config(folder).get("max_position_embeddings")
    if limit and context and limit > context and args.get("template") != TREE_TEMPLATE:
        raise BadInput(f"max_length={limit} is larger than the context of {folder}, {context} tokens")
    if args.get("template") == TREE_TEMPLATE:
        check_window(folder, context)
    return context


def check_window(folder: Path, context: int | None) -> None:
    """Raise BadInput if layers have a sliding window, which attention over trees does not support."""
    config = model_config(folder)
    window = config.get("sliding_window")
    in_use = config.get("use_sliding_window", True) and set(config.get("layer_types") or []) != {"full_attention"}
    if window and in_use and window < (context or sys.maxsize):
        raise BadInput(
            f"{folder} has layers with a sliding window of {window} tokens, which attention over trees does not "
            "support: curate with rows.format=transcript, and train with recipe.args.template=dummy "
            "recipe.args.attn_impl=null"
        )


def check_weight_file(path: Path) -> None:
    """Raise BadInput if a safetensors file is shorter than its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a safetensors file") from error
    if size < 8 + length + max(ends, default=0):
        raise BadInput(f"{path} has been cut off: {size:,} bytes of {8 + length + max(ends, default=0):,}")


def weight_files(folder: Path) -> set[str]:
    """Return the file names in the index of sharded weights, an empty set if there is no index."""
    index = folder / "model.safetensors.index.json"
    return set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()


def check_rows(path: Path, folder: Path, context: int | None, args: Mapping[str, Any]) -> list[str]:
    """Return notes about rows that are too long. Raise BadInput for a row that ms-swift cannot read.

    A tree row has two limits: `max_length` for all its tokens, and the model's context for each path.
    """
    limit, trees = args.get("max_length") or context, args.get("template") == TREE_TEMPLATE
    end = end_token_text(str(folder))
    count, long, beyond = 0, [], []
    for count, row in enumerate(track(read_rows(path), f"checking {path.name}", console=notes, transient=True), 1):
        with locate_errors(path, count):
            check_channel(row, trees)
            if tree_format(row):
                read_trajectory(row)
            check_no_end_token(row, end)
        tokens, longest_path = row_lengths(row, str(folder), limit, context)
        if limit and tokens > limit:
            long.append(count)
        elif context and longest_path > context:
            beyond.append(count)
    ways = [
        (long, f"max_length={limit} tokens", "raise recipe.args.max_length"),
        (beyond, f"the model's context of {context} tokens, on a path", "choose a model with a longer context"),
    ]
    notes_found, none_left = [], len(long) + len(beyond) == count
    for lines, most, way in ways:
        if not lines:
            continue
        if args.get("truncation_strategy", "delete") != "delete":
            raise BadInput(f"{path}, line {lines[0]}: longer than {most}, and so are {len(lines) - 1} more rows")
        if len(lines) == count:
            raise BadInput(f"{path}: all {count} rows are longer than {most}: {way}")
        if none_left:
            raise BadInput(f"{path}: all {count} rows are too long, {len(lines)} of them longer than {most}: {way}")
        which = f"row {lines[0]} is" if len(lines) == 1 else f"{len(lines)} rows, the first on line {lines[0]}, are"
        notes_found.append(f"{path}: {which} longer than {most}, and left out")
    return notes_found


def check_no_end_token(row: Row, end: str) -> None:
    """Raise BadInput if the row contains the model's end token."""
    if end and end in row_text(row):
        raise BadInput(f"the text contains {end!r}, this model's end token: remove it")


def check_channel(row: Row, laid_out: bool) -> None:
    """Raise BadInput for a misspelt channel `tree`, and for a tree row under a recipe that does not lay out trees."""
    channel, known = row.get("channel"), list(map(tree_channel, protocol.FORMATS))
    if channel not in known and isinstance(channel, str) and channel.lower().startswith(TREE):
        raise BadInput(f"unknown channel {channel!r}: trees have the channel {TREE!r}, or {', '.join(known[1:])}")
    if channel in known and not laid_out:
        raise BadInput(
            f"the row has the channel {channel!r}, and this recipe does not lay out trees: recipe=paper does "
            f"(template={TREE_TEMPLATE}); for the paper's own rows curate with rows.format=transcript"
        )


def row_lengths(row: Row, model: str, limit: int | None, context: int | None) -> tuple[int, int]:
    """Return the tokens of a row and of its longest path, or (0, 0) if the row is surely within the limits.

    Raise BadInput if the model has no tokenizer.
    """
    size = len(row_text(row).encode())  # a token has at least one byte
    copies = MAX_COPIES if tree_format(row) else 1
    if copies * size < (limit or sys.maxsize) and size < (context or sys.maxsize):
        return 0, 0
    tree = row_tree(row, load_spelling(model), end=0)
    return len(tree.input_ids), tree.longest_path


def end_token_text(model: str) -> str:
    """Return the text of the model's end token, "" if it is not known on this machine."""
    if (path := cached_file(model, "tokenizer_config.json")) is None:
        return ""
    end = json.loads(path.read_text()).get("eos_token") or ""
    return str(end.get("content", "") if isinstance(end, dict) else end)


def load_spelling(model: str) -> ModelTokenizer:
    """Load the model's tokenizer. Raise BadInput if it has none."""
    return json_tokenizer(model) or TransformersTokenizer(load_tokenizer(model))


def check_disk_space(out: Path, folder: Path, args: Mapping[str, Any]) -> list[str]:
    """Return a note if the space needed is not known. Raise BadInput if the checkpoints do not fit on the disk.

    The disk holds the checkpoints that are kept and one being written. Adapters need next to nothing.
    """
    size = weight_bytes(folder)
    if size is None:
        return [f"the size of {folder} is not known: whether its checkpoints fit on the disk is not checked"]
    kept = int(args.get("save_total_limit") or 1)
    full = args.get("tuner_type", "full") == "full"
    needed = max((kept + 1) * CHECKPOINT_BYTES_PER_WEIGHT_BYTE * size * full, MIN_DISK_SPACE)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise BadInput(
            f"{out} has {free / 1e9:.1f} GB free and {kept + 1} checkpoints need {needed / 1e9:.1f} GB: "
            "lower recipe.args.save_total_limit or give another out=FOLDER"
        )
    return []


def weight_bytes(folder: Path) -> int | None:
    """Return the bytes of the weights in a folder or on the hub, None if the hub cannot be reached."""
    if folder.exists():
        return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        files = HfApi().model_info(str(folder), files_metadata=True, timeout=HUB_TIMEOUT).siblings or []
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, httpx.HTTPError):
        return None
    return sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
