"""Attention over trees, registered as attention implementations of transformers (ms-swift: attn_impl).

A token attends to earlier tokens of its own node and of the nodes above it, so an executor does not see its siblings.
In place of a mask a batch carries two numbers for each token, the entry and exit of its node. From them each
implementation derives once a step:

tree_sdpa    a mask of all pairs of tokens: runs on any device
tree_flex    a mask of blocks of 128 tokens that skips empty blocks: for a GPU and long rows
tree_paths   no mask, but the list of tokens that the trunk and each branch see: for a CPU
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

SPAN_DTYPE = torch.int32  # tells spans from masks, which are boolean or floating-point
PADDING = -1
BLOCK = 128  # tokens


class Spans(NamedTuple):
    """Entry and exit of each token of a row: the number of its node, and one more than that of the node's last
    descendant.
    """

    entry: Sequence[int]
    exit: Sequence[int]


def stack_spans(rows: Sequence[Spans], length: int) -> torch.Tensor:
    """Return the spans of a batch, (rows, 1, 2, length), padded at the end of each row.

    transformers passes on a mask of four dimensions unchanged.
    """
    found = torch.full((len(rows), 1, 2, length), PADDING, dtype=SPAN_DTYPE)
    for own, row in zip(found, rows, strict=True):
        own[0, :, : len(row.entry)] = torch.tensor([list(row.entry), list(row.exit)], dtype=SPAN_DTYPE)
    return found


def dense_mask(spans: torch.Tensor) -> torch.Tensor | None:
    """Return the attention mask, (rows, 1, length, length), true where a query sees a key.

    Padding sees itself, so no row of the mask is empty. Return None if all rows are single paths (causal attention).
    """
    entry, exit = spans[:, 0, 0], spans[:, 0, 1]
    if not (entry > 0).any():
        return None
    above = (entry[:, None] <= entry[:, :, None]) & (entry[:, :, None] < exit[:, None])
    itself = torch.eye(spans.shape[-1], dtype=torch.bool, device=spans.device)
    return (above.tril_() | itself)[:, None]


def block_mask(spans: torch.Tensor) -> BlockMask:
    """Return the attention mask in flex_attention's form."""
    entry, exit = spans[:, 0, 0].clone(), spans[:, 0, 1].clone()  # a view would keep the mask's own cache key alive

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        above = (entry[row, key] <= entry[row, query]) & (entry[row, query] < exit[row, key])
        return (above & (key <= query)) | (key == query)

    rows, length = entry.shape
    on_gpu = spans.device.type != "cpu"
    return create_block_mask(sees, rows, None, length, length, spans.device, BLOCK, _compile=on_gpu)


class Piece(NamedTuple):
    """Tokens `begin` to `end` of a row, and the indices of all tokens that the last one sees, with its own piece at the
    end.
    """

    begin: int
    end: int
    path: torch.Tensor


def path_pieces(spans: torch.Tensor) -> list[list[Piece]]:
    """Return the pieces of each row: the trunk and each branch, without padding."""
    found = []
    for entry, exit in spans[:, 0].tolist():
        row: list[Piece] = []
        above: list[tuple[int, int, int]] = []  # exit, begin, end of the nodes on the path
        begin = 0
        while begin < len(entry) and entry[begin] != PADDING:
            end = begin + 1
            while end < len(entry) and entry[end] == entry[begin]:
                end += 1
            goes_on = bool(above) and entry[begin] < above[-1][0]  # continues the node before it
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
    """Attend from the trunk, then from each branch, only to the tokens on its path.

    For a CPU, where many small calls cost little.
    """
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


def tree_attention(make_mask: Callable[[torch.Tensor], Any], attend: Callable[..., Any]) -> Callable[..., Any]:
    """Return an attention function for transformers that makes a mask from spans, once for all layers of a step."""
    made = WeakTensorKeyDictionary()

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,
    ) -> Any:
        if attention_mask is None or attention_mask.dtype != SPAN_DTYPE:  # no trees
            return attend(module, query, key, value, attention_mask, **options)
        if attention_mask not in made:
            made[attention_mask] = make_mask(attention_mask)
        return attend(module, query, key, value, made[attention_mask], **options)

    return forward


AttentionInterface.register("tree_paths", tree_attention(path_pieces, attend_along_paths))
AttentionInterface.register("tree_sdpa", tree_attention(dense_mask, sdpa_attention_forward))
AttentionInterface.register("tree_flex", tree_attention(block_mask, flex_attention_forward))
