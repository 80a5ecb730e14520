"""SGLang's frontend language: all of it that this project stands on, imported in one second in the place of ten.

`import sglang` imports transformers and torch, in order to mend transformers where the server needs it. A client needs
neither, so they are left out here; they are mended when this process imports SGLang's server after all.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from typing import Any

from sprint_sgl.trimmed_imports import leaving_out

MENDING = "sglang.srt.utils.hf_transformers_patches"
SERVER = "sglang.srt.server_args"  # whatever runs a server imports it


class _MendOnDemand(MetaPathFinder):
    """Applies SGLang's patches of transformers once its server is imported."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == SERVER:
            sys.meta_path.remove(self)
            importlib.import_module(MENDING).apply_all()


if "sglang" not in sys.modules:
    with leaving_out(["sglang.srt.utils", "IPython"]):
        importlib.import_module("sglang.lang.backend.runtime_endpoint")
    sys.meta_path.insert(0, _MendOnDemand())

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
