"""Connections to one server, as many as there are requests at a time, each found without a look at the others.

httpx's own pool asks every connection how it is, some of them once for every other, whenever a request begins or ends:
with 40 connections that is half of what a request costs, with a thousand it stands still.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

import httpx

IDLE_LIMIT = 4.0  # seconds; servers of uvicorn's close a connection after 5


class Connections(httpx.BaseTransport):
    """A transport for any number of threads: the connection that was used last is used next, the others run out."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()
        self._idle: deque[tuple[float, httpx.HTTPTransport]] = deque()
        self._all: set[httpx.HTTPTransport] = set()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        connection = self._taken()
        try:
            response = connection.handle_request(request)
        except BaseException:
            self._give_back(connection)
            raise
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Body(response.stream, self, connection)
        return response

    def close(self) -> None:
        """Closes all, those in use too, which does not wake a thread that waits for one."""
        with self._lock:
            connections, self._all = self._all, set()
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _taken(self) -> httpx.HTTPTransport:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
            one = httpx.Limits(max_connections=1, keepalive_expiry=IDLE_LIMIT)
            connection = httpx.HTTPTransport(verify=self._tls, limits=one)
            self._all.add(connection)
            return connection

    def _give_back(self, connection: httpx.HTTPTransport) -> None:
        now, old = time.monotonic(), []
        with self._lock:
            if connection in self._all:
                self._idle.append((now, connection))
            while self._idle and now - self._idle[0][0] > IDLE_LIMIT:
                old.append(self._idle.popleft()[1])
            self._all.difference_update(old)
        for each in old:
            each.close()


class _Body(httpx.SyncByteStream):
    """A response's body, whose end gives its connection back."""

    def __init__(self, body: httpx.SyncByteStream, connections: Connections, connection: httpx.HTTPTransport) -> None:
        self._body, self._connections, self._connection = body, connections, connection
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            if not self._ended:
                self._ended = True
                self._connections._give_back(self._connection)
