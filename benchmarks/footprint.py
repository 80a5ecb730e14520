"""The footprint of this process while a block runs: peak threads, memory and file handles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY = 0.1  # seconds


@dataclass
class Footprint:
    """Peak threads and file handles, and peak bytes of memory above the start."""

    threads: int = 0
    files: int = 0
    grown: int = 0


@contextmanager
def measure_footprint(every: float = EVERY) -> Iterator[Footprint]:
    """Yield a footprint that a thread, itself not counted, updates `every` seconds."""
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
