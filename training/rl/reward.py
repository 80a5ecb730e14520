"""Rewards of a rollout: whether its answer is right, and how long the answer had to be waited for.

A reward is kept in two parts, since only some of a run's tokens made the answer late (training/rl/credit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from sprint_sgl.trajectory import Trajectory

Measure = Literal["sequential", "barrier", "total", "seconds"]
MEASURES: dict[Measure, Callable[[Trajectory], float]] = {
    "sequential": lambda run: run.sequential_tokens,
    "barrier": lambda run: run.sequential_tokens_barrier,
    "total": lambda run: run.total_tokens,
    "seconds": lambda run: run.seconds,
}


@dataclass(frozen=True)
class Rewards:
    """The parts of a reward: `outcome` for the answer, `latency` for the wait, None where the wait does not count.

    The wait for a wrong answer does not count: it would be a reward for being wrong quickly.
    """

    outcome: float
    latency: float | None = None

    @property
    def total(self) -> float:
        return self.outcome + (self.latency or 0.0)


class RewardFunction(Protocol):
    """A reward; `measure` is what its `reference` is taken of."""

    @property
    def measure(self) -> Measure: ...

    def __call__(self, run: Trajectory, correct: bool, reference: float) -> Rewards:
        """Return the rewards of a run. `reference` is what the measure was for such questions before training."""


@dataclass(frozen=True)
class OutcomeReward:
    """1 for a right answer: the control without a latency term."""

    measure: Measure = "sequential"

    def __call__(self, run: Trajectory, correct: bool, reference: float) -> Rewards:
        return Rewards(float(correct))


@dataclass(frozen=True)
class RelativeReward:
    """1 for a right answer, less `weight` times the measure over its reference, which is at most `cap`."""

    weight: float = 0.5
    measure: Measure = "sequential"
    cap: float = 2.0

    def __call__(self, run: Trajectory, correct: bool, reference: float) -> Rewards:
        if not correct:
            return Rewards(0.0)
        ratio = MEASURES[self.measure](run) / reference if reference else 1.0
        return Rewards(1.0, -self.weight * min(ratio, self.cap))


@dataclass(frozen=True)
class AccelerationReward:
    """ThreadWeaver's: a right answer gets up to `weight` x `most` more for the share of tokens off the critical path.

    It rewards parallel text, also where the same answer needs less text.
    """

    weight: float = 0.5
    most: float = 0.2
    measure: Measure = "sequential"

    def __call__(self, run: Trajectory, correct: bool, reference: float) -> Rewards:
        if not correct or not run.total_tokens:
            return Rewards(float(correct))
        return Rewards(1.0, self.weight * min(1 - run.sequential_tokens / run.total_tokens, self.most))
