"""Rewards and credit of rollouts, and groups of rollouts as one tree."""

from __future__ import annotations

import random

import pytest

from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory
from training.rl.credit import Credit, Rollout, credit_group, is_flat, waited_for
from training.rl.recording import SampledCall
from training.rl.reward import AccelerationReward, OutcomeReward, RelativeReward, Rewards
from training.rl.tree import CreditedCall, RolloutTree, merge_calls, pack_rollouts


def run_of(plan: int, *executions: tuple[int, int], launch: str = "eager") -> Trajectory:
    """A run of one stage: the plan's tokens, and each executor's start and length; the answer has 2 tokens."""
    stage = Stage(
        tuple(Prompt(f"task {j}", offset=offset) for j, (offset, _) in enumerate(executions)),
        tuple(Execution("text", call=Call(completion_tokens=tokens)) for _, tokens in executions),
        planner_calls=(Call(completion_tokens=plan),),
    )
    return Trajectory("q", (stage,), "9", answer_calls=(Call(completion_tokens=2),), launch=launch)  # type: ignore[arg-type]


def test_a_stage_waits_for_the_executor_that_ends_last() -> None:
    run = run_of(30, (10, 25), (20, 40), (28, 5))
    assert waited_for(run) == {"1.1": 0.0, "1.2": 1.0, "1.3": 0.0}
    assert waited_for(run, partial=True) == {"1.1": 0.0, "1.2": (60 - 35) / 60, "1.3": 0.0}
    assert waited_for(run_of(30, (10, 25), (20, 20), launch="barrier")) == {"1.1": 1.0, "1.2": 0.0}
    assert waited_for(run_of(90, (10, 25), (20, 40))) == {"1.1": 0.0, "1.2": 0.0}  # the planner writes on


def calls(*branches: str) -> tuple[SampledCall, ...]:
    return tuple(SampledCall(branch, (1, n), (2,), (-0.5,)) for n, branch in enumerate(branches))


def group() -> list[Rollout]:
    fast, slow = run_of(30, (10, 25), (20, 20)), run_of(30, (10, 25), (20, 60))
    mine = calls("", "1.1", "1.2")
    return [
        Rollout(fast, mine, Rewards(1.0, -0.2)),
        Rollout(slow, mine, Rewards(1.0, -0.6)),
        Rollout(slow, mine, Rewards(0.0)),
        Rollout(slow, mine, Rewards(0.0)),
    ]


@pytest.mark.parametrize(
    ("credit", "slow"),
    [
        ("trajectory", [0.3, 0.3, 0.3]),
        ("critical_path", [0.3, 0.5, 0.3]),
        ("branch", [0.3, 0.5, 0.5 - 0.2 * 45 / 80]),
    ],
)
def test_only_what_was_waited_for_gets_the_latency_term(credit: Credit, slow: list[float]) -> None:
    advantages = [[each.advantage for each in rollout] for rollout in credit_group(group(), credit)]
    assert advantages[1] == pytest.approx(slow)
    assert advantages[2] == pytest.approx([-0.5] * 3)  # the wait for a wrong answer does not count


def test_without_a_baseline_right_answers_are_imitated_and_wrong_ones_ignored() -> None:
    rewards = [Rewards(1.0), Rewards(0.0), Rewards(1.0)]
    rollouts = [Rollout(run_of(3, (1, 2)), calls("", "1.1"), each) for each in rewards]
    found = credit_group(rollouts, "trajectory", baseline="none")
    assert [[each.advantage for each in rollout] for rollout in found] == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    assert not is_flat(rollouts[:1], "none")  # all right: the group's own mean would leave nothing
    assert is_flat(rollouts[:1])
    assert is_flat(rollouts[1:2], "none")


def test_calls_may_weigh_the_same_whatever_their_length() -> None:
    short, long = (SampledCall("", (1,), (2,) * n, (0.0,) * n) for n in (1, 3))
    run = run_of(3, (1, 2))
    pair = [Rollout(run, (short, long), Rewards(1.0)), Rollout(run, (short, long), Rewards(0.0))]
    assert [each.advantage for each in credit_group(pair, "trajectory")[0]] == [0.5, 0.5]
    assert [each.advantage for each in credit_group(pair, "trajectory", even_calls=True)[0]] == [1.0, 0.5 * 2 / 3]


def test_a_group_is_flat_if_no_part_of_its_rewards_differs() -> None:
    rewards = [Rewards(1.0, -0.3), Rewards(1.0, -0.3)]
    same = [Rollout(run_of(3, (1, 2)), (), each) for each in rewards]
    assert is_flat(same)
    assert not is_flat([*same, Rollout(run_of(3, (1, 2)), (), Rewards(1.0, -0.4))])
    assert not is_flat([*same, Rollout(run_of(3, (1, 2)), (), Rewards(0.0))])
    assert is_flat([Rollout(run_of(3, (1, 2)), (), Rewards(0.0))] * 3)


def test_rewards_of_a_right_and_of_a_wrong_answer() -> None:
    run = run_of(30, (10, 25), (20, 40))  # 62 sequential of 97 tokens
    assert OutcomeReward()(run, True, 100) == Rewards(1.0)
    assert RelativeReward(0.5)(run, True, 100) == Rewards(1.0, -0.31)
    assert RelativeReward(0.5)(run, False, 100) == Rewards(0.0)
    assert RelativeReward(0.5, cap=0.5)(run, True, 100) == Rewards(1.0, -0.25)
    assert RelativeReward(1.0, "total")(run, True, 97).total == 0.0
    assert AccelerationReward()(run, True, 100) == Rewards(1.0, 0.1)
    assert AccelerationReward(most=0.5)(run, True, 100).latency == pytest.approx(0.5 * 35 / 97)


def random_calls(rng: random.Random, count: int) -> list[CreditedCall]:
    """Calls over three tokens, so that many begin alike; a call's sampled tokens continue another one's as well."""
    written: list[tuple[int, ...]] = [(9,)]
    made = []
    for _ in range(count):
        context = rng.choice(written)
        context += tuple(rng.choices((1, 2, 3), k=rng.randrange(3)))
        ids = tuple(rng.choices((1, 2, 3), k=rng.randint(1, 6)))
        written.append(context + ids)
        logprobs = tuple(-float(place) for place in range(len(context), len(context) + len(ids)))
        made.append(CreditedCall(SampledCall("", context, ids, logprobs), rng.choice((-1.0, 0.5, 2.0))))
    return made


def paths(tree: RolloutTree) -> list[tuple[int, ...]]:
    """The tokens from the root up to each place of the sequence."""
    layout, found = tree.tree, []
    for number, node in enumerate(layout.nodes):
        above, _ = layout.path(number)
        before = above[: len(above) - len(node.ids)]
        found += [(*before, *node.ids[: k + 1]) for k in range(len(node.ids))]
    return found


@pytest.mark.parametrize("seed", range(30))
def test_a_tree_has_each_token_once_with_all_that_the_calls_say_of_it(seed: int) -> None:
    made = random_calls(random.Random(seed), 12)
    tree = merge_calls(made)
    at = paths(tree)
    assert len(set(at)) == len(at)
    sums: dict[tuple[int, ...], list[float]] = {}
    for each in made:
        for k in range(len(each.call.ids)):
            mine = sums.setdefault((*each.call.context, *each.call.ids[: k + 1]), [0.0, 0.0, 0])
            mine[0] += max(each.advantage, 0.0)
            mine[1] += min(each.advantage, 0.0)
            mine[2] += 1
    found = {
        at[target]: [gain, loss, count]
        for target, gain, loss, count in zip(tree.targets, tree.gains, tree.losses, tree.counts, strict=True)
    }
    assert found == sums
    for source, target, logprob in zip(tree.sources, tree.targets, tree.logprobs, strict=True):
        assert at[target][:-1] == at[source]
        assert logprob == -float(len(at[source]))
        assert tree.tree.position_ids[target] == len(at[source])


def test_a_long_context_is_no_recursion() -> None:
    context = (9, *range(20_000))
    tree = merge_calls([CreditedCall(SampledCall("", context, (5, 6), (-1.0, -2.0)), 1.0)])
    assert tree.targets == [20_001, 20_002]


def test_trees_hold_whole_rollouts_up_to_the_limit() -> None:
    rollouts = [[CreditedCall(SampledCall("", (9, 1), (k, k), (0.0, 0.0)), 1.0)] for k in (2, 3, 4)]
    assert [len(tree.tree.input_ids) for tree in pack_rollouts(rollouts, 6)] == [6, 4]
    assert [len(tree.tree.input_ids) for tree in pack_rollouts(rollouts, 3)] == [4, 4, 4]
    assert pack_rollouts([], 6) == []
    other = [CreditedCall(SampledCall("", (8,), (1,), (0.0,)), 1.0)]
    assert [tree.tree.input_ids[0] for tree in pack_rollouts([rollouts[0] + other, rollouts[1]], 9)] == [9, 8]


def test_rollouts_that_wrote_the_same_teach_nothing() -> None:
    call = SampledCall("", (9, 1), (2, 3), (0.0, 0.0))
    assert not merge_calls([CreditedCall(call, 0.3), CreditedCall(call, -0.3)]).teaches
    assert merge_calls([CreditedCall(call, 0.3), CreditedCall(call, -0.2)]).teaches


def test_calls_of_two_questions_are_no_tree() -> None:
    with pytest.raises(ValueError, match="begin with one token, got 2"):
        merge_calls([CreditedCall(SampledCall("", (k,), (1,), (0.0,)), 1.0) for k in (7, 8)])
