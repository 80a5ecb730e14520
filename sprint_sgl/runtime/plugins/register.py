"""The plugin that SGLang loads in each of its processes (entry point `sglang.srt.plugins`): an attention backend."""

from __future__ import annotations

from typing import Any

ATTENTION_BACKEND = "torch_prefix"


def register() -> None:
    """Register `--attention-backend torch_prefix`; nothing changes for runtimes without that argument."""
    from sglang.srt.arg_groups.choices import add_attention_backend_choices
    from sglang.srt.layers.attention.attention_registry import register_attention_backend

    add_attention_backend_choices([ATTENTION_BACKEND])
    register_attention_backend(ATTENTION_BACKEND)(_backend)


def _backend(model_runner: Any) -> Any:
    from sprint_sgl.runtime.plugins.cpu_attention import TorchPrefixBackend

    return TorchPrefixBackend(model_runner)
