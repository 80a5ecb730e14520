"""The process that CPU runtimes are forked from, seen by whoever asked for it; a server of ours stands for SGLang's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sprint_sgl import preloaded
from sprint_sgl.preloaded import LOST, PreloadedServer
from tests.fakes.waiting import wait_for

ROOT = Path(__file__).parents[1]
# What stands for SGLang: it sleeps, or ends with a code, or fails, as its only argument says.
STUB = """
import sys, time
from types import SimpleNamespace
from sprint_sgl import cpu_server

def run_server(args):
    print("runs", args, flush=True)
    if args == "raise":
        raise ValueError("mine")
    if args.isdigit():
        sys.exit(int(args))
    time.sleep(600)

server = SimpleNamespace(
    prepare_server_args=lambda words: words[0], run_server=run_server, kill_process_tree=lambda *a, **k: None
)
cpu_server.import_server = lambda: server
cpu_server.fork_from_now_on = lambda: None
cpu_server.main()
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture(autouse=True)
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`python -m sprint_sgl.cpu_server` runs the stub."""
    script = tmp_path / "stub.py"
    script.write_text(STUB)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(preloaded.sys, "executable", str(python))
    yield
    assert preloaded._PRELOADERS == {}


def started(log: Path, argument: str) -> PreloadedServer:
    return preloaded.start([argument], dict(os.environ), log)


def ended(server: PreloadedServer) -> int:
    code = server.wait(30)
    preloaded.release(server)
    return code


def processes_of(server: PreloadedServer, log: Path, runs: int = 1) -> list[psutil.Process]:
    """The keeper and the server below it, once the server runs."""
    wait_for(lambda: log.exists() and log.read_text().count("runs") == runs, 60)
    keeper = psutil.Process(server.pid)
    return [keeper, *keeper.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=30)
    return not [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(("argument", "code"), [("0", 0), ("7", 7), ("raise", 1)])
def test_a_servers_exit_code_comes_back_and_its_output_is_in_the_log(log: Path, argument: str, code: int) -> None:
    assert ended(started(log, argument)) == code
    assert f"runs {argument}" in log.read_text()
    assert ("ValueError: mine" in log.read_text()) == (argument == "raise")


def test_a_server_ends_when_its_stdin_closes_and_the_others_go_on(log: Path) -> None:
    one, other = started(log, "sleep"), started(log, "sleep")
    processes, rest = processes_of(one, log, runs=2), processes_of(other, log, runs=2)
    assert one.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.1)
    one.stdin.close()
    assert ended(one) != 0
    assert all_gone(processes)
    assert other.poll() is None
    other.stdin.close()
    assert ended(other) != 0
    assert all_gone(rest)


def test_both_servers_come_from_one_process_which_ends_with_the_last(log: Path) -> None:
    one, other = started(log, "sleep"), started(log, "sleep")
    processes_of(one, log, runs=2)
    (parent,) = {psutil.Process(server.pid).ppid() for server in (one, other)}
    for server in (one, other):
        assert psutil.pid_exists(parent)
        server.stdin.close()
        ended(server)
    assert not psutil.pid_exists(parent)


@pytest.mark.parametrize("victim", ["keeper", "parent"])
def test_whoever_is_killed_takes_the_server_along(log: Path, victim: str) -> None:
    server = started(log, "sleep")
    processes = processes_of(server, log)
    psutil.Process(server.pid if victim == "keeper" else processes[0].ppid()).send_signal(signal.SIGKILL)
    assert ended(server) == LOST
    assert all_gone(processes)


def test_after_its_death_the_next_runtime_has_a_new_process(log: Path) -> None:
    first = started(log, "sleep")
    (keeper, *_) = processes_of(first, log)
    keeper.parent().kill()
    assert first.wait(30) == LOST
    second = started(log, "5")
    assert ended(second) == 5
    preloaded.release(first)


def test_a_held_process_outlives_its_servers(log: Path) -> None:
    with preloaded.held(dict(os.environ), log):
        (parent,) = [each.process.pid for each in preloaded._PRELOADERS.values()]
        assert ended(started(log, "0")) == 0
        server = started(log, "sleep")
        processes_of(server, log, runs=2)
        assert psutil.Process(server.pid).ppid() == parent
        server.kill()
        assert ended(server) == LOST
    assert not psutil.pid_exists(parent)


def test_another_environment_has_a_process_of_its_own(log: Path) -> None:
    one = preloaded.start(["sleep"], dict(os.environ), log)
    other = preloaded.start(["sleep"], {**os.environ, "OMP_NUM_THREADS": "3"}, log)
    processes_of(one, log, runs=2)
    assert psutil.Process(one.pid).ppid() != psutil.Process(other.pid).ppid()
    for server in (one, other):
        server.stdin.close()
        ended(server)


def test_a_process_that_cannot_import_its_server_is_an_end_with_the_reason_in_the_log(log: Path) -> None:
    script = log.with_name("stub.py")
    script.write_text("raise ImportError('no such server')")
    assert ended(started(log, "sleep")) == LOST
    assert "no such server" in log.read_text()


def test_a_process_with_threads_refuses_to_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    from sprint_sgl import cpu_server

    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        with pytest.raises(AssertionError, match="must not fork"):
            cpu_server.main()
    finally:
        waiting.set()
        thread.join()


def test_messages_keep_their_bounds() -> None:
    """A request is one packet: two that wait are not read as one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b"[1]")
        ours.send(b"[2]")
        assert [theirs.recv(64), theirs.recv(64)] == [b"[1]", b"[2]"]
