"""Requests to an SGLang server over kept connections: bounded in time, named, sent again where that does no harm.

The stock `RuntimeEndpoint` opens a connection for each request and waits for ever. Here a refused or reset connection
is tried again, as is a gateway's lack of a worker; an answer, a refusal or a stream that has begun is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from itertools import count

import httpx

from sprint_sgl.errors import RequestFailed, RuntimeUnavailable, SprintError
from sprint_sgl.limits import checked_seconds
from sprint_sgl.runtime import gateway_client as behind
from sprint_sgl.runtime.messages import GENERATE, Meta, generated, lacks_worker, parsed, refused, renamed
from sprint_sgl.runtime.pool import Connections

WORKER_LIMIT = 180.0  # seconds that a generation waits for a gateway to have a worker again
SHORTEST = 0.1  # seconds that the last attempt is given
_RECONNECTABLE = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Transport:
    """Any number of threads' requests to one server.

    url            its address, with or without a path such as a gateway's prefix
    time_limit     seconds that one request may take in all, its repetitions and waiting for a worker included
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
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {}, transport=Connections()
        )

    def session(self, time_limit: float | None) -> Transport:
        """The same connections, with requests of its own: shutting it ends none of the others."""
        session = copy(self)
        session._in_flight, session._owns_client = set(), False
        session.time_limit = self.time_limit if time_limit is None else checked_seconds("time_limit", time_limit)
        return session

    def running(self) -> list[str]:
        """The names of the generations that have not been answered yet."""
        return list(self._in_flight)

    def shut(self) -> None:
        """Begins no generation from now on."""
        with self._lock:
            self._shut = True

    def close(self) -> None:
        if self._owns_client:
            self._client.close()

    def request(
        self, method: str, path: str, body: Meta | None = None, time_limit: float | None = None, *, at: str = ""
    ) -> httpx.Response:
        """As `send`. Raises what the server means by an answer that is no success."""
        return checked(self.send(method, path, body, time_limit, at=at))

    def send(
        self, method: str, path: str, body: Meta | None = None, time_limit: float | None = None, *, at: str = ""
    ) -> httpx.Response:
        """The answer of the server, or of a gateway's worker `at` its own address, whatever its status.

        Raises RuntimeUnavailable where nothing answers, RequestFailed where it takes longer than the limit.
        """
        begun, limit = time.monotonic(), time_limit or self.time_limit
        response = self._reconnecting(method, path, body, begun, limit, at)
        while path == GENERATE and lacks_worker(response):
            attempts = response.extensions["retries"] + 1
            if not _waited(attempts, begun, limit):
                break
            response = self._reconnecting(method, path, body, begun, limit, at, attempts)
        return response

    def _reconnecting(
        self, method: str, path: str, body: Meta | None, begun: float, limit: float, at: str, before: int = 0
    ) -> httpx.Response:
        for attempt in range(self.reconnects + 1):
            named, timeout = renamed(body, before + attempt), self._timeout(begun + limit)
            try:
                with self._named(named if path == GENERATE else None):
                    response = self._client.request(method, (at or self.url) + path, json=named, timeout=timeout)
                response.extensions["retries"] = before + attempt
                return response
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise RuntimeUnavailable(f"{self.url} is no address: {error}") from error
            except RuntimeError as error:
                if not self._client.is_closed:
                    raise
                raise self._closed_here() from error
            except httpx.HTTPError as error:
                if not isinstance(error, _RECONNECTABLE) or attempt == self.reconnects:
                    raise self._failure(error, limit) from error
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stream(self, body: Meta) -> Iterator[Meta]:
        """A generation as it grows. Raises as `send` does, and for what the server refuses or says instead.

        A connection that breaks before the first piece is tried again as in `send`. The limit is looked at with each
        piece: one that falls silent is given its whole limit again to go on.
        """
        begun, broken = time.monotonic(), 0
        for attempt in count():
            received = False
            try:
                for answer in self._streamed(renamed(body, attempt), begun + self.time_limit):
                    received = True
                    answer["meta_info"]["retries"] = attempt
                    yield answer
                return
            except _LacksWorker as error:
                broken = 0
                if not _waited(attempt + 1, begun, self.time_limit):
                    raise _refusal(error.response) from None
            except httpx.HTTPError as error:
                if received or not isinstance(error, _RECONNECTABLE) or broken == self.reconnects:
                    raise self._failure(error, self.time_limit) from error
                time.sleep(0.2 * 2**broken)
                broken += 1
            except RuntimeError as error:
                if not self._client.is_closed:
                    raise
                raise self._closed_here() from error

    def _streamed(self, body: Meta | None, deadline: float) -> Iterator[Meta]:
        """One attempt. Raises _LacksWorker, and RemoteProtocolError where it ends before its first piece."""
        timeout, received = self._timeout(deadline), False
        sent = self._client.stream("POST", self.url + GENERATE, json=body, timeout=timeout)
        with self._named(body), sent as response:
            if response.status_code != 200:
                response.read()
                raise _LacksWorker(response) if lacks_worker(response) else _refusal(response)
            for answer in self._events(response, deadline):
                received = True
                yield answer
            if not received:
                raise httpx.RemoteProtocolError("the stream ended before its first piece")

    def _events(self, response: httpx.Response, deadline: float) -> Iterator[Meta]:
        for line in response.iter_lines():
            if line.startswith("data:") and line != "data: [DONE]":
                event = parsed(line[5:])
                if time.monotonic() > deadline:
                    raise RequestFailed(f"{self.url} did not end its answer within {self.time_limit:g} s")
                if behind.lost_worker(event):
                    raise RuntimeUnavailable(f"{self.url}: a worker died while it answered")
                if "error" in event:
                    raise refused(f"{self.url}: {event['error']}")
                yield generated(event, self.url)

    @contextmanager
    def _named(self, body: Meta | None) -> Iterator[None]:
        """While a generation of this body's name is under way. Raises where no others are begun."""
        request_id = body.get("rid", "") if body else ""
        with self._lock:
            if self._shut and request_id:
                raise self._closed_here()
            if request_id:
                self._in_flight.add(request_id)
        try:
            yield
        finally:
            self._in_flight.discard(request_id)

    def _timeout(self, deadline: float) -> httpx.Timeout:
        left = max(deadline - time.monotonic(), SHORTEST)
        return httpx.Timeout(left, connect=min(left, self.connect_limit))

    def _closed_here(self) -> SprintError:
        if not self._shut:  # a session whose endpoint is gone
            return RuntimeUnavailable(f"the runtime at {self.url} has ended")
        return RequestFailed(f"the connection to {self.url} was closed on our side")

    def _failure(self, error: httpx.HTTPError, limit: float) -> SprintError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return RuntimeUnavailable(f"nothing answers at {self.url} ({error}): is the runtime up?")
        if isinstance(error, httpx.TimeoutException):
            return RequestFailed(f"{self.url} did not answer within {limit:g} s")
        return RuntimeUnavailable(f"the connection to {self.url} broke: {type(error).__name__}: {error}")


class _LacksWorker(Exception):
    """A gateway has nobody to send the request to, for now."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response


def _waited(attempt: int, begun: float, limit: float) -> bool:
    """Waits for a worker before that attempt of a request; False, at once, where it would begin too late."""
    pause = behind.pause(attempt)
    if time.monotonic() + pause >= begun + min(WORKER_LIMIT, limit):
        return False
    time.sleep(pause)
    return True


def checked(response: httpx.Response) -> httpx.Response:
    """The response. Raises ContextFull or RequestFailed for one that is no success."""
    if response.status_code != 200:
        raise _refusal(response)
    return response


def _refusal(response: httpx.Response) -> SprintError:
    return refused(f"{response.url}: HTTP {response.status_code}, {response.text.strip()[:500]}")
