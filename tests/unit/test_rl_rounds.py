"""Rounds of reinforcement learning: rollouts on disk, updates, evaluations, and going on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sprint_sgl.bench.records import read_records
from sprint_sgl.config import compose_file
from sprint_sgl.errors import BadInput, RequestFailed, RuntimeUnavailable
from tests.fakes.scripted import ScriptedBackend
from training.rl.loss import Clip
from training.rl.recording import SampledCall
from training.rl.rounds import Rounds, Update, find_round
from training.rl.settings import EvaluationSettings, RlSettings, RoundSettings, check_settings

QUESTIONS = [{"question": f"How much is {n} and {n}?", "answer": str(2 * n)} for n in range(1, 7)]


def tokens(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


class Policy(ScriptedBackend):
    """A runtime whose sessions know the tokens of their calls: one for each character."""

    loaded: list[str]

    def session(self, time_limit: float | None = None) -> Policy:
        session = Policy(self.script)
        session.loaded = self.loaded
        return session

    @property
    def calls(self) -> list[SampledCall]:
        return [
            SampledCall("", tokens(each.context), tokens(each.text), (-0.1,) * len(each.text)) for each in self.requests
        ]

    def load_weights(self, folder: str) -> None:
        self.loaded.append(folder)

    def close(self) -> None:
        pass


@dataclass
class FakeLearner:
    """A trainer that takes every update and remembers what it was told."""

    rank: int = 0
    processes: int = 1
    steps: int = 0
    reports: list[dict[str, float]] = field(default_factory=list)

    def steps_done(self) -> int:
        return self.steps

    def write_weights(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "steps").write_text(str(self.steps))

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def report(self, figures: dict[str, float]) -> None:
        self.reports.append(figures)

    def take(self, rounds: Rounds, limit: int = 99) -> list[Update]:
        taken = []
        for update in rounds:
            taken.append(update)
            self.steps += 1
            if len(taken) == limit:
                break
        return taken


def settings(folder: Path, **rounds: Any) -> RlSettings:
    source = folder / "questions.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    task = compose_file("task", "jsonl")
    task["source"]["path"] = str(source)
    numbers = {"rounds": 2, "questions": 2, "group_size": 4, "updates": 1, "concurrency": 1} | rounds
    return RlSettings(
        url="",
        out=str(folder / "out"),
        model="countdown-mini-rft",
        task=task,
        evaluation_task=task,
        program=compose_file("program", "sequential"),
        reward=compose_file("reward", "relative") | {"measure": "total"},
        rounds=RoundSettings(**numbers),
        evaluation=EvaluationSettings(every=2, questions=3, stop_below=40.0),
    )


def some_right() -> Callable[[str], str]:
    """Every fourth answer is wrong, and each is longer than the one before."""
    number = count()

    def script(context: str) -> str:
        n = next(number)
        doubled = 2 * int(context.partition("How much is ")[2].split()[0])
        return f"{'so ' * n}</think>\\boxed{{{doubled if n % 4 else 0}}}"

    return script


def rounds_of(made: RlSettings, learner: FakeLearner, script: Callable[[str], str]) -> Rounds:
    rounds = Rounds(made, learner)
    policy = Policy(script)
    policy.loaded = []
    rounds.endpoint = policy  # type: ignore[assignment]
    return rounds


def test_a_round_is_rollouts_of_the_newest_weights_and_its_updates(tmp_path: Path) -> None:
    learner = FakeLearner()
    rounds = rounds_of(settings(tmp_path), learner, some_right())
    updates = learner.take(rounds)
    assert len(updates) == 2
    assert len(rounds.endpoint.loaded) == 2  # type: ignore[attr-defined]
    first = read_records(tmp_path / "out" / "rounds" / "0000" / "records.jsonl")
    assert len(first) == 8
    assert len({record.question for record in first}) == 2
    update = updates[0]
    assert update.tokens == sum(sum(tree.counts) for tree in update.trees)
    assert len(update.trees) == 2  # a tree for each question
    names = {name for report in learner.reports for name in report}
    assert {"rollouts/correct", "rollouts/flat groups", "evaluation/correct low", "seconds/rollouts"} <= names


def test_what_was_right_and_short_gains(tmp_path: Path) -> None:
    learner = FakeLearner()
    (update,) = learner.take(rounds_of(settings(tmp_path, rounds=1), learner, some_right()))
    for tree in update.trees:
        assert max(tree.gains) > 0 > min(tree.losses)
        together = [gain + loss for gain, loss in zip(tree.gains, tree.losses, strict=True)]
        assert together[-1] != 0


def test_a_run_that_was_stopped_goes_on_with_the_round_that_it_was_in(tmp_path: Path) -> None:
    made, learner = settings(tmp_path, updates=2), FakeLearner()
    whole = learner.take(rounds_of(made, learner, some_right()), limit=1)
    records = (tmp_path / "out" / "rounds" / "0000" / "records.jsonl").read_bytes()
    silent = rounds_of(made, learner, lambda context: pytest.fail("the round is asked again"))
    (second,) = learner.take(silent, limit=1)
    assert (tmp_path / "out" / "rounds" / "0000" / "records.jsonl").read_bytes() == records
    assert second.trees != whole[0].trees
    assert find_round(tmp_path / "out", 2) == (1, 0)


def test_a_round_that_was_cut_short_asks_for_the_rest_alone(tmp_path: Path) -> None:
    made = settings(tmp_path, rounds=1)
    FakeLearner().take(rounds_of(made, FakeLearner(), some_right()))
    folder = tmp_path / "out" / "rounds" / "0000"
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(lines[:3]) + lines[3][:40])  # killed while it wrote the fourth
    (folder / "round.json").unlink()
    later = rounds_of(made, FakeLearner(), some_right())
    FakeLearner().take(later)
    whole = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    assert whole[:3] == lines[:3]
    assert len({record.key for record in read_records(folder / "records.jsonl")}) == len(whole) == 8


def test_a_round_of_equal_rollouts_gives_no_update(tmp_path: Path) -> None:
    learner = FakeLearner()
    assert learner.take(rounds_of(settings(tmp_path), learner, lambda context: r"no</think>\boxed{0}")) == []
    assert {"rollouts/flat groups": 1.0}.items() <= {k: v for r in learner.reports for k, v in r.items()}.items()
    assert find_round(tmp_path / "out", 0) == (2, 0)


def test_a_rollout_that_cannot_be_asked_is_counted(tmp_path: Path) -> None:
    learner, asked, script = FakeLearner(), count(), some_right()

    def fails(context: str) -> str:
        if next(asked) == 4:
            raise RuntimeUnavailable("gone")
        return script(context)

    learner.take(rounds_of(settings(tmp_path, rounds=1, group_size=6), learner, fails))
    assert {"rollouts/failed": 1.0}.items() <= {k: v for r in learner.reports for k, v in r.items()}.items()
    failures = (tmp_path / "out" / "rounds" / "0000" / "failures.jsonl").read_text()
    assert "gone" in failures


def test_a_round_whose_server_dies_is_not_learned_from(tmp_path: Path) -> None:
    made, asked, script = settings(tmp_path, rounds=1), count(), some_right()

    def dies(context: str) -> str:
        if next(asked) >= 7:
            raise RuntimeUnavailable("gone")
        return script(context)

    with pytest.raises(RequestFailed, match=r"rollouts of round 0 could not be asked, the first: .*gone"):
        FakeLearner().take(rounds_of(made, FakeLearner(), dies))
    folder = tmp_path / "out" / "rounds" / "0000"
    assert len(read_records(folder / "records.jsonl")) == 4
    assert not (folder / "round.json").exists()
    assert len(FakeLearner().take(rounds_of(made, FakeLearner(), some_right()))) == 1
    assert len(read_records(folder / "records.jsonl")) == 8


def test_a_training_that_forgets_is_stopped(tmp_path: Path) -> None:
    learner, script = FakeLearner(), some_right()

    def forgets(context: str) -> str:
        return script(context) if not learner.steps else r"no</think>\boxed{0}"

    made = settings(tmp_path, rounds=9)
    assert len(learner.take(rounds_of(made, learner, forgets))) == 1
    assert (tmp_path / "out" / "best_policy" / "steps").read_text() == "0"
    assert not (tmp_path / "out" / "rounds" / "0002").exists()


def test_the_weights_with_the_best_evaluation_are_kept(tmp_path: Path) -> None:
    learner, asked, words = FakeLearner(), count(), [10, 4, 20]  # of an answer after so many steps

    def script(context: str) -> str:
        doubled = 2 * int(context.partition("How much is ")[2].split()[0])
        return f"{'so ' * (words[learner.steps] + next(asked) % 2)}</think>\\boxed{{{doubled}}}"

    made = settings(tmp_path)
    made.evaluation.every = 1
    rounds = rounds_of(made, learner, script)
    learner.take(rounds)
    rounds.finish()
    assert learner.steps == 2
    assert (tmp_path / "out" / "best_policy" / "steps").read_text() == "1"
    rewards = [report["evaluation/reward"] for report in learner.reports if "evaluation/reward" in report]
    assert len(rewards) == 2  # the first evaluation has nothing to compare with yet
    assert rewards[0] > rewards[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"group_size": 1}, "rl.group_size must be at least 2"),
        ({"questions": 3}, "rl.questions=3 must be a multiple of the 2 training processes"),
        ({"credit": "all"}, "rl.credit must be one of trajectory, critical_path, branch"),
        ({"baseline": "mean"}, "rl.baseline must be one of group, none, got 'mean'"),
        ({"kl": -0.1}, "rl.kl must be at least 0, got -0.1"),
        ({"temperature": 0}, "rl.temperature must be above 0"),
        ({"clip": Clip(low=2)}, "rl.clip needs 0 < low < 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_settings(RoundSettings(**{"questions": 4, **change}), EvaluationSettings(), 2)
