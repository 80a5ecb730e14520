"""Attention over trees, as attention implementations of transformers (ms-swift: attn_impl).

A token sees those before it whose node is its own or above its own: an executor does not see its siblings. A batch
carries two numbers a token, the entry and the exit of its node, in the place of a mask; what follows is made from them
once a step:

tree_sdpa    a mask of every pair of tokens, on the device: runs anywhere
tree_flex    a mask of blocks of 128 tokens, of which those where nothing is seen are left out: for a GPU and long rows
tree_paths   no mask but the tokens that the trunk and each branch see: for a CPU
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SPANS = torch.int32  # by which they are told from masks, which are of truth values or of numbers to be added
PADDING = -1
BLOCK = 128  # tokens


class Spans(NamedTuple):
    """For each token of a row the number of its node, and the one behind its node's last descendant."""

    entry: Sequence[int]
    exit: Sequence[int]


def stacked(rows: Sequence[Spans], length: int) -> torch.Tensor:
    """Return the spans of a batch, (rows, 1, 2, length), padded behind the rows' ends.

    Of four dimensions, since transformers passes on such a mask as it is.
    """
    found = torch.full((len(rows), 1, 2, length), PADDING, dtype=SPANS)
    for own, row in zip(found, rows, strict=True):
        own[0, :, : len(row.entry)] = torch.tensor([list(row.entry), list(row.exit)], dtype=SPANS)
    return found


def dense_mask(spans: torch.Tensor) -> torch.Tensor | None:
    """Return who attends to whom, (rows, 1, length, length), true where a token sees another.

    Padding sees itself: no row of the matrix is empty. None where all rows are single paths: plain causal attention.
    """
    entry, exit = spans[:, 0, 0], spans[:, 0, 1]
    if not (entry > 0).any():
        return None
    above = (entry[:, None] <= entry[:, :, None]) & (entry[:, :, None] < exit[:, None])
    itself = torch.eye(spans.shape[-1], dtype=torch.bool, device=spans.device)
    return (above.tril_() | itself)[:, None]


def block_mask(spans: torch.Tensor) -> BlockMask:
    """Return the same for flex_attention."""
    entry, exit = spans[:, 0, 0].clone(), spans[:, 0, 1].clone()  # views would keep alive what the mask is kept for

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        above = (entry[row, key] <= entry[row, query]) & (entry[row, query] < exit[row, key])
        return (above & (key <= query)) | (key == query)

    rows, length = entry.shape
    on_gpu = spans.device.type != "cpu"
    return create_block_mask(sees, rows, None, length, length, spans.device, BLOCK, _compile=on_gpu)


class Piece(NamedTuple):
    """Tokens that stand one after the other, `begin` to `end` in the row, and the index of all that the last one sees,
    their own at its end."""

    begin: int
    end: int
    path: torch.Tensor


def pieces(spans: torch.Tensor) -> list[list[Piece]]:
    """Return the trunk of each row and its branches, with what they see; padding is left out."""
    found = []
    for entry, exit in spans[:, 0].tolist():
        row: list[Piece] = []
        above: list[tuple[int, int, int]] = []  # exit, begin, end of the nodes on the path
        begin = 0
        while begin < len(entry) and entry[begin] != PADDING:
            end = begin + 1
            while end < len(entry) and entry[end] == entry[begin]:
                end += 1
            goes_on = bool(above) and entry[begin] < above[-1][0]  # from the node before it
            while above and entry[begin] >= above[-1][0]:
                above.pop()
            above.append((exit[begin], begin, end))
            path = torch.cat([torch.arange(first, last) for _, first, last in above])
            row.append(Piece(row.pop().begin if goes_on else begin, end, path))
            begin = end
        found.append(row)
    return found


def attend_along_paths(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: list[list[Piece]] | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Any:
    """Attention of the trunk, then of each branch: hardly anything is computed that is not seen. For a CPU, where many
    small calls cost little."""
    if rows is None:  # no trees
        return sdpa_attention_forward(module, query, key, value, None, dropout, scaling, **options)
    out = torch.zeros_like(query)
    for number, row in enumerate(rows):
        for begin, end, path in row:
            above = len(path) - (end - begin)
            keys, values = (held[number : number + 1].index_select(2, path) for held in (key, value))
            mask = torch.ones(end - begin, len(path), dtype=torch.bool).tril(above) if above else None
            out[number : number + 1, :, begin:end] = torch.nn.functional.scaled_dot_product_attention(
                query[number : number + 1, :, begin:end],
                keys,
                values,
                mask,
                dropout,
                is_causal=not above,
                scale=scaling,
                enable_gqa=True,
            )
    return out.transpose(1, 2).contiguous(), None


def over_trees(make_mask: Callable[[torch.Tensor], Any], attend: Callable[..., Any]) -> Callable[..., Any]:
    """An attention of transformers whose masks are made from spans, one for all layers of a step."""
    made = WeakTensorKeyDictionary()

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,
    ) -> Any:
        if attention_mask is None or attention_mask.dtype != SPANS:  # no trees
            return attend(module, query, key, value, attention_mask, **options)
        if attention_mask not in made:
            made[attention_mask] = make_mask(attention_mask)
        return attend(module, query, key, value, made[attention_mask], **options)

    return forward


AttentionInterface.register("tree_paths", over_trees(pieces, attend_along_paths))
AttentionInterface.register("tree_sdpa", over_trees(dense_mask, sdpa_attention_forward))
AttentionInterface.register("tree_flex", over_trees(block_mask, flex_attention_forward))
