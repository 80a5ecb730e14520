"""Requests to an SGLang server over kept connections: bounded in time, named, sent again where that does no harm.

The stock `RuntimeEndpoint` opens a connection for each request and waits for ever. Here a request is sent again after a
refused or reset connection, and while a gateway has no worker for it; not after an answer, a refusal, or the first
piece of a stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from itertools import count

import httpx

from sprint_sgl.errors import RequestFailed, RuntimeUnavailable, SprintError
from sprint_sgl.runtime.gateway_client import lacks_worker, worker_died, worker_pause
from sprint_sgl.runtime.messages import (
    GENERATE,
    Meta,
    check_generation,
    parse_object,
    refusal_error,
    rename_request,
)
from sprint_sgl.runtime.pool import Connections
from sprint_sgl.validation import checked_seconds

WORKER_LIMIT = 180.0  # seconds that a generation waits for a gateway to have a worker again
SHORTEST = 0.1  # seconds that the last attempt is given
_RECONNECTABLE = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, RuntimeError)  # the last one is httpx's for a client that is closed


class Transport:
    """Requests of any number of threads to one server.

    url            its address, with or without a path such as a gateway's prefix
    time_limit     seconds that one request may take, its repetitions and waiting for a worker included
    reconnects     how often a refused or reset connection is tried again, 0.2 s apart and doubling
    connect_limit  seconds that a connection may take
    """

    def __init__(self, url: str, api_key: str | None, time_limit: float, reconnects: int, connect_limit: float) -> None:
        self.url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
        self.time_limit, self.reconnects = checked_seconds("time_limit", time_limit), reconnects
        self.connect_limit = checked_seconds("connect_limit", connect_limit)
        self._in_flight: set[str] = set()
        self._lock = threading.Lock()
        self._shut, self._owns_client = False, True
        self._on_shut: list[Callable[[], object]] = []
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {}, transport=Connections()
        )

    def session(self, time_limit: float | None) -> Transport:
        """Return a transport over the same connections whose `shut` stops its own requests alone."""
        session = copy(self)
        session._in_flight, session._on_shut, session._owns_client = set(), [], False
        session.time_limit = self.time_limit if time_limit is None else checked_seconds("time_limit", time_limit)
        return session

    def running(self) -> list[str]:
        """Return the request ids of the generations that have not been answered yet."""
        return list(self._in_flight)

    def shut(self) -> None:
        """Begin no generation from now on, and call what waits for that."""
        with self._lock:
            self._shut = True
            callbacks, self._on_shut = self._on_shut, []
        for callback in callbacks:
            callback()

    def on_shut(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `shut` call this, at once if it has been; return what takes it back."""
        with self._lock:
            if not self._shut:
                self._on_shut.append(callback)
                return partial(self._forget, callback)
        callback()
        return partial(self._forget, callback)

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock, suppress(ValueError):
            self._on_shut.remove(callback)

    def close(self) -> None:
        if self._owns_client:
            self._client.close()

    def send(
        self, method: str, path: str, body: Meta | None = None, time_limit: float | None = None, *, at: str = ""
    ) -> httpx.Response:
        """Return the response, whatever its status, of the server or of a gateway's worker `at` its own address.

        Raises RuntimeUnavailable if nothing answers, RequestFailed if the answer takes longer than the limit.
        """
        begun, limit, broken = time.monotonic(), time_limit or self.time_limit, 0
        for attempt in count():
            named = rename_request(body, attempt)
            try:
                with self._in_flight_as(named if path == GENERATE else None):
                    timeout = self._timeout(begun + limit)
                    response = self._client.request(method, (at or self.url) + path, json=named, timeout=timeout)
            except _FAILURES as error:
                self._pause_or_raise(error, broken, limit)
                broken += 1
                continue
            response.extensions["retries"] = attempt
            if path != GENERATE or not lacks_worker(response) or not _wait_for_worker(attempt + 1, begun, limit):
                break
            broken = 0
        return response

    def stream(self, body: Meta) -> Iterator[Meta]:
        """Yield a generation as it grows. Raises as `send` does, and for what the server refuses or reports.

        A connection that breaks before the first piece is tried again as in `send`. The time limit is checked with each
        piece: a stream that falls silent is given the whole limit again to go on.
        """
        begun, limit, broken = time.monotonic(), self.time_limit, 0
        for attempt in count():
            received = False
            try:
                for reply in self._stream_once(rename_request(body, attempt), begun + limit):
                    received = True
                    reply["meta_info"]["retries"] = attempt
                    yield reply
                return
            except _LacksWorker as error:
                broken = 0
                if not _wait_for_worker(attempt + 1, begun, limit):
                    raise _error_of(error.response) from None
            except _FAILURES as error:
                self._pause_or_raise(error, self.reconnects if received else broken, limit)
                broken += 1

    def _stream_once(self, body: Meta | None, deadline: float) -> Iterator[Meta]:
        """Yield one attempt. Raises _LacksWorker, and RemoteProtocolError if it ends before its first piece."""
        timeout, received = self._timeout(deadline), False
        sent = self._client.stream("POST", self.url + GENERATE, json=body, timeout=timeout)
        with self._in_flight_as(body), sent as response:
            if response.status_code != 200:
                response.read()
                raise _LacksWorker(response) if lacks_worker(response) else _error_of(response)
            for reply in self._events(response, deadline):
                received = True
                yield reply
            if not received:
                raise httpx.RemoteProtocolError("the stream ended before its first piece")

    def _events(self, response: httpx.Response, deadline: float) -> Iterator[Meta]:
        for line in response.iter_lines():
            if line.startswith("data:") and line != "data: [DONE]":
                event = parse_object(line[5:])
                if time.monotonic() > deadline:
                    raise RequestFailed(f"{self.url} did not end its answer within {self.time_limit:g} s")
                if worker_died(event):
                    raise RuntimeUnavailable(f"{self.url}: a worker died while it answered")
                if "error" in event:
                    raise refusal_error(f"{self.url}: {event['error']}")
                yield check_generation(event, self.url)

    @contextmanager
    def _in_flight_as(self, body: Meta | None) -> Iterator[None]:
        """Keep the request id of a generation in `running` for the time of the `with`. Raises after `shut`."""
        request_id = body.get("rid", "") if body else ""
        with self._lock:
            if self._shut and request_id:
                raise self._closed_error()
            if request_id:
                self._in_flight.add(request_id)
        try:
            yield
        finally:
            self._in_flight.discard(request_id)

    def _timeout(self, deadline: float) -> httpx.Timeout:
        left = max(deadline - time.monotonic(), SHORTEST)
        return httpx.Timeout(left, connect=min(left, self.connect_limit))

    def _pause_or_raise(self, error: Exception, broken: int, limit: float) -> None:
        """Wait before the next attempt; after `broken` broken connections or another failure raise our error for it."""
        if isinstance(error, RuntimeError) and not self._client.is_closed:
            raise error
        if not isinstance(error, _RECONNECTABLE) or broken == self.reconnects:
            raise self._error_for(error, limit) from error
        time.sleep(0.2 * 2**broken)

    def _error_for(self, error: Exception, limit: float) -> SprintError:
        if isinstance(error, RuntimeError):
            return self._closed_error()
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return RuntimeUnavailable(f"{self.url} is not an address: {error}")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return RuntimeUnavailable(f"nothing answers at {self.url} ({error}): is the runtime up?")
        if isinstance(error, httpx.TimeoutException):
            return RequestFailed(f"{self.url} did not answer within {limit:g} s")
        return RuntimeUnavailable(f"the connection to {self.url} broke: {type(error).__name__}: {error}")

    def _closed_error(self) -> SprintError:
        if not self._shut:  # a session whose endpoint is gone
            return RuntimeUnavailable(f"the runtime at {self.url} has ended")
        return RequestFailed(f"the connection to {self.url} was closed on our side")


class _LacksWorker(Exception):
    """A gateway has no worker for the request now."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response


def _wait_for_worker(attempt: int, begun: float, limit: float) -> bool:
    """Wait before that attempt of a request; return False at once if the attempt would begin too late."""
    pause = worker_pause(attempt)
    if time.monotonic() + pause >= begun + min(WORKER_LIMIT, limit):
        return False
    time.sleep(pause)
    return True


def check_response(response: httpx.Response) -> httpx.Response:
    """Return the response. Raises ContextFull or RequestFailed unless its status is 200."""
    if response.status_code != 200:
        raise _error_of(response)
    return response


def _error_of(response: httpx.Response) -> SprintError:
    return refusal_error(f"{response.url}: HTTP {response.status_code}, {response.text.strip()[:500]}")
