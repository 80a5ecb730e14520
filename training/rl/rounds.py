"""The rounds of reinforcement learning, as the trainer's source of data: rollouts of its own weights, then updates.

Every round has a folder, rounds/0007, with its rollouts and round.json, so that a run that was killed goes on with the
round that it was in: with the rollouts that are there, which the same weights have made.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.statistics import share
from sprint_sgl.bench.runner import QuestionSample, Workload
from sprint_sgl.console import say
from sprint_sgl.errors import RequestFailed
from sprint_sgl.storage.files import whole_file
from sprint_sgl.tasks.base import Task
from training.rl.credit import Rollout, credit_group, is_flat
from training.rl.recording import RecordingEndpoint
from training.rl.reward import MEASURES
from training.rl.rollout import RoundFolder, SampledRun
from training.rl.settings import RlSettings
from training.rl.tree import REST, CreditedCall, RolloutTree, pack_rollouts

ROUNDS, EVALUATIONS = "rounds", "evaluations"  # folders
ROUND_FILE = "round.json"
REFERENCE_FILE = "reference.json"
MOST_LOST = 0.1  # share of a round's rollouts that may fail: those that had ended by then are the short ones
POLICY = "policy"  # folder of the weights that the runtime loads
BEST = "best_policy"  # folder of the weights whose evaluation had the highest reward so far


class Learner(Protocol):
    """What the rounds need of a trainer; `rank` is this process's number of `processes`."""

    rank: int
    processes: int

    def steps_done(self) -> int:
        """Return the number of optimiser steps so far."""

    def write_weights(self, folder: Path) -> None:
        """Write the current weights and all that belongs to the model. All processes call it, the first one writes."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""

    def report(self, figures: dict[str, float]) -> None:
        """Log figures at the current step. All processes call it."""


@dataclass(frozen=True)
class Update:
    """One optimiser step.

    trees    of this process
    tokens   sampled in the trees of all processes
    saves    whether a checkpoint is due after the step
    """

    trees: list[RolloutTree]
    tokens: int
    saves: bool = False


class Rounds:
    """The updates of all rounds that are left."""

    def __init__(self, settings: RlSettings, learner: Learner) -> None:
        self.settings, self.learner, self.out = settings, learner, Path(settings.out)
        self.task, self.method, self.reward = settings.make_task(), settings.method, settings.make_reward()
        self.questions = list(self.task.questions())
        random.Random(settings.rounds.seed).shuffle(self.questions)
        self.stopped = False

    @cached_property
    def endpoint(self) -> RecordingEndpoint:
        key = os.environ.get("SPRINT_API_KEY")
        return RecordingEndpoint(self.settings.url, api_key=key, time_limit=self.settings.rounds.time_limit)

    def __iter__(self) -> Iterator[Update]:
        number, done = find_round(self.out, self.learner.steps_done())
        while number < self.settings.rounds.rounds:
            self._publish()
            if number % self.settings.evaluation.every == 0:
                self.evaluate(number)
                if self.stopped:
                    if not self.learner.rank:
                        say(f"round {number}: accuracy has fallen too far below the first evaluation: stopped", "red")
                    return
            begun = time.perf_counter()
            folder = self._collect(number)
            sampled = time.perf_counter()
            self.learner.report({"seconds/rollouts": sampled - begun})
            yield from self._updates(folder, number)[done:]
            self.learner.report({"seconds/updates": time.perf_counter() - sampled})
            number, done = number + 1, 0

    def finish(self) -> None:
        """Evaluate the weights as they are in the end."""
        self._publish()
        self.evaluate(find_round(self.out, self.learner.steps_done())[0])

    def _publish(self) -> None:
        """Have the runtime load the current weights."""
        folder = self.out / POLICY
        self.learner.write_weights(folder)
        if not self.learner.rank:
            self.endpoint.load_weights(str(folder.absolute()))
        self.learner.gather(None)  # no process asks before the runtime has them

    def _collect(self, number: int) -> RoundFolder:
        """Return the round's rollouts of this process."""
        settings = self.settings.rounds
        first = number * settings.questions
        window = [self.questions[k % len(self.questions)] for k in range(first, first + settings.questions)]
        own = window[self.learner.rank :: self.learner.processes]
        folder = RoundFolder.of(round_path(self.out, number, self.learner.rank))
        samples = [QuestionSample(each, k) for each in own for k in range(settings.group_size)]
        begun = round_path(self.out, number) / ROUND_FILE
        if begun.is_file():  # updates have been made of what is there
            return folder
        folder.collect(self._workload(self.task, samples, settings.temperature, settings.seed + number), self.endpoint)
        lost = sum(self.learner.gather(len(folder.failures)))
        if lost > MOST_LOST * settings.questions * settings.group_size:
            error = next((each.error for each in folder.failures), "on another process")
            raise RequestFailed(f"{lost} rollouts of round {number} could not be asked, the first: {error}")
        return folder

    def _workload(self, task: Task, samples: list[QuestionSample], temperature: float, seed: int) -> Workload:
        settings, model = self.settings.rounds, self.settings.model
        return Workload(
            task,
            [self.method],
            lambda method: model,
            samples,
            temperature,
            settings.max_new_tokens,
            seed,
            settings.concurrency,
        )

    def _updates(self, folder: RoundFolder, number: int) -> list[Update]:
        """Return the round's updates, the same number on all processes, and write down where the round begins."""
        references = self._references  # by all processes, also by one without rollouts
        groups = [self._rollouts(group, references) for group in folder.groups()]
        kept = [group for group in groups if not is_flat(group, self.settings.baseline)]
        self._report_round(folder, groups, kept)
        limit = self.settings.rounds.max_length
        packed = [tree for group in kept for tree in pack_rollouts(self._credited(group), limit)]
        trees = [tree for tree in packed if tree.teaches]  # Adam would make a whole step of a rounding error
        random.Random(number).shuffle(trees)
        count = min(self.settings.rounds.updates, max(self.learner.gather(len(trees))))
        parts = [trees[k::count] for k in range(count)]
        sizes = self.learner.gather([(len(part), sum(sum(tree.counts) for tree in part)) for part in parts])
        if not self.learner.rank:
            begin = {"first_step": self.learner.steps_done(), "updates": count}
            if not (path := folder.path / ROUND_FILE).is_file():
                with whole_file(path) as file:
                    json.dump(begin, file)
        updates = []
        saves = not (number + 1) % self.settings.rounds.save_every
        for k, (part, everyones) in enumerate(zip(parts, zip(*sizes, strict=True), strict=True), 1):
            rest = max(length for length, _ in everyones) - len(part)
            tokens = sum(tokens for _, tokens in everyones)
            updates.append(Update([*part, *[REST] * rest], tokens, saves and k == count))
        return updates

    def _credited(self, group: Sequence[Rollout]) -> list[list[CreditedCall]]:
        made = self.settings
        return credit_group(group, made.credit, baseline=made.baseline, even_calls=made.rounds.even_calls)

    def _rollouts(self, group: Sequence[SampledRun], references: Mapping[str, float]) -> list[Rollout]:
        """Return a group with its rewards."""
        found = []
        for run in group:
            record = run.record
            reference = references.get(record.group) or fmean(references.values() or [0.0])
            rewards = self.reward(record.trajectory, record.correct, reference)
            found.append(Rollout(record.trajectory, run.calls, rewards))
        return found

    @cached_property
    def _references(self) -> dict[str, float]:
        """What the reward's measure was for right answers before training, by group of questions."""
        path = self.out / REFERENCE_FILE
        if not path.is_file():
            measure = MEASURES[self.reward.measure]
            mine: dict[str, list[float]] = {}
            for run in RoundFolder.of(round_path(self.out, 0, self.learner.rank)).runs.values():
                if run.record.correct:
                    mine.setdefault(run.record.group, []).append(measure(run.record.trajectory))
            values: dict[str, list[float]] = {}
            for each in self.learner.gather(mine):
                for name, found in each.items():
                    values.setdefault(name, []).extend(found)
            if not self.learner.rank:
                with whole_file(path) as file:
                    json.dump({name: fmean(found) for name, found in values.items()}, file, indent=2)
            self.learner.gather(None)
        return dict(json.loads(path.read_text()))

    def _report_round(self, folder: RoundFolder, groups: list[list[Rollout]], kept: list[list[Rollout]]) -> None:
        records = [run.record for run in folder.runs.values()]
        found = run_figures(records)
        found["flat groups"] = 1 - len(kept) / len(groups) if groups else 0.0
        everyones = self.learner.gather((len(records), len(folder.failures), found))
        weights = [count for count, _, _ in everyones]
        figures = {name: weighted_mean([each[name] for *_, each in everyones], weights) for name in found}
        figures["failed"] = float(sum(failed for _, failed, _ in everyones))
        self.learner.report({f"rollouts/{name}": value for name, value in figures.items()})

    def evaluate(self, number: int) -> None:
        """Run the evaluation's questions at temperature 0, log the figures, and decide whether to stop."""
        settings = self.settings.evaluation
        references = self._references if number else {}  # what they are taken from are the rollouts of round 0
        found = None if self.learner.rank else self._evaluation_figures(number, references)
        figures, fallen = self.learner.gather(found)[0]
        self.learner.report({f"evaluation/{name}": value for name, value in figures.items()})
        self.stopped = fallen > settings.stop_below

    def _evaluation_figures(self, number: int, references: Mapping[str, float]) -> tuple[dict[str, float], float]:
        """Return the figures, and by how many points accuracy has fallen since the first evaluation.

        The weights are kept as the best ones if no earlier evaluation had a higher reward.
        """
        task = self.settings.make_evaluation_task()
        samples = [QuestionSample(each) for each in islice(task.questions(), self.settings.evaluation.questions)]
        folder = self._evaluation(number)
        folder.collect(self._workload(task, samples, 0.0, self.settings.rounds.seed), self.endpoint)
        if folder.failures:
            raise RequestFailed(f"evaluation {number}: a question could not be asked: {folder.failures[0].error}")
        records = [run.record for run in folder.runs.values()]
        correct = share([float(record.correct) for record in records])
        fallen = 100 * (fmean(run.record.correct for run in self._evaluation(0).runs.values()) - correct.value)
        figures = run_figures(records) | {"correct low": correct.low, "correct high": correct.high}
        if references:
            figures["reward"] = self._mean_reward(folder, references)
        earlier = [self._evaluation(n) for n in range(number) if (self.out / EVALUATIONS / f"{n:04d}").is_dir()]
        if not any(self._mean_reward(each, references) > figures["reward"] for each in earlier):
            replace_folder(self.out / BEST, self.out / POLICY)
        return figures, fallen

    def _evaluation(self, number: int) -> RoundFolder:
        return RoundFolder.of(self.out / EVALUATIONS / f"{number:04d}")

    def _mean_reward(self, folder: RoundFolder, references: Mapping[str, float]) -> float:
        return fmean(each.rewards.total for each in self._rollouts(list(folder.runs.values()), references))


def replace_folder(folder: Path, source: Path) -> None:
    """Make `folder` a copy of `source`; a copy that is interrupted leaves the old folder as it was."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def weighted_mean(values: Sequence[float], weights: Sequence[int]) -> float:
    """Return the mean by weight; 0 without any."""
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights) if sum(weights) else 0.0


def run_figures(records: Iterable[Record]) -> dict[str, float]:
    """Return the means over runs that a curve shows."""
    runs = list(records)
    if not runs:
        return dict.fromkeys(("correct", "sequential tokens", "total tokens", "stages", "width", "repaired"), 0.0)
    trajectories = [each.trajectory for each in runs]
    return {
        "correct": fmean(each.correct for each in runs),
        "sequential tokens": fmean(each.sequential_tokens for each in trajectories),
        "total tokens": fmean(each.total_tokens for each in trajectories),
        "stages": fmean(len(each.stages) for each in trajectories),
        "width": fmean(each.width for each in trajectories),
        "repaired": fmean(bool(each.repairs) for each in trajectories),
    }


def round_path(out: Path, number: int, rank: int = 0) -> Path:
    """Return the folder of a round's rollouts by one process."""
    return out / ROUNDS / (f"{number:04d}" if not rank else f"{number:04d}-rank{rank}")


def find_round(out: Path, step: int) -> tuple[int, int]:
    """Return the round of the next optimiser step after `step`, and how many of the round's updates are done."""
    begun = []
    for path in sorted((out / ROUNDS).glob(f"*/{ROUND_FILE}")):
        row = json.loads(path.read_text())
        begun.append((int(path.parent.name), row["first_step"], row["updates"]))
    number, first, updates = max((each for each in begun if each[1] <= step), default=(0, 0, None))
    if updates is None:
        return 0, 0
    return (number + 1, 0) if step - first >= updates else (number, step - first)
