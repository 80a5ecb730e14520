"""Blocking calls from an event loop, in daemon threads: a call that hangs may never let its thread go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_thread(call: Callable[[], T], name: str = "run") -> asyncio.Future[T]:
    """Return the call's result as a future of the running event loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def set_once(setter: Callable[[Any], None], value: object) -> None:
        if not future.done():
            setter(value)

    def run() -> None:
        try:
            set_outcome = partial(set_once, future.set_result, call())
        except BaseException as error:
            kept = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error  # no future takes it
            set_outcome = partial(set_once, future.set_exception, kept)
        with suppress(RuntimeError):  # the loop has ended before the call
            loop.call_soon_threadsafe(set_outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
