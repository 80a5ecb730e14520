"""Rows laid out as trees for a trainer: token ids, labels, positions, and the node of each token."""

from __future__ import annotations

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.tokenizer import ModelTokenizer
from sprint_sgl.training_rows import Row, tree_format
from sprint_sgl.trajectory import Trajectory
from training.tree.layout import Tree, plain_tree, trajectory_tree

TREE_TEMPLATE = "sprint_tree"  # our ms-swift template: training/plugins/sprint_tree.py
ATTENTIONS = {True: ("tree_paths", "tree_sdpa"), False: ("tree_sdpa", "tree_flex")}  # by use_cpu


def row_tree(row: Row, spelling: ModelTokenizer, end: int) -> Tree:
    """Return the tree of a row whose channel is a tree's, and a single path for any other row. `end` is the end token.

    Raise BadInput as read_trajectory does.
    """
    context, response = (message["content"] for message in row["messages"])
    if tree_format(row) is None:
        return plain_tree(spelling.encode_first(context), [*spelling.encode(response), end])
    trajectory, format = read_trajectory(row), row_format(row)
    return trajectory_tree(context, trajectory, spelling.encode, spelling.encode_first, end, format)


def row_format(row: Row) -> protocol.Format:
    """Return the format in which a row of a tree's channel is written. Raises BadInput for an unknown one."""
    return protocol.format_named(tree_format(row) or protocol.SPRINT.name)


def read_trajectory(row: Row) -> Trajectory:
    """Return the trajectory of a row that is laid out as a tree.

    Raise BadInput if rendering the trajectory does not give the row's text: a program would send other tokens than are
    trained.
    """
    context, response = (message["content"] for message in row["messages"])
    format = row_format(row)
    trajectory = format.parse(context + response)
    written = format.transcript(trajectory)
    if written != response:
        place = next((k for k, (a, b) in enumerate(zip(written, response, strict=False)) if a != b), len(written))
        raise BadInput(
            f"the transcript is not well-formed from character {place} on, {response[place : place + 40]!r}: "
            "make the rows again with sprint-sgl curate, or remove their channel, tree, to train them unchanged"
        )
    return trajectory


def encode_tree(tree: Tree) -> dict[str, list[int]]:
    """Return the columns of a row for a trainer; each list has one number for each token."""
    return {
        "input_ids": tree.input_ids,
        "labels": tree.labels,
        "position_ids": tree.position_ids,
        "tree_entry": tree.token_entries,
        "tree_exit": tree.token_exits,
    }
