"""Runtimes on CPU cores that share what they import: the client's side of sprint_sgl/cpu_server.py.

One process imports SGLang's server. Every runtime that we start with the same environment is a fork of it: the first is
up after the imports, the next ones in two seconds, and all of them share its memory.
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

LOST = 137  # exit code of a keeper that could not report its own: it was killed


class PreloadedServer:
    """A forked server under its keeper, with the methods that `subprocess.Popen` has for it.

    The server ends when `stdin` closes. `pid` is the keeper's.
    """

    def __init__(self, lifeline: int, status: int) -> None:
        self.stdin = os.fdopen(lifeline, "wb")
        self._status = os.fdopen(status, "rb", buffering=0)
        self._told = b""
        self._ended = False
        self._reading = threading.Lock()

    @property
    def pid(self) -> int:
        """Wait until the server has been forked and return its keeper's process id; -1 where it never was."""
        while b"\n" not in self._told and not self._ended:
            self._read(0.1)
        return int(self._told.split()[0]) if self._told else -1

    def poll(self) -> int | None:
        """Return the exit code, or None while the server runs."""
        self._read(0.0)
        return self._code()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired after that many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self._code()) is None:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(["sprint_sgl.cpu_server"], timeout or 0.0)
            self._read(min(left, 1.0))
        return code

    def kill(self) -> None:
        """Kill the keeper, with which Linux ends the server."""
        if self.poll() is None and (pid := self.pid) > 0:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back the pipes; the server ends."""
        self.stdin.close()
        self._status.close()

    def _code(self) -> int | None:
        if not self._ended:
            return None
        lines = self._told.split()
        return int(lines[1]) if len(lines) > 1 else LOST

    def _read(self, limit: float) -> None:
        with self._reading:
            if self._ended or not select.select([self._status], [], [], limit)[0]:
                return
            piece = self._status.read(64)
            self._told += piece
            self._ended = not piece


class Preloader:
    """The process that has imported SGLang's server, or is about to, and the servers that it has forked."""

    def __init__(self, env: Mapping[str, str], log: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "sprint_sgl.cpu_server"]
            where = {"stdin": theirs, "stdout": log, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(command, env=dict(env), start_new_session=True, **where)  # type: ignore[call-overload]
        self.servers: list[PreloadedServer] = []
        self.holders = 0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def fork(self, arguments: Sequence[str], log: int) -> PreloadedServer:
        """Start a server with those arguments; it begins once the imports are done."""
        lifeline, ours = os.pipe()
        reports, status = os.pipe()
        socket.send_fds(self._socket, [json.dumps(list(arguments)).encode()], [lifeline, status, log])
        os.close(lifeline)
        os.close(status)
        server = PreloadedServer(ours, reports)
        self.servers.append(server)
        return server

    def close(self) -> None:
        """End the process once its servers have ended."""
        self._socket.close()
        self.process.wait()


_LOCK = threading.Lock()
_PRELOADERS: dict[tuple[tuple[str, str], ...], Preloader] = {}


def start(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> PreloadedServer:
    """Start an SGLang server for CPU cores with those arguments and that environment; its output goes to `log`."""
    with log.open("ab") as file, _LOCK:
        return _preloader(env, file.fileno()).fork(arguments, file.fileno())


def release(server: PreloadedServer) -> None:
    """Give back a server that has ended; the process that it was forked from ends with its last one."""
    server.close()
    with _LOCK:
        for preloader in list(_PRELOADERS.values()):
            if server in preloader.servers:
                preloader.servers.remove(server)
                _close_unused(preloader)


@contextmanager
def held(env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Keep the process that has imported SGLang for the time of the `with`, also while no runtime is up."""
    with log.open("ab") as file, _LOCK:
        preloader = _preloader(env, file.fileno())
        preloader.holders += 1
    try:
        yield
    finally:
        with _LOCK:
            preloader.holders -= 1
            _close_unused(preloader)


def _preloader(env: Mapping[str, str], log: int) -> Preloader:
    key = tuple(sorted(env.items()))
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
