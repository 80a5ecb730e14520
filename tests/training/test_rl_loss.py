"""The policy gradient over a tree of rollouts against the same calls one by one."""

from __future__ import annotations

import math
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from training.rl.loss import Clip, LossSums, clipped_sums, policy_loss, score_tokens
from training.rl.recording import SampledCall
from training.rl.tree import CreditedCall, merge_calls

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=20, num_key_value_heads=2, max_position_embeddings=256, **shape)
    made = AutoModelForCausalLM.from_config(config, attn_implementation="tree_paths").double()
    return made.eval()  # type: ignore[no-any-return]


def group(rng: random.Random) -> list[CreditedCall]:
    """Two rounds of calls: the second ones continue some of the first."""
    opening = tuple(rng.choices(range(1, 20), k=8))
    first = [credited(rng, opening, k) for k in (5, 9, 9, 3)]
    second = [credited(rng, each.call.context + each.call.ids + (7,), 6) for each in first[:2]]
    twins = [CreditedCall(each.call, rng.uniform(-1, 1)) for each in first]  # the same tokens, sampled by another run
    return first + second + twins


def credited(rng: random.Random, context: tuple[int, ...], length: int) -> CreditedCall:
    ids = tuple(rng.choices(range(1, 20), k=length))
    logprobs = tuple(rng.uniform(-4.5, -1.5) for _ in ids)
    return CreditedCall(SampledCall("", context, ids, logprobs), rng.uniform(-1, 1))


def tree_loss(model: torch.nn.Module, calls: list[CreditedCall], clip: Clip, temperature: float = 1.0) -> LossSums:
    tree = merge_calls(calls)
    return policy_loss(tree, score_tokens(model, tree, CPU, temperature), clip)


def alone(model: torch.nn.Module, each: CreditedCall, clip: Clip) -> torch.Tensor:
    """The textbook objective of one call: min(r A, clip(r) A), summed over its tokens."""
    call = each.call
    logits = model(torch.tensor([call.context + call.ids])).logits[0, len(call.context) - 1 : -1]
    now = logits.log_softmax(-1)[torch.arange(len(call.ids)), list(call.ids)]
    ratio = (now - torch.tensor(call.logprobs)).exp()
    limited = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -torch.minimum(ratio * each.advantage, limited * each.advantage).sum()


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradients_of_a_tree_are_those_of_its_calls(model: torch.nn.Module, seed: int) -> None:
    made, clip = group(random.Random(seed)), Clip(most=1e9)
    found = tree_loss(model, made, clip)
    wanted = sum((alone(model, each, clip) for each in made), torch.tensor(0.0))
    assert found.tokens == sum(len(each.call.ids) for each in made)
    assert float(found.loss.detach()) == pytest.approx(float(wanted.detach()), abs=1e-5)
    gradients = []
    for loss in (found.loss, wanted):
        model.zero_grad()
        loss.backward()
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)
    assert float(gradients[1].abs().max()) > 1e-3


def test_the_ratio_is_taken_at_the_temperature_of_the_rollouts(model: torch.nn.Module) -> None:
    each = credited(random.Random(1), (3, 4, 5), 6)
    logits = model(torch.tensor([each.call.context + each.call.ids])).logits[0, 2:-1] / 1.5
    logprobs = logits.log_softmax(-1)[torch.arange(6), list(each.call.ids)].tolist()
    sampled = CreditedCall(SampledCall("", each.call.context, each.call.ids, tuple(logprobs)), 1.0)
    assert tree_loss(model, [sampled], Clip(), 1.5).kl == pytest.approx(0, abs=1e-6)
    assert tree_loss(model, [sampled], Clip()).kl > 1e-4


def test_the_divergence_from_the_first_policy_is_counted_for_each_sample(model: torch.nn.Module) -> None:
    made, clip = group(random.Random(5)), Clip()
    tree = merge_calls(made)
    now = score_tokens(model, tree, CPU)
    alone = policy_loss(tree, now, clip)
    same = policy_loss(tree, now, clip, now.logprobs.detach(), kl=0.5)
    assert (alone.drift, same.drift) == (0.0, 0.0)
    far = policy_loss(tree, now, clip, now.logprobs.detach() - 1, kl=0.5)
    samples = sum(len(each.call.ids) for each in made)
    assert far.drift == pytest.approx(samples * math.exp(-1))  # e^-1 - 1 + 1 at each of them
    assert float((far.loss - alone.loss).detach()) == pytest.approx(0.5 * far.drift)


def test_a_policy_that_has_not_moved_has_no_clip_and_no_divergence() -> None:
    now = torch.tensor([-1.0, -2.0], requires_grad=True)
    ones = torch.ones(2)
    sums = clipped_sums(now, now.detach(), ones, -ones, ones, Clip(), entropy=ones)
    assert (sums.clipped, sums.kl, sums.entropy) == (0.0, 0.0, 2.0)


def test_a_ratio_outside_its_limits_gives_no_gradient() -> None:
    now = torch.tensor([-1.0, -1.0, -1.0, -1.0], requires_grad=True)
    before = torch.tensor([-2.0, -0.2, -2.0, -9.0])
    gains, losses = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, -1.0, -1.0])
    sums = clipped_sums(now, before, gains, losses, torch.ones(4), Clip(), entropy=torch.zeros(4))
    sums.loss.backward()
    assert now.grad is not None
    assert [bool(value) for value in now.grad] == [False, True, True, False]
    assert sums.clipped == 1
