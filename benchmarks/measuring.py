"""What benchmarks print: a median and what it lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Annotated

import typer

AtLeastOne = Annotated[int, typer.Option(min=1)]


def spread(values: Sequence[float], shown: Callable[[float], str] = "{:.3f}".format) -> str:
    """Median, least and most, such as "0.913 (0.880-0.921)"."""
    return f"{shown(median(values))} ({shown(min(values))}-{shown(max(values))})"
