"""The runtimes behind the server: one of our own that is started again when it dies, or somebody else's."""

from __future__ import annotations

import threading
from typing import Protocol

from sprint_sgl.console import say
from sprint_sgl.errors import RuntimeUnavailable, SprintError
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import running_server

LONGEST_PAUSE = 30.0  # seconds between two tries to start a runtime
POLL = 0.2


class Backend(Protocol):
    """A runtime that may be gone for a while."""

    def start(self) -> None:
        """Begins to bring it up."""

    def ready(self) -> None:
        """Returns once it is up for the first time. Raises SprintError where it does not come up."""

    def session(self, time_limit: float) -> Endpoint:
        """The runtime for one run. Raises RuntimeUnavailable while there is none."""

    def stop(self) -> None:
        """Ends what was begun here; waits until that is so."""


class Remote:
    """A server, or a gateway of many, that somebody else keeps up."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url, self._api_key = url, api_key
        self._endpoint: Endpoint | None = None

    def start(self) -> None:
        pass

    def ready(self) -> None:
        self._endpoint = Endpoint(self._url, self._api_key)

    def session(self, time_limit: float) -> Endpoint:
        if self._endpoint is None:
            raise RuntimeUnavailable(f"{self._url} is not connected")
        return self._endpoint.session(time_limit)

    def stop(self) -> None:
        if self._endpoint:
            self._endpoint.close()


class Embedded:
    """A runtime of our own."""

    def __init__(self, model: str, runtime: str | None) -> None:
        self._model, self._runtime = model, runtime
        self._endpoint: Endpoint | None = None
        self._first_error: SprintError | None = None
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name=f"runtime of {model}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> None:
        while not self._begun.wait(POLL):  # in pieces, so that Ctrl-C gets through
            pass
        if self._first_error:
            raise self._first_error

    def session(self, time_limit: float) -> Endpoint:
        if (endpoint := self._endpoint) is None:
            raise RuntimeUnavailable(f"the runtime of {self._model} is being started")
        return endpoint.session(time_limit)

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
                said = "has ended"
            except SprintError as error:
                if not self._begun.is_set():
                    self._first_error = error
                    self._begun.set()
                    return
                pause, said = min(2 * pause, LONGEST_PAUSE), f"does not come up ({error})"
            if not self._stopping.wait(pause):
                say(f"the runtime of {self._model} {said}: starting it again", style="yellow")

    def _serve_until_it_ends(self) -> None:
        with running_server(self._model, runtime=self._runtime) as server:
            endpoint = Endpoint(server.url)
            try:
                endpoint.warm_up()
                self._endpoint = endpoint
                self._begun.set()
                while server.supervisor.poll() is None and not self._stopping.wait(POLL):
                    pass
            finally:
                self._endpoint = None
                endpoint.close()
