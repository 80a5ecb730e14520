"""Rows laid out as trees, for a trainer: token ids, labels and positions, and who attends to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sprint_sgl import tags
from sprint_sgl.errors import BadInput
from sprint_sgl.spelling import Spelling
from training.tree import Tree, plain_tree, trajectory_tree

if TYPE_CHECKING:
    import torch


class Spans(NamedTuple):
    """For each token of a row the number of its node, and the one behind its node's last descendant."""

    entry: Sequence[int]
    exit: Sequence[int]


def row_tree(context: str, response: str, spelling: Spelling, end: int) -> Tree:
    """The tree of a row; of one without stages the single path that it is. `end` is the token that ends a text.

    Raises BadInput for a transcript that does not read back as it is written: what is trained has to be what a
    program would send.
    """

    if not response.startswith(tags.open_plan(1)):
        return plain_tree(spelling.encode_first(context), [*spelling.encode(response), end])
    trajectory = tags.parse(context + response)
    written = tags.render_stages(trajectory) + tags.render_final_answer(trajectory.final_answer)
    if written != response:
        place = next((k for k, (a, b) in enumerate(zip(written, response, strict=False)) if a != b), len(written))
        raise BadInput(
            f"a transcript cannot be read back from its character {place} on, {response[place : place + 40]!r}: "
            "make the rows again with sprint-sgl curate"
        )
    return trajectory_tree(context, trajectory, spelling.encode, spelling.encode_first, end)


def encoded(tree: Tree) -> dict[str, list[int]]:
    """What a trainer needs of a row; all lists have a number for each token."""
    return {
        "input_ids": tree.input_ids,
        "labels": tree.labels,
        "position_ids": tree.position_ids,
        "tree_entry": tree.entry_of_tokens,
        "tree_exit": tree.exit_of_tokens,
    }


def attention_mask(rows: Sequence[Spans], length: int, device: torch.device) -> torch.Tensor:
    """Return who attends to whom, (rows, 1, length, length), true where a token sees another.

    A token sees those before it whose node is above its own or is its own. Padding, at the end of a row, sees itself:
    no row of the matrix is empty.
    """
    import torch

    mask = torch.eye(length, dtype=torch.bool, device=device).repeat(len(rows), 1, 1, 1)
    for own, row in zip(mask, rows, strict=True):
        entry, exit = (torch.tensor(list(values), device=device) for values in row)
        count = len(entry)
        above = (entry[None] <= entry[:, None]) & (entry[:, None] < exit[None])
        own[0, :count, :count] = torch.tril(above)
    return mask
