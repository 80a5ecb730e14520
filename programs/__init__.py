"""SGLang programs, one method a file."""

from programs.best_of_n import best_of_n_program
from programs.graph_of_thoughts import graph_of_thoughts_program
from programs.hedged import hedged_program
from programs.self_consistency import self_consistency_program
from programs.sequential import sequential_program
from programs.skeleton_of_thought import skeleton_of_thought_program
from programs.sprint import sprint_program
from programs.tree_of_thoughts import tree_of_thoughts_program

__all__ = [
    "best_of_n_program",
    "graph_of_thoughts_program",
    "hedged_program",
    "self_consistency_program",
    "sequential_program",
    "skeleton_of_thought_program",
    "sprint_program",
    "tree_of_thoughts_program",
]
