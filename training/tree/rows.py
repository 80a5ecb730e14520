"""Rows laid out as trees, for a trainer: token ids, labels, positions, and the node of each token."""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.rows import TREE, Row
from sprint_sgl.runtime.tokenizer import ModelTokenizer
from sprint_sgl.trajectory import Trajectory
from training.tree.layout import Tree, plain_tree, trajectory_tree

TREE_TEMPLATE = "sprint_tree"  # our template of ms-swift, training/plugins/sprint_tree.py
ATTENTIONS = {True: ("tree_paths", "tree_sdpa"), False: ("tree_sdpa", "tree_flex")}  # on a CPU, on a GPU


def row_tree(row: Row, spelling: ModelTokenizer, end: int) -> Tree:
    """The tree of a row of the channel `tree`; of any other the single path that it is. `end` is the token that ends a
    text.

    Raises BadInput as read_back does.
    """
    context, response = (message["content"] for message in row["messages"])
    if row.get("channel") != TREE:
        return plain_tree(spelling.encode_first(context), [*spelling.encode(response), end])
    return trajectory_tree(context, read_back(row), spelling.encode, spelling.encode_first, end)


def read_back(row: Row) -> Trajectory:
    """The trajectory of a row of the channel `tree`.

    Raises BadInput for a transcript that does not read back as it is written: what is trained has to be what a
    program would send.
    """
    context, response = (message["content"] for message in row["messages"])
    trajectory = protocol.parse(context + response)
    written = protocol.render_stages(trajectory) + protocol.render_final_answer(trajectory.final_answer)
    if written != response:
        place = next((k for k, (a, b) in enumerate(zip(written, response, strict=False)) if a != b), len(written))
        raise BadInput(
            f"a transcript cannot be read back from its character {place} on, {response[place : place + 40]!r}: "
            "make the rows again with sprint-sgl curate, or train them as they stand (without their channel, tree)"
        )
    return trajectory


def encoded(tree: Tree) -> dict[str, list[int]]:
    """What a trainer needs of a row; all lists have a number for each token."""
    return {
        "input_ids": tree.input_ids,
        "labels": tree.labels,
        "position_ids": tree.position_ids,
        "tree_entry": tree.entry_of_tokens,
        "tree_exit": tree.exit_of_tokens,
    }
