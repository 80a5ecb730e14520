"""What this process takes while something runs: threads, memory and file handles, at their most."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY = 0.1  # seconds


@dataclass
class Footprint:
    """Most threads and file handles, and most bytes of memory above what there was at the start."""

    threads: int = 0
    files: int = 0
    grown: int = 0


@contextmanager
def watched(every: float = EVERY) -> Iterator[Footprint]:
    """Looks every so many seconds, from a thread that is not counted."""
    process, found, ended = psutil.Process(), Footprint(), threading.Event()
    start = process.memory_info().rss

    def look() -> None:
        while True:
            found.threads = max(found.threads, threading.active_count() - 1)
            found.files = max(found.files, process.num_fds())
            found.grown = max(found.grown, process.memory_info().rss - start)
            if ended.wait(every):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()
