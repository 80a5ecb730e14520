"""SGLang's own resolution of server arguments for a GPU that is not there.

    python -m tests.fakes.pretended_gpu < CASES.json

Reads a list of [card, server arguments] and prints what each case resolves to, or why it is refused. SGLang is imported
once, with torch.cuda's answers replaced; each case runs in a fork, so that cases do not affect one another.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock


@dataclass(frozen=True)
class Card:
    name: str
    capability: tuple[int, int]
    gib: float
    processors: int


CARDS = {
    "a100_40gb": Card("NVIDIA A100-SXM4-40GB", (8, 0), 39.4, 108),
    "a100_80gb": Card("NVIDIA A100-SXM4-80GB", (8, 0), 79.2, 108),
    "h100": Card("NVIDIA H100 80GB HBM3", (9, 0), 79.2, 132),
    "rtx4090": Card("NVIDIA GeForce RTX 4090", (8, 9), 23.5, 128),
    "l40s": Card("NVIDIA L40S", (8, 9), 44.5, 142),
}
FIELDS = ("attention_backend", "sampling_backend", "disable_radix_cache", "disable_overlap_schedule")
FIELDS += ("mem_fraction_static", "chunked_prefill_size", "max_running_requests", "enable_deterministic_inference")
FIELDS += ("context_length", "tp_size", "dp_size")


class Kernels(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer that replaces sgl_kernel by a stand-in: the real one loads a CUDA library on import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        ours = name.split(".")[0] == "sgl_kernel"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return MagicMock(name=spec.name, __version__="9.9.9", __path__=[], __spec__=spec, __name__=spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def pretend(card: Card) -> None:
    """Make torch.cuda answer as on a machine with eight such cards."""
    import torch

    size = int(card.gib * 2**30)
    properties = types.SimpleNamespace(
        major=card.capability[0],
        minor=card.capability[1],
        name=card.name,
        multi_processor_count=card.processors,
        total_memory=size,
        warp_size=32,
        L2_cache_size=40 * 2**20,
        gcnArchName="",
        shared_memory_per_block_optin=166912,
        shared_memory_per_multiprocessor=167936,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=2048,
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 8,
        "current_device": 0,
        "get_device_capability": card.capability,
        "get_device_name": card.name,
        "get_device_properties": properties,
        "mem_get_info": (size - 2**29, size),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)


def resolved(card: Card, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the arguments resolve to on the card, with SGLang's warnings."""
    from sglang.srt import server_args
    from sglang.srt.arg_groups import memory_hook
    from sglang.srt.arg_groups.overrides import resolving_view
    from sglang.srt.utils import common

    pretend(card)
    for value in vars(common).values():
        if callable(clear := getattr(value, "cache_clear", None)):
            clear()
    for module in (server_args, memory_hook, common):  # it asks nvidia-smi
        if hasattr(module, "get_device_memory_capacity"):
            module.get_device_memory_capacity = lambda *_, **__: int(card.gib * 1024)
    said: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("sglang").addHandler(listener)
    try:
        given = server_args.prepare_server_args(list(arguments))
        given.resolve_once()
    except BaseException as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    view = resolving_view(given)
    decode = view.cuda_graph_config.decode
    graphs = 0 if str(decode.backend).endswith("disabled") else decode.max_bs
    return {name: getattr(view, name) for name in FIELDS} | {"graphs_up_to": graphs, "warnings": said}


def in_a_fork(card: Card, arguments: Sequence[str]) -> dict[str, Any]:
    """Return `resolved` as computed in a fork."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            json.dump(resolved(card, arguments), out, default=str)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return dict(json.loads(text))


def main() -> None:
    cases = json.load(sys.stdin)
    pretend(CARDS["a100_80gb"])
    sys.meta_path.insert(0, Kernels())
    importlib.import_module("sglang.srt.arg_groups.pipeline")  # what the forks would each import
    json.dump([in_a_fork(CARDS[card], arguments) for card, arguments in cases], sys.stdout)


if __name__ == "__main__":
    main()
