"""Attention on CPU cores that a shared prefix makes cheaper, as a plugin of SGLang: `--attention-backend torch_prefix`.

SGLang's own `torch_native` computes attention for every token of a context again when one token is added to a cached
prefix, so that a fork costs as much as no cache at all, and it reads a prefix once for each request that shares it.
This backend computes the new tokens alone, and reads what siblings share once for all of them.

Queries have the shape [tokens, heads, head size], caches [slots, key heads, head size].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

WORTH_SHARING = 32  # tokens; each request reads a shorter common prefix for itself
CALL_COST = 500  # of an attention call, in tokens that are read from the cache at the same cost
REQUESTS_A_READ = 6  # for which attending to a token costs as much as reading it


@dataclass(frozen=True)
class PrefixGroup:
    """Requests of a batch, by their places, that have their first `shared` tokens in common.

    Requests that share no prefix with another form a group, too: they share the cost of a call.
    """

    rows: Sequence[int]
    shared: int

    def calls(self, slots: Tensor, lengths: Sequence[int]) -> Iterator[AttentionCall]:
        """Yield the calls that compute the group's attention, each for the best number of requests."""
        many = len(self.rows)
        own = sum(lengths[row] for row in self.rows) / many - self.shared
        calls = math.ceil(many / best_call_size(self.shared, own))
        size = math.ceil(many / calls)
        for first in range(0, many, size):
            yield AttentionCall.of(self.rows[first : first + size], self.shared, slots, lengths)


def best_call_size(shared: int, own: float) -> int:
    """Return the number of requests for which a call costs each of them least.

    The requests of a call share its cost and the reading of their prefix, but each attends in vain to the tokens that
    only the others have: (CALL_COST + shared) / size + size * own / REQUESTS_A_READ.
    """
    return max(1, round(math.sqrt(REQUESTS_A_READ * (CALL_COST + shared) / own)))


@dataclass(frozen=True)
class AttentionCall:
    """One call of the attention for several requests, over one context of which each sees its own part.

    rows     places of the requests in the batch
    slots    cache slots of their shared tokens, then of each request's own tokens
    hidden   [requests, tokens]: -inf for another request's own tokens, 0 elsewhere; None for a single request
    """

    rows: slice | list[int]
    slots: Tensor
    hidden: Tensor | None

    @staticmethod
    def of(rows: Sequence[int], shared: int, slots: Tensor, lengths: Sequence[int]) -> AttentionCall:
        first, *others = rows
        if not others:
            return AttentionCall(slice(first, first + 1), slots[first, : lengths[first]], None)
        own = torch.tensor([lengths[row] - shared for row in rows])
        places = slice(first, first + len(rows)) if rows[-1] - first == len(others) else list(rows)
        longest = int(own.max())
        lines = slots[places, shared : shared + longest]
        context = torch.cat([slots[first, :shared], lines[torch.arange(longest) < own[:, None]]])
        requests = torch.arange(len(rows))
        hidden = torch.zeros(len(rows), len(context))
        hidden[:, shared:].masked_fill_(requests.repeat_interleave(own) != requests[:, None], float("-inf"))
        return AttentionCall(places, context, hidden)


def prefix_groups(slots: Tensor, lengths: Sequence[int]) -> list[PrefixGroup]:
    """Group the batch by common prefixes. `slots` is [requests, longest]; `lengths` says how many of a row are valid.

    A slot holds one token after one prefix, so that two requests with the same slot at a place have everything before
    it in common. After its valid slots a row still has those of earlier requests.
    """
    wanted = [max(WORTH_SHARING, length // 2) for length in lengths]
    deep = torch.tensor([min(tokens, slots.shape[1]) - 1 for tokens in wanted])
    alike = (slots[:, deep] == slots.gather(1, deep[:, None]).T).tolist()
    left, found, strangers = list(range(len(lengths))), [], []
    while left:
        first, *others = left
        near = [row for row in others if alike[first][row] and wanted[row] <= min(lengths[first], lengths[row])]
        if near:
            members = [first, *near]
            found.append(PrefixGroup(members, _common(slots[members], [lengths[row] for row in members])))
        else:
            strangers.append(first)
        left = [row for row in others if row not in near]
    return [*found, PrefixGroup(strangers, 0)] if strangers else found


def _common(slots: Tensor, lengths: Sequence[int]) -> int:
    """Return how many first slots are the same in all rows; each row keeps at least one slot of its own."""
    return min(int((slots == slots[0]).all(0).cumprod(0).sum()), min(lengths) - 1)


def decode(
    query: Tensor, keys: Tensor, values: Tensor, calls: Sequence[AttentionCall], scaling: float, output: Tensor
) -> None:
    """Write the attention of one new token for each request into `output`, [requests, heads, head size]."""
    heads, size = query.shape[1:]
    key_heads = keys.shape[1]
    for call in calls:
        q = query[call.rows].view(-1, key_heads, heads // key_heads, size).transpose(0, 1)
        k, v = _read(keys, call.slots, q.dtype), _read(values, call.slots, q.dtype)
        hidden = None if call.hidden is None else call.hidden.to(q.dtype).repeat_interleave(q.shape[2], 0)
        attended = scaled_dot_product_attention(q.flatten(1, 2)[None], k, v, attn_mask=hidden, scale=scaling)
        output[call.rows] = attended.view(q.shape).transpose(0, 1).flatten(1, 2)


def _read(cache: Tensor, slots: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the cached tokens as [1, key heads, tokens, head size]."""
    return cache.index_select(0, slots).transpose(0, 1)[None].to(dtype)


@dataclass(frozen=True)
class Extension:
    """A request of a batch with several new tokens after its cached ones.

    rows     places of its new tokens in the batch
    slots    cache slots of all its tokens, the new ones last
    mask     [new, all], which tokens a new token sees; None for all tokens, or all up to its own place
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
    """Return the causal attention of a request's new tokens over all of its tokens."""
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        _read(keys, extension.slots, query.dtype),
        _read(values, extension.slots, query.dtype),
        attn_mask=extension.mask,
        is_causal=len(query) == len(extension.slots),
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return attended.squeeze(0).transpose(0, 1)


class TorchPrefixBackend(TorchNativeAttnBackend):  # type: ignore[misc]
    """SGLang's `torch_native` with `decode` and `extend` of this file; other kinds of attention stay SGLang's."""

    def __init__(self, model_runner: Any) -> None:
        super().__init__(model_runner)
        self._groups: list[PrefixGroup] = []
        self._calls: list[AttentionCall] = []
        self._extensions: list[Extension] = []
        self._last_batch: tuple[list[int], list[int]] | None = None

    def init_forward_metadata(self, forward_batch: ForwardBatch) -> None:
        """Plan the calls of a forward pass, which are the same for all layers."""
        super().init_forward_metadata(forward_batch)
        requests, lengths = forward_batch.req_pool_indices, forward_batch.seq_lens.tolist()
        if forward_batch.forward_mode.is_decode():
            self._plan_calls(requests, lengths)
        elif forward_batch.extend_seq_lens is not None:
            self._plan_extensions(requests.tolist(), lengths, forward_batch.extend_seq_lens.tolist())

    def _plan_calls(self, requests: Tensor, lengths: list[int]) -> None:
        """Plan a decoding step; a batch that only grew by a token each since the last step keeps its groups."""
        slots = self.req_to_token_pool.req_to_token[requests, : max(lengths)]
        batch = requests.tolist()
        if self._last_batch != (batch, [length - 1 for length in lengths]):
            self._groups = prefix_groups(slots, lengths)
        self._last_batch = batch, lengths
        self._calls = [call for group in self._groups for call in group.calls(slots, lengths)]

    def _plan_extensions(self, requests: list[int], lengths: list[int], new: list[int]) -> None:
        starts = accumulate(new, initial=0)
        table, each = self.req_to_token_pool.req_to_token, zip(requests, lengths, new, starts, strict=False)
        self._extensions = [Extension.of(start, n, table[request, :length]) for request, length, n, start in each]
        self._last_batch = None

    def _run_sdpa_forward_decode(self, query: Tensor, output: Tensor, *args: Any, **options: Any) -> Tensor:
        if _left_to_sglang(args, options, causal=False):
            super()._run_sdpa_forward_decode(query, output, *args, **options)
            return output
        keys, values = args[:2]
        decode(query, keys, values, self._calls, _scaling(options, query), output)
        return output

    def _run_sdpa_forward_extend(self, query: Tensor, output: Tensor, *args: Any, **options: Any) -> Tensor:
        if _left_to_sglang(args, options, causal=True):
            super()._run_sdpa_forward_extend(query, output, *args, **options)
            return output
        keys, values = args[:2]
        for extension in self._extensions:
            rows = extension.rows
            output[rows] = extend(query[rows], keys, values, extension, _scaling(options, query))
        return output


def _left_to_sglang(args: Sequence[Any], options: dict[str, Any], causal: bool) -> bool:
    """Whether SGLang has to compute it: cross attention, an encoder, a window, or values of another size than keys."""
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
