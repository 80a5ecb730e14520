"""Means, shares and ratios with confidence intervals, by bootstrap over questions, and p-values of paired methods.

Written out here because importing scipy.stats takes a second; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
BATCH = 500  # draws at a time, to bound the memory
LEVEL = 0.95
Values = NDArray[np.float64]


@dataclass(frozen=True)
class IntervalEstimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float], seed: int = 0) -> IntervalEstimate:
    """Return the mean of values, one for each question, with its bootstrap interval."""
    return _bootstrap((np.asarray(values, float),), np.mean, seed)


def share(values: Sequence[float], seed: int = 0) -> IntervalEstimate:
    """Return the mean of shares, one for each question.

    Resampling shows no spread where all shares are 0 or all are 1: there the interval is the exact binomial one
    (Clopper and Pearson).
    """
    if set(values) in ({0.0}, {1.0}):
        nearest = ((1 - LEVEL) / 2) ** (1 / len(values))  # the smallest share in the interval
        return IntervalEstimate(1.0, nearest, 1.0) if values[0] else IntervalEstimate(0.0, 0.0, 1 - nearest)
    return mean(values, seed)


def ratio_of_means(over: Sequence[float], under: Sequence[float], seed: int = 0) -> IntervalEstimate:
    """Return mean(over) / mean(under) with its bootstrap interval over pairs: the same questions in the same order."""
    if len(over) != len(under):
        raise ValueError(f"both lists must have the same length, got {len(over)} and {len(under)}")

    def ratio(a: Values, b: Values, axis: int) -> Any:
        return np.mean(a, axis=axis) / np.mean(b, axis=axis)

    return _bootstrap((np.asarray(over, float), np.asarray(under, float)), ratio, seed)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return McNemar's exact p-value for the hypothesis that both methods are right equally often."""
    only_one = sum(bool(a) and not b for a, b in zip(one, other, strict=True))
    only_other = sum(bool(b) and not a for a, b in zip(one, other, strict=True))
    differ, ways, tail = only_one + only_other, 1, 0
    for k in range(min(only_one, only_other) + 1):  # ways to choose k of the differing questions
        tail += ways
        ways = ways * (differ - k) // (k + 1)
    return min(1.0, float(Fraction(2 * tail, 2**differ)))


def paired_p(one: Sequence[float], other: Sequence[float], seed: int = 0) -> float:
    """Return the p-value for the hypothesis that both methods are right equally often on the same questions.

    McNemar's test where each question was asked once, else a permutation test that swaps the methods within questions.
    """
    if set(one) | set(other) <= {0.0, 1.0}:
        return mcnemar([value == 1 for value in one], [value == 1 for value in other])
    if len(one) < 2:
        return 1.0  # one question allows no conclusion
    from scipy import stats  # slow to import and seldom needed

    differences = np.asarray(one, float) - np.asarray(other, float)
    found = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=DRAWS, rng=seed, batch=BATCH
    )
    return float(found.pvalue)


def _bootstrap(data: tuple[Values, ...], statistic: Callable[..., Any], seed: int) -> IntervalEstimate:
    value = float(statistic(*data, axis=-1))
    if len(data[0]) < 2:
        return IntervalEstimate(value, value, value)
    rng, count = np.random.default_rng(seed), len(data[0])
    drawn = []
    for _ in range(0, DRAWS, BATCH):
        chosen = rng.integers(0, count, (BATCH, count))
        drawn.append(statistic(*(values[chosen] for values in data), axis=-1))
    low, high = np.percentile(np.concatenate(drawn), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return IntervalEstimate(value, float(low), float(high))
