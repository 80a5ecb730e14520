"""A connection pool for one server in which a request costs the same however many connections there are.

httpx's own pool checks every connection, some of them once for every other, whenever a request begins or ends: with 40
connections that is half the cost of a request, and with a thousand nothing moves.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

import httpx

IDLE_LIMIT = 4.0  # seconds; uvicorn closes an idle connection after 5


class Connections(httpx.BaseTransport):
    """An httpx transport for any number of threads; the last used connection is used next, so that others expire."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()
        self._idle: deque[tuple[float, httpx.HTTPTransport]] = deque()
        self._all: set[httpx.HTTPTransport] = set()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        connection = self._acquire()
        try:
            response = connection.handle_request(request)
        except BaseException:
            self._release(connection)
            raise
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Body(response.stream, self, connection)
        return response

    def close(self) -> None:
        """Close all connections, even those in use; that does not wake a thread that waits for a reply."""
        with self._lock:
            connections, self._all = self._all, set()
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _acquire(self) -> httpx.HTTPTransport:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
            one = httpx.Limits(max_connections=1, keepalive_expiry=IDLE_LIMIT)
            connection = httpx.HTTPTransport(verify=self._tls, limits=one)
            self._all.add(connection)
            return connection

    def _release(self, connection: httpx.HTTPTransport) -> None:
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
    """A response's body, which releases its connection when it is closed."""

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
                self._connections._release(self._connection)
