"""Waiting in tests: for what another process or thread is about to do."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], limit: float) -> None:
    """Returns once it holds; fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)
