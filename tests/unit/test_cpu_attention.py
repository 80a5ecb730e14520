"""Claims about attention on CPU cores: the same numbers as attention over each request by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    import torch
    from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
    from sglang.srt.model_executor.forward_batch_info import ForwardMode
    from torch import Tensor

    from sprint_sgl.runtime.plugins.cpu_attention import (
        CALL_COST,
        REQUESTS_A_READ,
        WORTH_SHARING,
        AttentionCall,
        Extension,
        TorchPrefixBackend,
        best_call_size,
        decode,
        extend,
        prefix_groups,
    )

HEADS, KEY_HEADS, SIZE, SLOTS = 4, 2, 8, 4096
SCALING = SIZE**-0.5


def setup_module() -> None:
    """Import SGLang's attention, which takes ten seconds, only in the process that runs these tests."""
    import torch
    from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend
    from sglang.srt.model_executor.forward_batch_info import ForwardMode

    from sprint_sgl.runtime.plugins import cpu_attention

    globals().update(vars(cpu_attention))
    globals().update(torch=torch, TorchNativeAttnBackend=TorchNativeAttnBackend, ForwardMode=ForwardMode)


def caches(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(SLOTS, KEY_HEADS, SIZE, generator=generator) for _ in range(2))  # type: ignore[return-value]


def alone(query: Tensor, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
    """Attention of each query over all slots up to its own place, [tokens, heads, head size]."""
    new, total = len(query), len(slots)
    k, v = (cache[slots].repeat_interleave(HEADS // KEY_HEADS, 1).transpose(0, 1) for cache in (keys, values))
    mask = torch.ones(new, total, dtype=torch.bool).tril(total - new)
    return torch.nn.functional.scaled_dot_product_attention(
        query.transpose(0, 1), k, v, attn_mask=mask, scale=SCALING
    ).transpose(0, 1)


def batch(groups: list[tuple[int, list[int]]], seed: int) -> tuple[Tensor, list[int]]:
    """Slots of requests: groups with a common prefix and branches of some length; no other slot is shared."""
    free = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(seed)).tolist()
    lines = []
    for prefix, branches in groups:
        shared = [free.pop() for _ in range(prefix)]
        lines += [shared + [free.pop() for _ in range(branch)] for branch in branches]
    longest = max(map(len, lines))
    filled = [line + [0] * (longest - len(line)) for line in lines]
    return torch.tensor(filled, dtype=torch.int32), [len(line) for line in lines]


def planned(slots: Tensor, lengths: list[int]) -> list[AttentionCall]:
    return [call for group in prefix_groups(slots, lengths) for call in group.calls(slots, lengths)]


def together(query: Tensor, keys: Tensor, values: Tensor, slots: Tensor, lengths: list[int]) -> Tensor:
    output = torch.full_like(query, torch.nan)
    decode(query, keys, values, planned(slots, lengths), SCALING, output)
    return output


FAMILIES = st.lists(
    st.tuples(st.integers(0, 150), st.lists(st.integers(1, 40), min_size=1, max_size=5)), min_size=1, max_size=4
)


@settings(max_examples=60)
@given(FAMILIES, st.integers(0, 99))
def test_a_batch_attends_as_each_of_its_requests_would_alone(asked: list[tuple[int, list[int]]], seed: int) -> None:
    keys, values = caches(seed)
    slots, lengths = batch(asked, seed)
    query = torch.randn(len(lengths), HEADS, SIZE)
    attended = together(query, keys, values, slots, lengths)
    for row, length in enumerate(lengths):
        expected = alone(query[row : row + 1], keys, values, slots[row, :length])
        torch.testing.assert_close(attended[row : row + 1], expected)


@settings(max_examples=60)
@given(FAMILIES, st.integers(0, 99))
def test_every_request_is_in_one_group(asked: list[tuple[int, list[int]]], seed: int) -> None:
    rows = [row for group in prefix_groups(*batch(asked, seed)) for row in group.rows]
    assert sorted(rows) == list(range(sum(len(branches) for _, branches in asked)))


def test_siblings_are_a_group_and_so_are_all_strangers() -> None:
    found = prefix_groups(*batch([(100, [5, 9, 2]), (WORTH_SHARING - 1, [3, 3]), (0, [50])], seed=0))
    assert [(group.rows, group.shared) for group in found] == [([0, 1, 2], 100), ([3, 4, 5], 0)]


def test_siblings_read_what_they_share_once_until_what_is_their_own_outweighs_it() -> None:
    slots, lengths = batch([(100, [5] * 6)], seed=0)
    (call,) = planned(slots, lengths)
    assert len(call.slots) == 100 + 6 * 5
    slots, lengths = batch([(500, [490] * 6)], seed=0)
    assert [len(call.slots) for call in planned(slots, lengths)] == [500 + 3 * 490] * 2


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_a_call_is_for_as_many_requests_as_are_cheapest(shared: int, own: int) -> None:
    def cost(size: int) -> float:
        return (CALL_COST + shared) / size + size * own / REQUESTS_A_READ

    size = best_call_size(shared, own)
    assert cost(size) <= 1.07 * min(cost(max(1, size - 1)), cost(size + 1))


def test_what_an_earlier_request_has_left_in_a_row_is_not_read() -> None:
    slots, lengths = batch([(90, [1])], seed=2)
    slots, lengths = slots.repeat(2, 1), [40, *lengths]  # the first is over after 40; the rest of its row is alike
    keys, values = caches(2)
    query = torch.randn(2, HEADS, SIZE)
    attended = together(query, keys, values, slots, lengths)
    for row, length in enumerate(lengths):
        expected = alone(query[row : row + 1], keys, values, slots[row, :length])
        torch.testing.assert_close(attended[row : row + 1], expected)


def test_a_stranger_in_whose_row_another_groups_slots_are_left_stays_a_stranger() -> None:
    slots, lengths = batch([(600, [300, 280]), (0, [40])], seed=6)
    order, stale = [2, 0, 1], slots[0].clone()
    stale[:40] = slots[2, :40]
    slots[2] = stale
    found = prefix_groups(slots[order], [lengths[row] for row in order])
    assert [(group.rows, group.shared) for group in found] == [([1, 2], 600), ([0], 0)]


def attended(backend: type[TorchNativeAttnBackend], mode: ForwardMode, value_size: int, **special: Any) -> Tensor:
    """What a backend makes of three requests of 70, 50 and 90 tokens, two of which have 40 in common."""
    slots, lengths = batch([(40, [30, 10]), (0, [90])], seed=4)
    pool = SimpleNamespace(req_to_token=slots.flip(0))
    made = backend(SimpleNamespace(device="cpu", req_to_token_pool=pool, token_to_kv_pool=None))
    requests, cached, new = torch.tensor([2, 1, 0]), torch.tensor([40, 49, 0]), torch.tensor([30, 1, 90])
    keys, values = caches(4)
    values = values[..., :value_size]
    rows = len(lengths) if mode.is_decode() else int(new.sum())
    query = torch.randn(rows, HEADS, SIZE, generator=torch.Generator().manual_seed(5))
    seq_lens = torch.tensor(lengths)
    made.init_forward_metadata(
        SimpleNamespace(forward_mode=mode, req_pool_indices=requests, seq_lens=seq_lens, extend_seq_lens=new)
    )
    output, encoder_lens = torch.zeros(rows, HEADS, value_size), special.pop("encoder_lens", None)
    given = [query, output, keys, values, pool.req_to_token, requests, seq_lens]
    options = {"scaling": SCALING, "enable_gqa": True, "is_cross_attn": False, "sliding_window_size": None} | special
    if mode.is_decode():
        made._run_sdpa_forward_decode(*given, encoder_lens, causal=False, **options)
    else:
        made._run_sdpa_forward_extend(*given, cached, new, encoder_lens, causal=True, **options)
    return output


@pytest.mark.parametrize("mode", ["DECODE", "EXTEND"])
@pytest.mark.parametrize(
    ("value_size", "special"),
    [(SIZE, {}), (SIZE, {"sliding_window_size": 20}), (SIZE, {"encoder_lens": [3, 0, 0]}), (4, {})],
    ids=["plain", "window", "encoder", "small values"],
)
def test_our_backend_gives_what_sglangs_gives(mode: str, value_size: int, special: dict[str, Any]) -> None:
    special = {key: torch.tensor(value) if isinstance(value, list) else value for key, value in special.items()}
    ours, theirs = (
        attended(each, ForwardMode[mode], value_size, **special)
        for each in (TorchPrefixBackend, TorchNativeAttnBackend)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("new", "total"), [(1, 1), (1, 90), (7, 90), (90, 90)])
def test_new_tokens_attend_to_the_cached_ones_and_to_those_before_them(new: int, total: int) -> None:
    keys, values = caches(3)
    slots = torch.randperm(SLOTS)[:total]
    query = torch.randn(new, HEADS, SIZE)
    torch.testing.assert_close(
        extend(query, keys, values, Extension.of(0, new, slots), SCALING), alone(query, keys, values, slots)
    )
