"""Compare answers in worker processes with limits of time and memory.

SymPy can spend any time and memory on a few characters, and neither a thread nor SIGALRM interrupts a long operation on
integers. So comparisons run in processes, and a late process is killed and replaced. A worker ends when its input
closes, or by a kernel timer if it is stuck and its parent is gone. A multiprocessing pool would import the user's main
module again in each worker, and fork a process that has threads.
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
import time
from contextlib import suppress

from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.grading.match import Comparison, Match
from sprint_sgl.grading.notation import UnreadableAnswer, canonical_spelling

START_LIMIT = 120.0  # seconds; the imports take one or two on an idle machine
MEMORY_LIMIT = 2 << 30  # bytes of address space, so that a power tower ends in a MemoryError and not in swapping
GRACE = 1.0  # seconds between the caller's limit and the worker's own timer
MOST_WORKERS = 4  # of about 100 MB each

READY = "ready"


def compare(given: str, gold: str, time_limit: float = 5.0) -> Comparison:
    """Return whether the given answer means the same as the gold answer, within `time_limit` seconds.

    Thread-safe; comparisons run in parallel on the processor cores. Starting a worker, at first and after a time-out,
    is not part of the limit. Raises RuntimeError if no worker starts.
    """
    given, gold = (_unbox(text) for text in (given, gold))
    with suppress(UnreadableAnswer):
        if canonical_spelling(gold) and canonical_spelling(given) == canonical_spelling(gold):
            return Comparison(Match.SAME)
    return WORKERS.compare(given, gold, time_limit)


def same_answer(given: str, gold: str, time_limit: float = 5.0) -> bool:
    """Return whether the answers are the same; False if that is undecided."""
    return compare(given, gold, time_limit).match is Match.SAME


def _unbox(text: str) -> str:
    return extract_answer(text) or text if "box" in text else text


class _GradingProcess:
    """One worker process, started on first use."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def compare(self, given: str, gold: str, time_limit: float) -> Comparison:
        process = self._start_if_needed()
        request = json.dumps([given, gold, time_limit])
        try:
            reply = _send(process, request.encode() + b"\n", time_limit)
        except BaseException:
            self.stop()
            raise
        if not reply:
            self.stop()
            return Comparison(Match.UNDECIDED, "not decided within the limits of time and memory")
        match, reason = json.loads(reply)
        return Comparison(Match(match), reason)

    def kill(self) -> None:
        """Kill the process without waiting for a thread that uses it."""
        if (process := self._process) is not None:
            process.kill()

    def _start_if_needed(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        command = [sys.executable, "-P", "-m", __name__]
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            ready = _reply(self._process, START_LIMIT) == json.dumps(READY).encode()
        except BaseException:
            self.stop()
            raise
        if not ready:
            self.stop()
            raise RuntimeError(f"the grading worker did not start: {' '.join(command)}")
        return self._process

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class GradingWorkers:
    """Up to MOST_WORKERS processes, started as comparisons need them. A forked child starts its own."""

    def __init__(self) -> None:
        self.drop_processes()

    def drop_processes(self) -> None:
        """Drop the processes without ending them."""
        count = max(1, min(MOST_WORKERS, os.cpu_count() or 1))
        self._free = threading.BoundedSemaphore(count)
        self._workers = [_GradingProcess() for _ in range(count)]
        self._idle = self._workers[::-1]  # a stack: the last used comes first, so that few are started

    def compare(self, given: str, gold: str, time_limit: float) -> Comparison:
        """Compare in an idle process. Raises RuntimeError if it does not start."""
        with self._free:
            worker = self._idle.pop()
            try:
                return worker.compare(given, gold, time_limit)
            finally:
                self._idle.append(worker)

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()


def _send(process: subprocess.Popen[bytes], request: bytes, time_limit: float) -> bytes:
    assert process.stdin is not None
    try:
        while request:
            request = request[os.write(process.stdin.fileno(), request) :]
    except BrokenPipeError:
        return b""
    return _reply(process, time_limit)


def _reply(process: subprocess.Popen[bytes], limit: float) -> bytes:
    """Return one line, or b"" if the worker is late or gone."""
    assert process.stdout is not None
    poller = select.poll()
    poller.register(process.stdout, select.POLLIN)
    end, line = time.monotonic() + limit, b""
    while not line.endswith(b"\n"):
        left = max(0.0, end - time.monotonic())
        part = os.read(process.stdout.fileno(), 65536) if poller.poll(left * 1000) else b""
        if not part:
            return b""
        line += part
    return line.rstrip(b"\n")


WORKERS = GradingWorkers()
atexit.register(WORKERS.kill)
os.register_at_fork(after_in_child=WORKERS.drop_processes)


def serve() -> None:
    """Run the worker's loop: write a ready mark, then one line for each comparison, until the input closes."""
    import logging
    import resource

    from sprint_sgl.grading.comparing import compare_answers

    logging.disable()
    replies = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))

    def reply(value: object) -> None:
        os.write(replies, json.dumps(value).encode() + b"\n")

    reply(READY)
    for line in sys.stdin.buffer:
        given, gold, limit = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit + GRACE)
        try:
            match, reason = compare_answers(given, gold)
        except (MemoryError, RecursionError):
            match, reason = Match.UNDECIDED, "not decided within the limits of time and memory"
        except Exception as error:  # SymPy raises anything on odd input; the next comparison must not suffer from it
            match, reason = Match.UNDECIDED, f"comparison failed: {type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply([match.value, reason[:500]])


if __name__ == "__main__":
    serve()
