"""What benchmarks share: the runtime that they measure, and a median with what it lies between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Annotated

import typer

from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import DEFAULT_MODEL

AtLeastOne = Annotated[int, typer.Option(min=1)]
Url = Annotated[str | None, typer.Option(help="a server that runs already, in place of one of our own")]
Runtime = Annotated[str | None, typer.Option(help="a name in conf/runtime; by default this machine's own")]


@contextmanager
def measured(url: str | None, runtime: str | None, model: str = DEFAULT_MODEL) -> Iterator[str]:
    """The address of the runtime to measure: the one that runs there already, else one of our own."""
    if url:
        yield url
        return
    with running_server(model, runtime=runtime) as server:
        yield server.url


def spread(values: Sequence[float], shown: Callable[[float], str] = "{:.3f}".format) -> str:
    """Median, least and most, such as "0.913 (0.880-0.921)"."""
    return f"{shown(median(values))} ({shown(min(values))}-{shown(max(values))})"
