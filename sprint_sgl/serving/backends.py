"""The runtimes behind the server: one that we start, and start again when it dies, or one that somebody else runs."""

from __future__ import annotations

import threading
from typing import Protocol

from sprint_sgl.console import say
from sprint_sgl.errors import RuntimeUnavailable, SprintError
from sprint_sgl.lang.registry import Method, misfit
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import running_server

LONGEST_PAUSE = 30.0  # seconds between two attempts to start a runtime
POLL = 0.2  # seconds


class Backend(Protocol):
    """A runtime that may be unavailable for a while."""

    def start(self) -> None:
        """Start the runtime without waiting for it."""

    def wait_until_up(self) -> None:
        """Return once the runtime is up for the first time. Raises SprintError if it does not come up."""

    def session(self, time_limit: float) -> Endpoint:
        """Return an endpoint for one run. Raises RuntimeUnavailable while the runtime is down."""

    def model_notes(self, method: Method) -> dict[str, str]:
        """Return what the model's notes say of its scope and its notation; {} while the runtime is down.

        `unfit` is there too if the model was trained on other rows than the method's program needs.
        """

    def stop(self) -> None:
        """End what `start` began, and wait until it has ended."""


def notes_of(endpoint: Endpoint | None, method: Method) -> dict[str, str]:
    if endpoint is None:
        return {}
    notes = {"scope": endpoint.scope, "notation": endpoint.notation, "unfit": misfit(method, endpoint)}
    return {name: text for name, text in notes.items() if text}


class RemoteBackend:
    """A server, or a gateway in front of several, that somebody else keeps running."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url, self._api_key = url, api_key
        self._endpoint: Endpoint | None = None

    def start(self) -> None:
        pass

    def wait_until_up(self) -> None:
        self._endpoint = Endpoint(self._url, self._api_key)

    def session(self, time_limit: float) -> Endpoint:
        if self._endpoint is None:
            raise RuntimeUnavailable(f"{self._url} is not connected")
        return self._endpoint.session(time_limit)

    def model_notes(self, method: Method) -> dict[str, str]:
        return notes_of(self._endpoint, method)

    def stop(self) -> None:
        if self._endpoint:
            self._endpoint.close()


class EmbeddedBackend:
    """A runtime that a thread of this process starts, and starts again when it dies."""

    def __init__(self, model: str, runtime: str | None, startup_limit: float | None = None) -> None:
        self._model, self._runtime, self._startup_limit = model, runtime, startup_limit
        self._endpoint: Endpoint | None = None
        self._first_error: SprintError | None = None
        self._first_start_done, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name=f"runtime of {model}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_until_up(self) -> None:
        while not self._first_start_done.wait(POLL):  # in slices, so that Ctrl-C gets through
            pass
        if self._first_error:
            raise self._first_error

    def session(self, time_limit: float) -> Endpoint:
        if (endpoint := self._endpoint) is None:
            raise RuntimeUnavailable(f"the runtime of {self._model} is being started")
        return endpoint.session(time_limit)

    def model_notes(self, method: Method) -> dict[str, str]:
        return notes_of(self._endpoint, method)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep_up(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            try:
                self._serve_until_it_ends()
                pause = 1.0
                problem = "has ended"
            except SprintError as error:
                if not self._first_start_done.is_set():
                    self._first_error = error
                    self._first_start_done.set()
                    return
                pause, problem = min(2 * pause, LONGEST_PAUSE), f"does not come up ({error})"
            if not self._stopping.wait(pause):
                say(f"the runtime of {self._model} {problem}: starting it again", style="yellow")

    def _serve_until_it_ends(self) -> None:
        with running_server(self._model, runtime=self._runtime, startup_limit=self._startup_limit) as server:
            endpoint = Endpoint(server.url)
            try:
                endpoint.warm_up()
                self._endpoint = endpoint
                self._first_start_done.set()
                while server.supervisor.poll() is None and not self._stopping.wait(POLL):
                    pass
            finally:
                self._endpoint = None
                endpoint.close()
