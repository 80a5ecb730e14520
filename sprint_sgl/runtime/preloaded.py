"""Runtimes on CPU cores that share what they import: the client's side of sprint_sgl/runtime/cpu_server.py.

One process imports SGLang's server. Every runtime that we start with the same settings of its libraries is a fork of
it: the first is up after the imports, the next ones in two seconds, and all of them share its memory.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sprint_sgl.errors import LaunchFailed

LOST = 70  # exit code of a server that reported none: its import failed, or its supervisor was killed
# Variables that are read while SGLang and its libraries are imported. Another value needs another importing process;
# all other variables are set anew in each fork.
READ_AT_IMPORT = (
    *("OMP_", "MKL_", "KMP_", "OPENBLAS_", "SGLANG_", "TORCH_", "PYTORCH_", "HF_", "TRANSFORMERS_"),
    *("PYTHON", "LD_", "MALLOC_", "PATH"),
)


class PreloadedServer:
    """A forked server under its supervisor, with the methods that `subprocess.Popen` has for it.

    The server ends when `stdin` closes.
    """

    def __init__(self, lifeline: int, status: int) -> None:
        os.set_blocking(status, False)
        self.stdin = os.fdopen(lifeline, "wb")
        self._status = os.fdopen(status, "rb", buffering=0)
        self._report = b""
        self._ended = False
        self._reading = threading.Lock()

    def supervisor_pid(self) -> int | None:
        """Return the supervisor's process id; None if the server has not been forked, or never will be."""
        self._read(0.0)
        return int(self._report.split()[0]) if b"\n" in self._report else None

    def poll(self) -> int | None:
        """Return the exit code, or None while the server runs."""
        self._read(0.0)
        return self._code()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._read(0.0)
        while (code := self._code()) is None:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(["sprint_sgl.runtime.cpu_server"], timeout or 0.0)
            self._read(min(left, 1.0))
        return code

    def kill(self) -> None:
        """Kill the supervisor, with which Linux ends the server."""
        if self.poll() is None and (pid := self.supervisor_pid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self, limit: float) -> None:
        """End the server, killing it after `limit` seconds, and wait for its end unless it was never forked."""
        self.stdin.close()
        if self.supervisor_pid() is not None:
            try:
                self.wait(limit)
            except subprocess.TimeoutExpired:
                self.kill()
                self.wait()
        _release(self)

    def _code(self) -> int | None:
        if not self._ended:
            return None
        lines = self._report.split()
        return int(lines[1]) if len(lines) > 1 else LOST

    def _read(self, limit: float) -> None:
        """Read what the supervisor has reported, waiting for it `limit` seconds at most."""
        if self._ended:
            return
        waiting = select.poll()  # select refuses files above 1,023
        try:
            waiting.register(self._status, select.POLLIN)
        except ValueError:  # another thread has seen the end and closed the pipe
            return
        waiting.poll(1000 * limit)
        with self._reading:
            if not self._ended and (piece := self._status.read(64)) is not None:
                self._report += piece
                if not piece:
                    self._ended = True
                    self._status.close()


class Preloader:
    """The importing process and the servers forked from it."""

    def __init__(self, env: Mapping[str, str], log: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "sprint_sgl.runtime.cpu_server"]
            where = {"stdin": theirs, "stdout": log, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(command, env=dict(env), start_new_session=True, **where)  # type: ignore[call-overload]
        self.servers: list[PreloadedServer] = []
        self.holders = 0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def fork(self, arguments: Sequence[str], env: Mapping[str, str], log: int) -> PreloadedServer:
        """Start a server with these arguments; it begins once the imports are done. Raises LaunchFailed."""
        lifeline, ours = os.pipe()
        reports, status = os.pipe()
        message = json.dumps([list(arguments), dict(env)]).encode()
        try:
            socket.send_fds(self._socket, [message], [lifeline, status, log])
        except OSError as error:
            os.close(ours)
            os.close(reports)
            raise LaunchFailed(f"the process that imports SGLang takes no request: {error}") from error
        finally:
            os.close(lifeline)
            os.close(status)
        server = PreloadedServer(ours, reports)
        self.servers.append(server)
        return server

    def close(self) -> None:
        """End the process, which has no servers any more."""
        self._socket.close()
        self.process.kill()
        self.process.wait()


_LOCK = threading.Lock()
_PRELOADERS: dict[tuple[tuple[str, str], ...], Preloader] = {}


def fork_server(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> PreloadedServer:
    """Start an SGLang server for CPU cores with these arguments and environment; its output goes to `log`.

    Raises LaunchFailed if the importing process does not take the request.
    """
    with log.open("ab") as file, _LOCK:
        return _preloader(env, file.fileno()).fork(arguments, env, file.fileno())


@contextmanager
def keep_preloader(env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Keep the importing process alive in the `with`, also while no runtime is up."""
    with log.open("ab") as file, _LOCK:
        preloader = _preloader(env, file.fileno())
        preloader.holders += 1
    try:
        yield
    finally:
        with _LOCK:
            preloader.holders -= 1
            _close_unused(preloader)


def _release(server: PreloadedServer) -> None:
    """Forget a server that has ended; the importing process ends with its last one."""
    with _LOCK:
        for preloader in list(_PRELOADERS.values()):
            if server in preloader.servers:
                preloader.servers.remove(server)
                _close_unused(preloader)


def _preloader(env: Mapping[str, str], log: int) -> Preloader:
    key = tuple(sorted((name, value) for name, value in env.items() if name.startswith(READ_AT_IMPORT)))
    if key in _PRELOADERS and not _PRELOADERS[key].alive:
        _PRELOADERS.pop(key).close()
    if key not in _PRELOADERS:
        _PRELOADERS[key] = Preloader(env, log)
    return _PRELOADERS[key]


def _close_unused(preloader: Preloader) -> None:
    if preloader.servers or preloader.holders:
        return
    for key in [key for key, each in _PRELOADERS.items() if each is preloader]:
        del _PRELOADERS[key]
    preloader.close()
