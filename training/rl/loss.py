"""The clipped policy gradient over a tree of rollouts (PPO's objective with DAPO's two clips and its token mean)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from training.rl.tree import RolloutTree
from training.tree.attention import Spans, stack_spans


@dataclass
class Clip:
    """Limits of the ratio of a token's probability to that under the policy that sampled it.

    low    a token that should become rarer gives no gradient once its ratio is below 1 - low
    high   one that should become likelier gives none once its ratio is above 1 + high
    most   nor does one that should become rarer, but has become likelier than this
    """

    low: float = 0.2
    high: float = 0.28
    most: float = 5.0


@dataclass(frozen=True)
class LossSums:
    """Sums over the sampled tokens of one tree, each counted as often as it was sampled.

    loss      the negative objective
    tokens    number of sampled tokens
    clipped   of these, how many have a ratio beyond 1 - low or 1 + high
    kl        divergence of the sampling policy from this one (its k3 estimate)
    drift     divergence of this policy from the reference (the same estimate); 0 without a reference
    entropy   of this policy
    """

    loss: torch.Tensor
    tokens: int
    clipped: float
    kl: float
    drift: float
    entropy: float


@dataclass(frozen=True)
class TokenScores:
    """Of the sampled tokens of a tree under one model: log-probabilities, and entropies of their distributions."""

    logprobs: torch.Tensor
    entropies: torch.Tensor


def tree_inputs(tree: RolloutTree, device: torch.device) -> dict[str, torch.Tensor]:
    """Return what a model with one of our attentions (training/tree/attention.py) is called with."""
    layout = tree.tree
    spans = stack_spans([Spans(layout.token_entries, layout.token_exits)], len(layout.input_ids))
    return {
        "input_ids": torch.tensor([layout.input_ids], device=device),
        "position_ids": torch.tensor([layout.position_ids], device=device),
        "attention_mask": spans.to(device),
    }


def score_tokens(model: Any, tree: RolloutTree, device: torch.device, temperature: float = 1.0) -> TokenScores:
    """Return the scores of the tree's sampled tokens.

    `temperature` is that of the rollouts: SGLang's log-probabilities are of the distribution that it sampled from.
    """
    places = {place: row for row, place in enumerate(sorted(set(tree.sources)))}
    kept, rows = torch.tensor(list(places), device=device), [places[source] for source in tree.sources]
    logits = model(**tree_inputs(tree, device), logits_to_keep=kept, use_cache=False).logits[0].float() / temperature
    targets = torch.tensor([tree.tree.input_ids[place] for place in tree.targets], device=device)
    spread = logits.log_softmax(-1)
    with torch.no_grad():
        entropies = -(spread.exp() * spread).sum(-1)[rows]
    return TokenScores(spread[rows, targets], entropies)


def policy_loss(
    tree: RolloutTree, now: TokenScores, clip: Clip, reference: torch.Tensor | None = None, kl: float = 0.0
) -> LossSums:
    """Return the loss of a tree whose tokens have the scores `now`, to be divided by the tokens of the whole update.

    reference   log-probabilities of the tokens under the policy that the divergence, weighted by `kl`, is taken from
    """
    device = now.logprobs.device
    gains, losses, before, counts = (
        torch.tensor(values, dtype=torch.float32, device=device)
        for values in (tree.gains, tree.losses, tree.logprobs, tree.counts)
    )
    sums = clipped_sums(now.logprobs, before, gains, losses, counts, clip, now.entropies)
    if reference is None:
        return sums
    drift = (counts * divergence(now.logprobs, reference)).sum()
    return replace(sums, loss=sums.loss + kl * drift, drift=float(drift.detach()))


def divergence(sampled: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the k3 estimate of KL(sampled | other) at tokens with these log-probabilities."""
    away = other - sampled
    return away.exp() - 1 - away


def clipped_sums(
    now: torch.Tensor,
    before: torch.Tensor,
    gains: torch.Tensor,
    losses: torch.Tensor,
    counts: torch.Tensor,
    clip: Clip,
    entropy: torch.Tensor,
) -> LossSums:
    """Return the sums over tokens with log-probabilities `now` and `before`.

    The objective of one sample is min(r A, clip(r) A). Summed over the samples of a token this is its gains times
    min(r, 1 + high) plus its losses times max(r, 1 - low), here at most `most`.
    """
    ratio = (now - before).exp()
    up, down = ratio.clamp(max=1 + clip.high), ratio.clamp(min=1 - clip.low, max=clip.most)
    with torch.no_grad():
        outside = ((gains > 0) & (ratio > 1 + clip.high)) | ((losses < 0) & (ratio < 1 - clip.low))
        sampled = (outside.float(), divergence(before, now), entropy)
        clipped, kl, spread = (float((counts * each).sum()) for each in sampled)
    return LossSums(-(gains * up + losses * down).sum(), int(counts.sum()), clipped, kl, 0.0, spread)
