"""A gateway as its client sees it: what it says when it has no worker for a request, and where its workers are.

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

NO_WORKER = re.compile(r"call_upstream_|no_available_workers|no_healthy_workers|read_response|worker_overload")
LONGEST_PAUSE = 5.0  # seconds


@dataclass(frozen=True)
class Worker:
    url: str
    healthy: bool


def lacks_worker(status: int, answer: Mapping[str, Any]) -> bool:
    """Whether a gateway answers so because a worker died or none is up: the request can be sent again."""
    error = answer.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    return status >= 500 and isinstance(code, str) and NO_WORKER.match(code) is not None


def lost_worker(answer: Mapping[str, Any]) -> bool:
    """Whether a gateway ends a stream so because the worker that wrote it died: what it had written is lost."""
    error = answer.get("error")
    return isinstance(error, Mapping) and error.get("type") == "stream_error"


def pause(attempt: int) -> float:
    """Seconds before that attempt, from the first on: 0.2 and doubling."""
    return float(min(0.1 * 2**attempt, LONGEST_PAUSE))


def within_reach(workers: Sequence[Worker], gateway: str) -> list[Worker]:
    """Those whose addresses mean the same machine here: not the loopback ones behind a gateway elsewhere."""
    return [worker for worker in workers if _is_loopback(gateway) or not _is_loopback(worker.url)]


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def workers(answer: Mapping[str, Any]) -> list[Worker]:
    """Of what a gateway answers under /workers; none where it is no gateway."""
    found = answer.get("workers")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    return [Worker(str(row["url"]), bool(row.get("is_healthy"))) for row in rows if "url" in row]
