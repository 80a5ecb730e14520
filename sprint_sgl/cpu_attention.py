"""Attention on CPU cores that a shared prefix makes cheaper, as a plugin of SGLang: `--attention-backend torch_prefix`.

SGLang's own `torch_native` computes attention for every token of a context again when one token is added to a cached
prefix, so that a fork costs as much as no cache at all, and it reads a prefix once for each request that shares it.
This backend computes the new tokens alone, and reads what siblings share once for all of them.

Queries have the shape [tokens, heads, head size], caches [slots, key heads, head size].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

WORTH_SHARING = 32  # tokens; a shorter common prefix is read by each request for itself


@dataclass(frozen=True)
class Group:
    """Requests of a batch that have their first tokens in common.

    rows     their places in the batch
    shared   slots of the common prefix
    own      slots of what follows, one line a request, filled up to the longest
    hidden   -inf where `own` is filled up, 0 elsewhere; None where it is not
    """

    rows: Tensor
    shared: Tensor
    own: Tensor
    hidden: Tensor | None

    def grown(self, slots: Tensor, lengths: Sequence[int]) -> Group:
        """The same requests some tokens later."""
        return _group(self.rows, len(self.shared), slots, lengths)


def groups(slots: Tensor, lengths: Sequence[int]) -> list[Group]:
    """The batch by common prefixes; `slots` is [requests, longest], `lengths` counts those of each that are its own.

    A slot holds one token behind one prefix, so that requests whose own slots at a place are the same have all before
    in common. Behind a request's own its row still has those of earlier ones.
    """
    wanted = [max(WORTH_SHARING, length // 2) for length in lengths]
    deep = torch.tensor([min(tokens, slots.shape[1]) - 1 for tokens in wanted])
    alike = (slots[:, deep] == slots.gather(1, deep[:, None]).T).tolist()
    left, found = list(range(len(lengths))), []
    while left:
        first, *others = left
        near = [row for row in others if alike[first][row] and wanted[row] <= min(lengths[first], lengths[row])]
        members = torch.tensor([first, *near])
        prefix = _common(slots[members], [lengths[row] for row in (first, *near)])
        found.append(_group(members, prefix, slots, lengths))
        left = [row for row in others if row not in near]
    return found


def _common(slots: Tensor, lengths: Sequence[int]) -> int:
    """How many of their first slots are the same, of which no request has all; 0 for a request alone."""
    if len(lengths) == 1:
        return 0
    return min(int((slots == slots[0]).all(0).cumprod(0).sum()), min(lengths) - 1)


def _group(rows: Tensor, prefix: int, slots: Tensor, lengths: Sequence[int]) -> Group:
    own = torch.tensor([lengths[row] - prefix for row in rows.tolist()])
    longest = int(own.max())
    padding = torch.arange(longest) >= own[:, None]
    hidden = torch.zeros(padding.shape).masked_fill(padding, float("-inf"))[:, None, None] if padding.any() else None
    lines = slots[rows, prefix : prefix + longest]
    return Group(rows, slots[rows[0], :prefix], lines.masked_fill(padding, 0), hidden)


def decode(query: Tensor, keys: Tensor, values: Tensor, batch: Sequence[Group], scaling: float) -> Tensor:
    """Attention of one new token for each request of the batch, [requests, heads, head size]."""
    output = torch.empty_like(query)
    for group in batch:
        attend = _together if len(group.shared) else _apart
        output[group.rows] = attend(query[group.rows], keys, values, group, scaling)
    return output


def _apart(query: Tensor, keys: Tensor, values: Tensor, group: Group, scaling: float) -> Tensor:
    q, k, v = _by_key_head(query, keys), _read(keys, group.own, query.dtype), _read(values, group.own, query.dtype)
    return scaled_dot_product_attention(q, k, v, attn_mask=group.hidden, scale=scaling).flatten(1, 2)


def _together(query: Tensor, keys: Tensor, values: Tensor, group: Group, scaling: float) -> Tensor:
    """The shared prefix once for all requests, what is each request's own, and the two put together by their sums."""
    q = _by_key_head(query, keys)
    requests, heads, width, size = q.shape
    k, v = _read(keys, group.own, q.dtype), _read(values, group.own, q.dtype)
    own, own_sum = _attend(q, k, v, attn_mask=group.hidden, scale=scaling)
    k, v = _read(keys, group.shared[None], q.dtype), _read(values, group.shared[None], q.dtype)
    before, before_sum = _attend(q.transpose(0, 1).reshape(1, heads, requests * width, size), k, v, scale=scaling)
    before = before.view(heads, requests, width, size).transpose(0, 1)
    before_sum = before_sum.view(heads, requests, width).transpose(0, 1)
    share = torch.sigmoid(before_sum - own_sum.view(requests, heads, width))
    return torch.lerp(own, before, share.unsqueeze(-1).to(own.dtype)).flatten(1, 2)


def _attend(query: Tensor, keys: Tensor, values: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """What `scaled_dot_product_attention` returns, and the logarithm of the sum of each query's weights."""
    output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, keys, values, **options)
    return output, log_sum


def _by_key_head(query: Tensor, keys: Tensor) -> Tensor:
    """[requests, key heads, queries a key head, head size]: grouped queries without copies of keys."""
    requests, heads, size = query.shape
    return query.view(requests, keys.shape[1], heads // keys.shape[1], size)


def _read(cache: Tensor, slots: Tensor, dtype: torch.dtype) -> Tensor:
    """[requests, key heads, tokens, head size] of [requests, tokens] slots."""
    return cache.index_select(0, slots.flatten()).view(*slots.shape, *cache.shape[1:]).transpose(1, 2).to(dtype)


@dataclass(frozen=True)
class Extension:
    """A request of a batch that gets several tokens, after those that are cached.

    rows     places of its new tokens in the batch
    slots    of all its tokens, the new ones last
    mask     which tokens a new one sees, [new, all]; None where it is all of them, or all up to its own place
    """

    rows: slice
    slots: Tensor
    mask: Tensor | None

    @staticmethod
    def of(start: int, new: int, slots: Tensor) -> Extension:
        total = len(slots)
        mask = torch.ones(new, total, dtype=torch.bool).tril(total - new) if 1 < new < total else None
        return Extension(slice(start, start + new), slots, mask)


def extend(query: Tensor, keys: Tensor, values: Tensor, extension: Extension, scaling: float) -> Tensor:
    """Causal attention of a request's new tokens over all of its tokens."""
    k, v = (c.index_select(0, extension.slots).transpose(0, 1).unsqueeze(0).to(query.dtype) for c in (keys, values))
    attended = scaled_dot_product_attention(
        query.transpose(0, 1).unsqueeze(0),
        k,
        v,
        attn_mask=extension.mask,
        is_causal=len(query) == len(extension.slots),
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return attended.squeeze(0).transpose(0, 1)


class TorchPrefixBackend(TorchNativeAttnBackend):  # type: ignore[misc]
    """SGLang's `torch_native` with the two functions above; other kinds of attention stay as they are there."""

    def __init__(self, model_runner: Any) -> None:
        super().__init__(model_runner)
        self._groups: list[Group] = []
        self._extensions: list[Extension] = []
        self._known: tuple[list[int], list[int]] | None = None

    def init_forward_metadata(self, forward_batch: ForwardBatch) -> None:
        """Plans what all layers of a forward pass do alike."""
        super().init_forward_metadata(forward_batch)
        requests, lengths = forward_batch.req_pool_indices, forward_batch.seq_lens.tolist()
        if forward_batch.forward_mode.is_decode():
            self._plan_groups(requests, lengths)
        elif forward_batch.extend_seq_lens is not None:
            self._plan_extensions(requests.tolist(), lengths, forward_batch.extend_seq_lens.tolist())

    def _plan_groups(self, requests: Tensor, lengths: list[int]) -> None:
        """A batch that only grew by a token each since the last step keeps its groups."""
        slots = self.req_to_token_pool.req_to_token[requests, : max(lengths)]
        batch = requests.tolist()
        if self._known == (batch, [length - 1 for length in lengths]):
            self._groups = [group.grown(slots, lengths) for group in self._groups]
        else:
            self._groups = groups(slots, lengths)
        self._known = batch, lengths

    def _plan_extensions(self, requests: list[int], lengths: list[int], new: list[int]) -> None:
        starts = accumulate(new, initial=0)
        table, each = self.req_to_token_pool.req_to_token, zip(requests, lengths, new, starts, strict=False)
        self._extensions = [Extension.of(start, n, table[request, :length]) for request, length, n, start in each]
        self._known = None

    def _run_sdpa_forward_decode(self, query: Tensor, output: Tensor, *args: Any, **options: Any) -> Tensor:
        if _special(args, options, causal=False):
            super()._run_sdpa_forward_decode(query, output, *args, **options)
            return output
        keys, values = args[:2]
        output.copy_(decode(query, keys, values, self._groups, _scaling(options, query)))
        return output

    def _run_sdpa_forward_extend(self, query: Tensor, output: Tensor, *args: Any, **options: Any) -> Tensor:
        if _special(args, options, causal=True):
            super()._run_sdpa_forward_extend(query, output, *args, **options)
            return output
        keys, values = args[:2]
        for extension in self._extensions:
            rows = extension.rows
            output[rows] = extend(query[rows], keys, values, extension, _scaling(options, query))
        return output


def _special(args: Sequence[Any], options: dict[str, Any], causal: bool) -> bool:
    """What is SGLang's: cross attention, all tokens behind an encoder's, a window, values of another size than keys."""
    keys, values, *_, encoder_lens = args
    window = options["sliding_window_size"]
    return bool(
        encoder_lens is not None
        or options["is_cross_attn"]
        or options["causal"] != causal
        or (window is not None and window > -1)
        or keys.shape[-1] != values.shape[-1]
    )


def _scaling(options: dict[str, Any], query: Tensor) -> float:
    return float(options["scaling"] or query.shape[-1] ** -0.5)
