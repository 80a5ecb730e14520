"""What benchmarks print: a median and what it lies between."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def spread(values: Sequence[float]) -> str:
    """Median, least and most, such as "0.913 (0.880-0.921)"."""
    return f"{median(values):.3f} ({min(values):.3f}-{max(values):.3f})"
