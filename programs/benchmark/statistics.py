"""Figures with their uncertainty: questions are resampled, and two methods are compared on the same ones.

scipy is imported where it is used: it takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
LEVEL = 0.95
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean, by bootstrap over the values: one a question."""
    return _bootstrap((np.asarray(values, float),), np.mean, seed)


def share(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of shares, one a question. Where all are 0 or all 1 resampling shows no spread: the exact binomial
    interval (Clopper and Pearson) in its place."""
    if set(values) in ({0.0}, {1.0}):
        from scipy import stats

        exact = stats.binomtest(round(sum(values)), len(values)).proportion_ci(LEVEL)
        return Estimate(float(values[0]), float(exact.low), float(exact.high))
    return mean(values, seed)


def ratio_of_means(over: Sequence[float], under: Sequence[float], seed: int = 0) -> Estimate:
    """mean(over) / mean(under), by bootstrap over pairs: both are of the same questions in the same order."""

    def ratio(a: Values, b: Values, axis: int) -> Any:
        return np.mean(a, axis=axis) / np.mean(b, axis=axis)

    return _bootstrap((np.asarray(over, float), np.asarray(under, float)), ratio, seed)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """The exact p-value that two methods, asked the same questions, are right equally often."""
    only_one = sum(a and not b for a, b in zip(one, other, strict=True))
    only_other = sum(b and not a for a, b in zip(one, other, strict=True))
    if only_one + only_other == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(only_one, only_one + only_other).pvalue)


def paired_p(one: Sequence[float], other: Sequence[float], seed: int = 0) -> float:
    """The p-value that two methods, asked the same questions, are right equally often: McNemar's where each question
    was asked once, else by random swaps of the two within questions."""
    if set(one) | set(other) <= {0.0, 1.0}:
        return mcnemar([value == 1 for value in one], [value == 1 for value in other])
    from scipy import stats

    differences = np.asarray(one, float) - np.asarray(other, float)
    found = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=DRAWS, rng=seed, batch=500
    )
    return float(found.pvalue)


def _bootstrap(data: tuple[Values, ...], statistic: Callable[..., Any], seed: int) -> Estimate:
    value = float(statistic(*data, axis=-1))
    if len(data[0]) < 2:
        return Estimate(value, value, value)
    from scipy import stats

    found = stats.bootstrap(
        data,
        statistic,
        n_resamples=DRAWS,
        paired=len(data) > 1,
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=seed,
        batch=500,
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))
