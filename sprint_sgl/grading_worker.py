"""A helper process that compares answers with math-verify, and the handle that the grader holds on it.

math-verify limits its own time with SIGALRM, which works in the main thread only and does not interrupt one
long integer operation. Here the limit is the caller's: a worker that is late is killed and replaced. The worker
ends by itself when its input closes, and by a kernel timer when it is stuck and nobody is left to kill it.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

START_LIMIT = 120.0  # seconds; the imports take one or two on an idle machine
MEMORY_LIMIT = 2 << 30  # bytes of address space: a power tower ends in a MemoryError, not in swapping
GRACE = 1.0  # seconds between the caller's limit and the worker's own timer

READY = b"r"


class Match(Enum):
    """What a comparison comes to; the values are what the worker replies.

    UNREADABLE   different as texts, and the given one holds no mathematics
    UNDECIDED    not within the limits of time and memory
    """

    SAME = b"y"
    DIFFERENT = b"n"
    UNREADABLE = b"u"
    UNDECIDED = b""


@dataclass(frozen=True)
class Comparison:
    """Two answers, each in one or more readings; they are the same if any reading of one equals one of the other.

    The first reading of the given one tells whether it can be read at all.
    """

    gold: Sequence[str]
    given: Sequence[str]
    time_limit: float


class GradingWorker:
    """Starts its process on first use. Threads take turns; a forked child starts a process of its own."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drops the process without ending it."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def compare(self, comparison: Comparison) -> Match:
        """UNDECIDED where it takes longer than the limit or ends the worker.

        Raises RuntimeError if no worker can be started.
        """
        with self._lock:
            process = self._running()
            try:
                reply = _ask(process, comparison)
            except BaseException:
                self._stop()
                raise
            if not reply:
                self._stop()
            return Match(reply)

    def kill(self) -> None:
        """Ends the process, waiting for no thread that uses it; the next comparison starts another."""
        if (process := self._process) is not None:
            process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            ready = _reply(self._process, START_LIMIT) == READY
        except BaseException:
            self._stop()
            raise
        if not ready:
            self._stop()
            raise RuntimeError(f"the grading worker did not start: {' '.join(command)}")
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _ask(process: subprocess.Popen[bytes], comparison: Comparison) -> bytes:
    assert process.stdin is not None
    request = json.dumps([list(comparison.gold), list(comparison.given), comparison.time_limit])
    try:
        _write_all(process.stdin.fileno(), request.encode() + b"\n")
    except BrokenPipeError:
        return b""
    return _reply(process, comparison.time_limit)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _reply(process: subprocess.Popen[bytes], limit: float) -> bytes:
    """One byte, or none if the worker is late or gone."""
    assert process.stdout is not None
    poller = select.poll()
    poller.register(process.stdout, select.POLLIN)
    return os.read(process.stdout.fileno(), 1) if poller.poll(limit * 1000) else b""


WORKER = GradingWorker()
atexit.register(WORKER.kill)
os.register_at_fork(after_in_child=WORKER.forget)


def serve() -> None:
    """The worker's loop: a ready mark, then one byte for each comparison read, until the input closes."""
    import logging
    import resource

    from math_verify import parse, verify

    def compare(gold: list[str], given: list[str]) -> Match:
        golds, givens = ([e for t in texts for e in parse(t, parsing_timeout=None)] for texts in (gold, given))
        if verify(golds, givens, allow_set_relation_comp=True, timeout_seconds=None):
            return Match.SAME
        readable = any(not isinstance(found, str) for found in parse(given[0], parsing_timeout=None))
        return Match.DIFFERENT if readable else Match.UNREADABLE

    logging.disable()
    replies = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    os.write(replies, READY)
    for line in sys.stdin.buffer:
        gold, given, limit = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit + GRACE)
        try:
            match = compare(gold, given)
        except (MemoryError, RecursionError):
            match = Match.DIFFERENT
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(replies, match.value)


if __name__ == "__main__":
    serve()
