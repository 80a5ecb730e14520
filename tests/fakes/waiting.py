"""Wait in tests for another process or thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sprint_sgl.errors import RequestFailed

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint


def wait_for(condition: Callable[[], object], limit: float, every: float = 0.05) -> None:
    """Return once the condition holds; check it `every` seconds, fail after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(every)


def idle(endpoint: Endpoint) -> bool:
    """Return whether the runtime is idle: a busy one refuses to empty its cache."""
    try:
        endpoint.flush_cache()
    except RequestFailed:
        return False
    return True
