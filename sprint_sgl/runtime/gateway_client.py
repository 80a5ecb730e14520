"""A gateway as its client sees it: how it says that it has no worker for a request, and where its workers are.

The gateway is `smg`. It has no path for aborts or for other weights; its workers have, under their own addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from sprint_sgl.runtime.messages import parse_object

NO_WORKER = re.compile(r"call_upstream_|no_available_workers|no_healthy_workers|read_response|worker_overload")
LONGEST_PAUSE = 5.0  # seconds


@dataclass(frozen=True)
class GatewayWorker:
    """A worker as its gateway reports it."""

    url: str
    healthy: bool


def lacks_worker(response: httpx.Response) -> bool:
    """Whether a gateway has no worker for the request now, so that it can be sent again."""
    if response.status_code < 500:
        return False
    error = parse_object(response.content).get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return isinstance(code, str) and NO_WORKER.match(code) is not None


def worker_died(event: Mapping[str, Any]) -> bool:
    """Whether a gateway ends a stream because its worker died: what the worker had written is lost."""
    error = event.get("error")
    return isinstance(error, Mapping) and error.get("type") == "stream_error"


def worker_pause(attempt: int) -> float:
    """Return the seconds to wait for a worker before an attempt, counted from 1: 0.2 and doubling."""
    return float(min(0.1 * 2**attempt, LONGEST_PAUSE))


def reachable_workers(workers: Sequence[GatewayWorker], gateway: str) -> list[GatewayWorker]:
    """Return the workers whose addresses mean the same machine here: loopback addresses of a remote gateway do not."""
    return [worker for worker in workers if _is_loopback(gateway) or not _is_loopback(worker.url)]


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def read_workers(response: httpx.Response) -> list[GatewayWorker]:
    """Return the workers in a gateway's reply under /workers; none if the server is not a gateway."""
    listed = parse_object(response.content).get("workers")
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    return [GatewayWorker(str(row["url"]), bool(row.get("is_healthy"))) for row in rows if "url" in row]
