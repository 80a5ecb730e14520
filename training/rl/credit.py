"""Credit: which tokens of a rollout get which part of its advantage.

The advantage of a rollout is its reward less the mean of its group, the rollouts of the same question; waits are
compared among those that count. It is not divided by the standard deviation: that would undo the weight of the wait.
Without a baseline the reward itself is the advantage: right answers are imitated, wrong ones are ignored (RAFT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from sprint_sgl.trajectory import Stage, Trajectory
from training.rl.recording import SampledCall
from training.rl.reward import Rewards
from training.rl.tree import FLAT, CreditedCall

Credit = Literal["trajectory", "critical_path", "branch"]
Baseline = Literal["group", "none"]


@dataclass(frozen=True)
class Rollout:
    """One run of the policy, with its calls in tokens and its rewards."""

    trajectory: Trajectory
    calls: tuple[SampledCall, ...]
    rewards: Rewards


def is_flat(group: Sequence[Rollout], baseline: Baseline = "group") -> bool:
    """Tell whether nothing is to be learned from a group: all its rewards are equal, or without a baseline all 0."""
    if baseline == "none":
        return all(abs(each.rewards.total) < FLAT for each in group)
    return len(group) < 2 or all(max(values, default=0.0) - min(values, default=0.0) < FLAT for values in _parts(group))


def _parts(group: Sequence[Rollout]) -> tuple[list[float], list[float]]:
    """Return the outcomes of a group, and the latency terms of those rollouts that have one."""
    waits = [each.rewards.latency for each in group if each.rewards.latency is not None]
    return [each.rewards.outcome for each in group], waits


def credit_group(
    group: Sequence[Rollout], credit: Credit, *, baseline: Baseline = "group", even_calls: bool = False
) -> list[list[CreditedCall]]:
    """Return the calls of each rollout with their advantages.

    baseline        what is subtracted from a reward: the mean of its group, or nothing
    even_calls      give each call the same weight in all, by dividing its advantage by its length over the mean length

    trajectory      every token gets the whole advantage
    critical_path   the latency's part goes to the planner and to the executor that its stage waited for
    branch          as critical_path, in the share of the stage's tokens that would have been saved without the executor
    """
    outcomes, waits = _parts(group)
    usual, usual_wait = (fmean(values or [0.0]) if baseline == "group" else 0.0 for values in (outcomes, waits))
    mean_length = fmean(len(call.ids) for each in group for call in each.calls)

    def weight(call: SampledCall) -> float:
        return mean_length / len(call.ids) if even_calls and call.ids else 1.0

    credited = []
    for each in group:
        of_answer = each.rewards.outcome - usual
        of_wait = each.rewards.latency - usual_wait if each.rewards.latency is not None else 0.0
        shares = {} if credit == "trajectory" else waited_for(each.trajectory, partial=credit == "branch")
        advantages = [(of_answer + of_wait * shares.get(call.branch, 1.0)) * weight(call) for call in each.calls]
        credited.append(list(map(CreditedCall, each.calls, advantages)))
    return credited


def waited_for(run: Trajectory, *, partial: bool = False) -> dict[str, float]:
    """Return each executor's share of the latency term: 1 for the one that its stage waited for, else 0.

    partial   give that one the share of the stage's sequential tokens that its absence would have saved
    """
    shares: dict[str, float] = {}
    for i, stage in enumerate(run.stages, 1):
        ends = _ends(stage, run.launch)
        last = max(range(len(ends)), key=ends.__getitem__, default=None)
        if last is not None and ends[last] <= stage.plan_tokens:
            last = None  # the planner wrote on until after all executors had ended
        for j, end in enumerate(ends):
            without = max([stage.plan_tokens, *ends[:j], *ends[j + 1 :]])
            saved = (end - without) / end if partial and end else 1.0
            shares[f"{i}.{j + 1}"] = saved if j == last else 0.0
    return shares


def _ends(stage: Stage, launch: str) -> list[int]:
    """Return the stage's tokens until each executor has ended."""
    starts = [prompt.offset if launch == "eager" else stage.plan_tokens for prompt in stage.prompts]
    return [start + each.tokens for start, each in zip(starts, stage.executions, strict=True)]
