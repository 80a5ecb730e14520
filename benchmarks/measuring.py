"""What the benchmarks share: the runtime to measure, an empty cache, and a median with its range."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Annotated, Any

import typer

from sprint_sgl.errors import RequestFailed
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import DEFAULT_MODEL

IDLE_LIMIT = 5.0  # seconds
AtLeastOne = Annotated[int, typer.Option(min=1)]
Url = Annotated[str | None, typer.Option(help="address of a running server; by default one is started")]
Runtime = Annotated[str | None, typer.Option(help="a name in conf/runtime; by default this machine's own")]


@contextmanager
def runtime_url(url: str | None, runtime: str | None, model: str = DEFAULT_MODEL) -> Iterator[str]:
    """Yield the address of the runtime to measure: `url` if given, else that of a runtime started for the block."""
    if url:
        yield url
        return
    with running_server(model, runtime=runtime) as server:
        yield server.url


def empty_cache(endpoint: Any) -> None:
    """Empty the runtime's cache; retry while requests still run, for at most IDLE_LIMIT seconds."""
    deadline = time.monotonic() + IDLE_LIMIT
    while True:
        try:
            endpoint.flush_cache()
            return
        except RequestFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def spread(values: Sequence[float], form: Callable[[float], str] = "{:.3f}".format) -> str:
    """Return the median with the range, such as "0.913 (0.880-0.921)"."""
    return f"{form(median(values))} ({form(min(values))}-{form(max(values))})"
