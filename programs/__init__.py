"""SGLang programs, one method a file. Each is imported at its first use: importing SGLang takes a second."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from programs.apr import apr_program
    from programs.best_of_n import best_of_n_program
    from programs.graph_of_thoughts import graph_of_thoughts_program
    from programs.guided import guided_program
    from programs.hedged import hedged_program
    from programs.hogwild import hogwild_program
    from programs.pasta import pasta_program
    from programs.self_consistency import self_consistency_program
    from programs.sequential import sequential_program
    from programs.skeleton_of_thought import skeleton_of_thought_program
    from programs.sprint import sprint_program
    from programs.threads import threads_program
    from programs.tree_of_thoughts import tree_of_thoughts_program

__all__ = [
    "apr_program",
    "best_of_n_program",
    "graph_of_thoughts_program",
    "guided_program",
    "hedged_program",
    "hogwild_program",
    "pasta_program",
    "self_consistency_program",
    "sequential_program",
    "skeleton_of_thought_program",
    "sprint_program",
    "threads_program",
    "tree_of_thoughts_program",
]


def __getattr__(name: str) -> Any:
    """Import a program from the file of its name: `sprint_program` is in programs/sprint.py."""
    if name not in __all__:
        raise AttributeError(f"module 'programs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"programs.{name.removesuffix('_program')}"), name)
