"""Instruction texts, one folder for each style: `parallel.txt` for planner and executors, `sequential.txt` for RFT (by
default the one of the style `sprint`).

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
    return sorted(path.name for path in _FOLDER.iterdir() if _parallel_file(path).is_file())


@cache
def prompt_style(name: str) -> PromptStyle:
    """Return the shipped style of that name, or the style in that folder. Raises BadInput."""
    folder = _FOLDER / name if name in style_names() else Path(name)
    parallel, sequential, tools = _parallel_file(folder), folder / "sequential.txt", folder / "tools.txt"
    if not parallel.is_file():
        known = ", ".join(style_names())
        raise BadInput(f"unknown prompt style {name!r}; known: {known}, or a folder with parallel.txt")
    if not sequential.is_file():
        sequential = _FOLDER / DEFAULT_PROMPT_STYLE / "sequential.txt"
    told = tools.read_text().strip() if tools.is_file() else ""
    guided = parallel.stem == "guided"
    return PromptStyle(name, parallel.read_text().strip(), sequential.read_text().strip(), guided, told)


def _parallel_file(folder: Path) -> Path:
    """Return the file with a style's parallel instruction, whether or not there is one."""
    guided = folder / "guided.txt"
    return guided if guided.is_file() else folder / "parallel.txt"
