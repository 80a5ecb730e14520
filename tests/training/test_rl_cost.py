"""What a training on rollouts is expected to take: trees, memory, seconds of a round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sprint_sgl.bench.replay import StageShape, TrajectoryShape
from sprint_sgl.config import open_overrides, typed_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.package_files import CONF
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory
from training.rl.cost import RlCostConfig, RlEstimate, own_tokens, pack_sizes, round_table, summary_line
from training.rl.recording import SampledCall
from training.rl.tree import CreditedCall, pack_rollouts

MINI = Path(__file__).parents[2] / "models" / "countdown-mini-sprint"
QUESTION, PLAN, EXECUTIONS, ANSWER = 20, 30, (40, 60), 10


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = Stage(
        tuple(Prompt("task", offset=10 * j) for j in (1, 2)),
        tuple(Execution("text", call=Call(completion_tokens=tokens)) for tokens in EXECUTIONS),
        planner_calls=(Call(completion_tokens=PLAN),),
    )
    run = Trajectory("q" * 4 * QUESTION, (stage,), "9", answer_calls=(Call(completion_tokens=ANSWER),))
    path = tmp_path_factory.mktemp("recorded") / "records.jsonl"
    path.write_text(json.dumps({"trajectory": run.to_dict()}) + "\n")
    return path


def estimate(recorded: Path, *overrides: str) -> RlEstimate:
    words = [f"path={recorded}", f"model={MINI}", "recipe=countdown_mini_rl", "device=cpu", "worker=cpu_mini"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        raw = compose("rl_cost", open_overrides(RlCostConfig, [*words, *overrides]))
    return RlEstimate(typed_settings(raw, RlCostConfig))


def test_a_rollout_takes_as_many_tokens_as_its_tree() -> None:
    """The calls of a run whose tags cost nothing, packed as the trainer packs them."""
    shape = TrajectoryShape(QUESTION, (StageShape((15, 15), 0, EXECUTIONS),), ANSWER)
    texts = [tuple(range(100 * k, 100 * k + tokens)) for k, tokens in enumerate((QUESTION, PLAN, *EXECUTIONS, ANSWER))]
    question, plan, first, second, answer = texts
    rollouts = []
    for n in range(3):
        begun = (*question, *(1000 * (n + 1) + token for token in plan))
        contexts = {"": question, "1.1": (*begun, 7001), "1.2": (*begun, 7002)}
        sampled = {"": begun[len(question) :], "1.1": first, "1.2": second}
        calls = [SampledCall(place, contexts[place], ids, (-1.0,) * len(ids)) for place, ids in sampled.items()]
        calls.append(SampledCall("", (*begun, *first, *second), answer, (-1.0,) * ANSWER))
        rollouts.append([CreditedCall(call, 1.0) for call in calls])
    places = 2  # tokens that open each executor's place, which the estimate leaves out
    wanted = pack_sizes(QUESTION, [own_tokens(shape) + places] * 3, 520)
    assert [len(tree.tree.input_ids) for tree in pack_rollouts(rollouts, 520)] == wanted
    assert len(wanted) == 2


def test_the_trees_of_a_round_hold_all_its_rollouts(recorded: Path) -> None:
    trees = estimate(recorded, "rl.questions=3", "rl.group_size=4", "rl.max_length=1000").trees()
    alone = PLAN + 2 * sum(EXECUTIONS) + ANSWER
    assert trees == [QUESTION + 4 * alone] * 3


def test_more_workers_answer_sooner_and_cost_more_copies_of_the_weights(recorded: Path) -> None:
    one, four = (estimate(recorded, f"workers={count}").round() for count in (1, 4))
    assert four.rollouts < one.rollouts
    assert four.weights == pytest.approx(one.weights * 5 / 2)
    assert four.updates == one.updates


def test_a_kl_term_holds_another_model(recorded: Path) -> None:
    without, with_term = (estimate(recorded, f"rl.kl={weight}") for weight in (0, 0.1))
    more = with_term.memory([500]).peak - without.memory([500]).peak
    assert more == pytest.approx(without.training.sizes.total_bytes)


def test_the_line_says_hours_and_who_waits(recorded: Path) -> None:
    found = estimate(recorded, "rl.rounds=10", "task=countdown", "reward=relative")
    cost = found.round()
    line = summary_line(found, cost)
    assert "GPU hours" in line
    assert f"training devices wait {1 - cost.updates / cost.seconds:.0%}" in line
    assert next(str(cell) for cell in round_table(found, cost).columns[0].cells) == "128 rollouts of 16 questions"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("disk=0", "disk must be above 0 GB/s, got 0"),
        ("workers=0", "workers must be a whole number from 1 .* got 0"),
        ("worker.step=-1", "worker.step must be above 0, got -1"),
        ("rl.group_size=1", "rl.group_size must be at least 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(recorded: Path, override: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        estimate(recorded, override)
