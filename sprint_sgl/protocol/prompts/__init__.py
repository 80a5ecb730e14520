"""Instruction texts, one folder for each style: `parallel.txt` for planner and executors, `sequential.txt` for RFT.

A style of models that were never trained on the protocol has `guided.txt` in the place of `parallel.txt`: a message to
a chat model, with $question and $tools, after which the program writes every tag. `tools.txt` stands above the list of
the tools that a planner may call; a style without it says nothing of tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sprint_sgl.errors import BadInput

DEFAULT_PROMPT_STYLE = "sprint"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PromptStyle:
    name: str
    parallel: str
    sequential: str
    guided: bool = False
    tools: str = ""


def style_names() -> list[str]:
    return sorted(path.parent.name for path in _FOLDER.glob("*/sequential.txt"))


@cache
def prompt_style(name: str) -> PromptStyle:
    """Return the shipped style of that name, or the style in that folder. Raises BadInput."""
    folder = _FOLDER / name if name in style_names() else Path(name)
    guided = (folder / "guided.txt").is_file()
    files = [folder / f"{role}.txt" for role in ("guided" if guided else "parallel", "sequential")]
    if not all(file.is_file() for file in files):
        known = ", ".join(style_names())
        raise BadInput(
            f"unknown prompt style {name!r}; known: {known}, or a folder with parallel.txt and sequential.txt"
        )
    parallel, sequential = (file.read_text().strip() for file in files)
    tools = folder / "tools.txt"
    return PromptStyle(name, parallel, sequential, guided, tools.read_text().strip() if tools.is_file() else "")
