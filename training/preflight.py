"""What would stop a run, or spoil it, found before anything loads."""

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

from sprint_sgl.console import notes
from sprint_sgl.errors import BadInput
from sprint_sgl.rows import TREE, Row, row_text
from sprint_sgl.runtime.tokenizer import ModelTokenizer, TransformersTokenizer, cached_file, json_tokenizer
from sprint_sgl.storage.checkpoints import (
    check_tokenizer,
    load_tokenizer,
    may_be_on_hub,
    model_config,
    refuse_adapters,
    weights,
)
from training.rows import naming_line, read_rows
from training.tree.rows import ATTENTIONS, TREE_TEMPLATE, read_back, row_tree

# A checkpoint in bf16 holds two bytes a weight, and twelve of the optimiser: a copy in full precision and two moments.
CHECKPOINT_BYTES_A_WEIGHT_BYTE = 7
SMALLEST_ROOM = 10**8  # bytes for logs, curves and adapters
MOST_COPIES = 3  # a tree holds a text once on its trunk, once on a branch, and the tags that open the branch
HUB_LIMIT = 10.0  # seconds


def check(model: str, files: Iterable[Path], out: Path, args: Mapping[str, Any]) -> list[str]:
    """What is worth saying about rows that will be left out. Raises BadInput."""
    check_args(args)
    folder = model_folder(model)
    refuse_adapters(folder)
    context = check_model(folder, args)
    found = [note for path in files for note in check_rows(path, folder, context, args)]
    found += check_room(out, folder, args)
    check_devices(args)
    return found


def check_args(args: Mapping[str, Any]) -> None:
    """What ms-swift would find out after a minute. Raises BadInput."""
    for name in ("max_length", "save_total_limit", "eval_steps", "save_steps", "per_device_train_batch_size"):
        value = args.get(name)
        share = name.endswith("_steps") and isinstance(value, float) and 0 < value < 1  # of all steps
        if not (value is None or share or (type(value) is int and value > 0)):
            raise BadInput(f"recipe.args.{name}={value} is no whole number above 0")
    if args.get("load_best_model_at_end") and args.get("eval_strategy", "no") == "steps":
        saved, evaluated = (args.get(name, 500) for name in ("save_steps", "eval_steps"))
        if type(saved) is type(evaluated) is int and saved % evaluated:
            raise BadInput(
                f"save_steps={saved} must be a multiple of eval_steps={evaluated}: the best checkpoint is one that was "
                "evaluated"
            )
    check_tree_args(args)
    reports = args.get("report_to") or []
    needed = [reports] if isinstance(reports, str) else [*reports]
    needed = [name for name in needed if name in ("tensorboard", "wandb", "swanlab", "mlflow")]
    needed += ["bitsandbytes"] if args.get("quant_method") == "bnb" else []
    needed += ["liger_kernel"] if args.get("use_liger_kernel") else []
    if missing := [name for name in needed if find_spec(name) is None]:
        raise BadInput(
            f"this recipe needs a package that is not installed: uv pip install {missing[0].replace('_', '-')}"
        )


def check_tree_args(args: Mapping[str, Any]) -> None:
    """What can lay out trees is complete, and nothing is asked that cannot go with it. Raises BadInput."""
    trees, attention = args.get("template") == TREE_TEMPLATE, args.get("attn_impl")
    here = ATTENTIONS[bool(args.get("use_cpu"))]
    if not trees:
        if attention in {name for names in ATTENTIONS.values() for name in names}:
            raise BadInput(
                f"attn_impl={attention} is for template={TREE_TEMPLATE}: ++recipe.args.attn_impl=null goes with "
                f"template={args.get('template')}"
            )
        return
    if attention not in here:
        raise BadInput(
            f"template={TREE_TEMPLATE} needs ++recipe.args.attn_impl={' or '.join(here)} here, got {attention}; rows "
            "without trees can do with ++recipe.args.template=dummy and any attention"
        )
    for name in ("packing", "padding_free"):
        if args.get(name):
            raise BadInput(f"{name}=true puts rows behind one another, which template={TREE_TEMPLATE} cannot do")
    if int(args.get("sequence_parallel_size") or 1) > 1:
        raise BadInput(
            f"sequence_parallel_size={args['sequence_parallel_size']} shares a row between devices, which a tree's "
            "mask does not allow: sequence_parallel_size=1, or transcripts (rows.format=transcript) with recipe=long"
        )


def check_devices(args: Mapping[str, Any]) -> None:
    """What is trained on is here. Raises BadInput."""
    if not args.get("use_cpu"):
        import torch  # seconds, which a training on the CPU need not wait for

        if not torch.accelerator.is_available():
            raise BadInput("no GPU is here: recipe.args.use_cpu=true trains on the CPU, as recipe=countdown_mini does")


def model_folder(model: str) -> Path:
    """Where the model is; a hub id stays as it is. Raises BadInput for a model that is missing or not there."""
    if not model:
        raise BadInput("model is missing: this recipe has none of its own, give model=...")
    folder = weights(model)
    if not (folder.exists() or may_be_on_hub(model)):
        raise BadInput(f"model={model!r} is not there, and is no hub id such as org/name")
    return folder


def check_model(folder: Path, args: Mapping[str, Any]) -> int | None:
    """The model's context in tokens, None where it is not known; a hub id is not looked at."""
    limit = args.get("max_length")
    if not folder.exists():
        return None
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} holds no config.json")
    if missing := sorted(weight_files(folder) - {path.name for path in folder.iterdir()}):
        raise BadInput(f"{folder} lacks {missing[0]}, which its index names")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(f"{folder} holds no weights (*.safetensors)")
    check_tokenizer(folder)
    for path in folder.glob("*.safetensors"):
        check_whole(path)
    context: int | None = model_config(folder).get("max_position_embeddings")
    if limit and context and limit > context and args.get("template") != TREE_TEMPLATE:
        raise BadInput(f"max_length={limit} is more than the context of {folder}, {context} tokens")
    if args.get("template") == TREE_TEMPLATE:
        check_window(folder, context)
    return context


def check_window(folder: Path, context: int | None) -> None:
    """The model's layers see all that is before a token, as attention over trees does. Raises BadInput."""
    config = model_config(folder)
    window = config.get("sliding_window")
    in_use = config.get("use_sliding_window", True) and set(config.get("layer_types") or []) != {"full_attention"}
    if window and in_use and window < (context or sys.maxsize):
        raise BadInput(
            f"{folder} has layers that see {window} tokens back, which attention over trees does not know: curate with "
            "rows.format=transcript, and ++recipe.args.template=dummy ++recipe.args.attn_impl=null"
        )


def check_whole(path: Path) -> None:
    """A file of weights begins with where each of them ends. Raises BadInput for one that is shorter."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no file of weights") from error
    if size < 8 + length + max(ends, default=0):
        raise BadInput(f"{path} has been cut off: {size:,} bytes of {8 + length + max(ends, default=0):,}")


def weight_files(folder: Path) -> set[str]:
    """The names in the index of weights that are in several files."""
    index = folder / "model.safetensors.index.json"
    return set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()


def check_rows(path: Path, folder: Path, context: int | None, args: Mapping[str, Any]) -> list[str]:
    """Every row is one that ms-swift can read; of those that are too long, how many.

    Of a tree row two things are limited: all its tokens by max_length, and each path by the model's context.
    """
    limit, trees = args.get("max_length") or context, args.get("template") == TREE_TEMPLATE
    end = end_text(str(folder))
    count, long, beyond = 0, [], []
    for count, row in enumerate(track(read_rows(path), f"checking {path.name}", console=notes, transient=True), 1):
        with naming_line(path, count):
            check_channel(row, trees)
            if row.get("channel") == TREE:
                read_back(row)
            check_text(row, end)
        tokens, longest_path = tokens_of(row, str(folder), limit, context)
        if limit and tokens > limit:
            long.append(count)
        elif context and longest_path > context:
            beyond.append(count)
    ways = [
        (long, f"max_length={limit} tokens", "raise recipe.args.max_length"),
        (beyond, f"the model's context of {context} tokens, on a path", "take a model with a longer one"),
    ]
    said, none_left = [], len(long) + len(beyond) == count
    for lines, most, way in ways:
        if not lines:
            continue
        if args.get("truncation_strategy", "delete") != "delete":
            raise BadInput(f"{path}, line {lines[0]}: longer than {most}, as {len(lines) - 1} more rows are")
        if len(lines) == count:
            raise BadInput(f"{path}: all {count} rows are longer than {most}: {way}")
        if none_left:
            raise BadInput(f"{path}: all {count} rows are too long, {len(lines)} of them longer than {most}: {way}")
        which = f"row {lines[0]} is" if len(lines) == 1 else f"{len(lines)} rows, the first on line {lines[0]}, are"
        said.append(f"{path}: {which} longer than {most}, and left out")
    return said


def check_text(row: Row, end: str) -> None:
    """The row does not hold the token by which the model ends what it writes. Raises BadInput."""
    if end and end in row_text(row):
        raise BadInput(f"the text holds {end!r}, by which this model ends what it writes: take it out")


def check_channel(row: Row, laid_out: bool) -> None:
    """A row of the channel `tree` will be laid out as one. Raises BadInput, for a misspelt channel too."""
    channel = row.get("channel")
    if channel != TREE and isinstance(channel, str) and channel.lower().startswith(TREE):
        raise BadInput(f"the channel is {channel!r}, which is no tree: {TREE!r}")
    if channel == TREE and not laid_out:
        raise BadInput(
            f"a row of the channel {TREE!r}, and this recipe does not lay out trees: recipe=paper does, by "
            f"template={TREE_TEMPLATE}; for the paper's own rows curate with rows.format=transcript"
        )


def tokens_of(row: Row, model: str, limit: int | None, context: int | None) -> tuple[int, int]:
    """The tokens of a row and of its longest path, or 0 and 0 where it is surely within the limits.

    Raises BadInput where the model has no tokenizer.
    """
    size = len(row_text(row).encode())  # no token is shorter than a byte
    copies = MOST_COPIES if row.get("channel") == TREE else 1
    if copies * size < (limit or sys.maxsize) and size < (context or sys.maxsize):
        return 0, 0
    tree = row_tree(row, spelling_of(model), end=0)
    return len(tree.input_ids), tree.longest_path


def end_text(model: str) -> str:
    """How the token by which a model ends what it writes looks in a text; empty where that is not known here."""
    if (path := cached_file(model, "tokenizer_config.json")) is None:
        return ""
    end = json.loads(path.read_text()).get("eos_token") or ""
    return str(end.get("content", "") if isinstance(end, dict) else end)


def spelling_of(model: str) -> ModelTokenizer:
    """Raises BadInput where the model has no tokenizer."""
    return json_tokenizer(model) or TransformersTokenizer(load_tokenizer(model))


def check_room(out: Path, folder: Path, args: Mapping[str, Any]) -> list[str]:
    """There is room for the checkpoints that are kept and one under way; adapters need next to none."""
    size = weight_bytes(folder)
    if size is None:
        return [f"the size of {folder} cannot be asked for: whether its checkpoints fit on the disk is not checked"]
    kept = int(args.get("save_total_limit") or 1)
    whole = args.get("tuner_type", "full") == "full"
    needed = max((kept + 1) * CHECKPOINT_BYTES_A_WEIGHT_BYTE * size * whole, SMALLEST_ROOM)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise BadInput(
            f"{out} has {free / 1e9:.1f} GB left and {kept + 1} checkpoints need {needed / 1e9:.1f}: "
            "lower recipe.args.save_total_limit or give another out=FOLDER"
        )
    return []


def weight_bytes(folder: Path) -> int | None:
    """Bytes of the weights in a folder or of a model on the hub; None where the hub cannot be asked."""
    if folder.exists():
        return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        files = HfApi().model_info(str(folder), files_metadata=True, timeout=HUB_LIMIT).siblings or []
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, httpx.HTTPError):
        return None
    return sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
