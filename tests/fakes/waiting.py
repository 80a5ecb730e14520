"""Waiting in tests: for what another process or thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sprint_sgl.errors import RequestFailed

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint


def wait_for(condition: Callable[[], object], limit: float, every: float = 0.05) -> None:
    """Return once it holds, asked `every` so many seconds; fail after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(every)


def idle(endpoint: Endpoint) -> bool:
    """A runtime refuses to empty its cache while requests run."""
    try:
        endpoint.flush_cache()
    except RequestFailed:
        return False
    return True
