"""Run a command and make sure that nothing of it outlives the process that asked for it.

    python -P supervisor.py COMMAND...

The asking process holds the other end of our standard input. When that end closes, for whatever reason (an exit, an
exception, SIGKILL), or when a signal asks us to stop, the command's whole process group ends. If we are killed
ourselves, Linux ends the command, and SGLang's processes end with their parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

GRACE = 5.0  # seconds
PR_SET_PDEATHSIG = 1


def supervise(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start the command, with Popen's options, under a supervisor that ends it when its standard input closes."""
    return subprocess.Popen([sys.executable, "-P", __file__, *command], stdin=subprocess.PIPE, **options)


@contextmanager
def supervised(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a command's supervisor; at the end of the `with` nothing of the command is left."""
    supervisor = supervise(command, **options)
    try:
        yield supervisor
    finally:
        assert supervisor.stdin
        supervisor.stdin.close()
        supervisor.wait()


class SupervisedProcess(Protocol):
    """A process that a supervisor watches; it leads a process group of its own."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float | None = None) -> int: ...


class ForkedProcess:
    """A forked child of ours, waited for as `subprocess.Popen` does, by any number of threads and signal handlers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        # WNOWAIT leaves the child for the next caller; it goes with its parent.
        while (ended := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["a forked process"], timeout or 0.0)
            time.sleep(0.05)
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def end_group(process: SupervisedProcess) -> None:
    """Ask the process group to end, and kill it after GRACE seconds."""
    for number, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(wait)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def end_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends; exit at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def supervise_until_exit(
    process: SupervisedProcess, lifeline: int, report: Callable[[int], object] = lambda code: None
) -> int:
    """Wait for the process and return its exit code; end its group if the lifeline closes or a signal asks us to.

    In both cases `report` is called with the exit code; with 1, before this process ends, if it was asked to end.
    """

    def end(*_: object) -> None:
        end_group(process)
        report(1)
        os._exit(1)

    def watch_parent() -> None:
        while os.read(lifeline, 4096):
            pass
        end()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    threading.Thread(target=watch_parent, daemon=True).start()
    code = process.wait()
    end_group(process)
    code = code if code >= 0 else 128 - code  # as a shell says which signal ended it
    report(code)
    return code


def main() -> int:
    process = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )
    return supervise_until_exit(process, lifeline=0)


if __name__ == "__main__":
    sys.exit(main())
