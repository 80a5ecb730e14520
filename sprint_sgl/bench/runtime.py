"""A runtime that stays up between the jobs of a sweep, swaps its weights, and is started again when it has died."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import ExitStack
from pathlib import Path

from sprint_sgl.bench.found_weights import FoundWeights
from sprint_sgl.console import say
from sprint_sgl.errors import RequestFailed, RuntimeUnavailable, SprintError
from sprint_sgl.runtime.endpoint import IDLE_LIMIT, Endpoint
from sprint_sgl.runtime.launcher import connect, launch
from sprint_sgl.runtime.server import RuntimeConfig, resolve_model

SERVED = "served"  # the name of whichever model the server at `url` has
MOST_RESTARTS = 3  # of a runtime that died, in one process
WAIT_LIMIT = 300.0  # seconds to wait for a server that somebody else runs


class ResidentRuntime:
    """A runtime started as `runtime` says, or the running server at `url`, which gets its weights back at the end.

    `folder` keeps the note of those weights while others are loaded.
    """

    def __init__(self, runtime: RuntimeConfig, url: str | None, time_limit: float, folder: Path) -> None:
        self.runtime, self.url, self.time_limit = runtime, url or runtime.url, time_limit
        self._found = FoundWeights(folder, self.url) if self.url else None
        self._stack = ExitStack()
        self._endpoint: Endpoint | None = None
        self._restarts = 0
        self._warned_of_cache = False

    def load(self, model: str) -> Endpoint:
        """Return the runtime with the model's weights, warm and with an empty cache. Raises SprintError if it fails."""
        path = SERVED if model == SERVED else resolve_model(model)
        if self._endpoint is None:
            self._endpoint = self._start(path)
        self._endpoint.read_model()  # another client may have swapped the weights
        serves = self._endpoint.get_model_name()
        if path not in (SERVED, serves):
            if not self.url and not can_swap_weights(serves, path):
                self._disconnect()
                self._endpoint = self._start(path)
            else:
                if self._found:
                    self._found.note(serves)
                self._swap(self._endpoint, path)
        self._empty_cache(self._endpoint)
        self._endpoint.warm_up()
        return self._endpoint

    def _swap(self, endpoint: Endpoint, path: str) -> None:
        try:
            endpoint.load_weights(path)
        except RequestFailed as error:
            if not self.url:
                raise
            raise RequestFailed(f"{error}; model={SERVED} uses the weights that the server has") from error

    def _empty_cache(self, endpoint: Endpoint) -> None:
        """Empty the cache. A shared server may refuse while it is busy, which only costs a warning."""
        try:
            endpoint.flush_cache(0.0 if self.url else IDLE_LIMIT)
        except RequestFailed as error:
            if not self.url:
                raise
            if not self._warned_of_cache:
                say(
                    f"{self.url} answers others, so that its cache is not emptied between methods, whose seconds may "
                    f"profit from it ({error})",
                    style="yellow",
                )
            self._warned_of_cache = True

    def _start(self, path: str) -> Endpoint:
        if not self.url:
            return self._stack.enter_context(launch(path, runtime=self.runtime, time_limit=self.time_limit))
        key = os.environ.get("SPRINT_API_KEY")
        return self._stack.enter_context(connect(self.url, key, time_limit=self.time_limit))

    def is_lost(self) -> bool:
        """Return whether a runtime that was up no longer answers."""
        try:
            return self._endpoint is not None and not self._endpoint.get_server_info()
        except SprintError:
            return True

    def revive(self) -> None:
        """Make the next `load` start the runtime again; a server at `url` is waited for.

        Raises RuntimeUnavailable after MOST_RESTARTS, or if the server does not come back.
        """
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            raise RuntimeUnavailable(f"the runtime has died {self._restarts} times; finished records are kept")
        action = f"waiting for {self.url}, at most {WAIT_LIMIT:g} s" if self.url else "starting it again"
        say(f"the runtime is gone: {action}", style="yellow")
        self._disconnect()
        deadline = time.monotonic() + WAIT_LIMIT
        while self.url:
            try:
                Endpoint(self.url, os.environ.get("SPRINT_API_KEY")).close()
                return
            except SprintError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def close(self) -> None:
        """End the runtime, or leave the server as it was found; requests under way are stopped."""
        self._disconnect()
        if self._found:
            self._found.give_back()

    def _disconnect(self) -> None:
        self._stack.close()
        self._endpoint = None


def can_swap_weights(one: str, other: str) -> bool:
    """Return whether weights can be swapped: both are local folders with the same tokenizer and configuration."""
    return all(_same_bytes(Path(one, name), Path(other, name)) for name in ("tokenizer.json", "config.json"))


def _same_bytes(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


_RUNTIMES: dict[str, ResidentRuntime] = {}


def resident_runtime(runtime: RuntimeConfig, url: str | None, time_limit: float, folder: Path) -> ResidentRuntime:
    """Return this process's runtime with these settings; it ends with the process."""
    key = repr((runtime, url, time_limit, folder))
    if key not in _RUNTIMES:
        _RUNTIMES[key] = ResidentRuntime(runtime, url, time_limit, folder)
        atexit.register(_RUNTIMES[key].close)
    return _RUNTIMES[key]
