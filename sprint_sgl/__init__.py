"""SPRINT on SGLang: a planner writes independent prompts, executors answer them in parallel.

The names below are imported on first use, so that `import sprint_sgl` loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sprint_sgl.protocol import parse, render
    from sprint_sgl.runtime.launcher import connect, launch
    from sprint_sgl.trajectory import Trajectory

    __version__: str

__all__ = ["Trajectory", "__version__", "connect", "launch", "parse", "render"]

_MODULES = {
    "Trajectory": "sprint_sgl.trajectory",
    "connect": "sprint_sgl.runtime.launcher",
    "launch": "sprint_sgl.runtime.launcher",
    "parse": "sprint_sgl.protocol",
    "render": "sprint_sgl.protocol",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, or read the installed version."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("sprint-sgl")
    if name not in _MODULES:
        raise AttributeError(f"module 'sprint_sgl' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
