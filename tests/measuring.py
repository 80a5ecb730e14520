"""What benchmarks print: a median and what it lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median


def spread(values: Sequence[float], shown: Callable[[float], str] = "{:.3f}".format) -> str:
    """Median, least and most, such as "0.913 (0.880-0.921)"."""
    return f"{shown(median(values))} ({shown(min(values))}-{shown(max(values))})"
