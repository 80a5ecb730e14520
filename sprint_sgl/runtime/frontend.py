"""SGLang's frontend language: the parts that this project uses, imported in one second instead of ten.

`import sglang` imports torch and transformers to patch transformers for the server. A client needs neither, so both are
left out here. The patches are applied if this process imports SGLang's server after all.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from typing import Any

from sprint_sgl.runtime.trimmed_imports import leaving_out

PATCHES = "sglang.srt.utils.hf_transformers_patches"
NEED_PATCHES = ("sglang.srt.server_args", "sglang.srt.utils.hf_transformers")  # of every server, and of its tokenizers


class _PatchOnDemand(MetaPathFinder):
    """Applies SGLang's patches of transformers once a module is imported that needs them."""

    applied = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname in NEED_PATCHES and not self.applied:
            self.applied = True
            importlib.import_module(PATCHES).apply_all()


if "sglang" not in sys.modules:
    with leaving_out(["sglang.srt.utils", "IPython"]):
        importlib.import_module("sglang.lang.backend.runtime_endpoint")
    sys.meta_path.insert(0, _PatchOnDemand())

import sglang as sgl  # noqa: E402
from sglang.lang.backend.base_backend import BaseBackend  # noqa: E402
from sglang.lang.chat_template import ChatTemplate, get_chat_template, get_chat_template_by_model_path  # noqa: E402
from sglang.lang.global_config import global_config  # noqa: E402
from sglang.lang.interpreter import ProgramState, ProgramStateGroup, StreamExecutor  # noqa: E402
from sglang.lang.ir import SglFunction, SglSamplingParams  # noqa: E402

__all__ = [
    "BaseBackend",
    "ChatTemplate",
    "ProgramState",
    "ProgramStateGroup",
    "SglFunction",
    "SglSamplingParams",
    "StreamExecutor",
    "get_chat_template",
    "get_chat_template_by_model_path",
    "global_config",
    "sgl",
]
