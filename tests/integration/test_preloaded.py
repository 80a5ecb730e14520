"""The process that CPU runtimes are forked from, seen by the process that started it; a stub replaces SGLang."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sprint_sgl.runtime import preloaded
from sprint_sgl.runtime.preloaded import LOST, PreloadedServer
from tests.fakes.waiting import wait_for

ROOT = Path(__file__).parents[2]
# Replaces SGLang: its only argument says whether it sleeps, ends with a code, or fails.
STUB = """
import sys, time
from types import SimpleNamespace
from sprint_sgl.runtime import cpu_server

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
    """`python -m sprint_sgl.runtime.cpu_server` runs the stub; processes of other tests are not used."""
    monkeypatch.setattr(preloaded, "_PRELOADERS", {})
    script = tmp_path / "stub.py"
    script.write_text(STUB)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(preloaded.sys, "executable", str(python))
    yield
    assert preloaded._PRELOADERS == {}


def started(log: Path, argument: str) -> PreloadedServer:
    return preloaded.fork_server([argument], dict(os.environ), log)


def ended(server: PreloadedServer) -> int:
    code = server.wait(60)
    server.stop(10)
    return code


def supervisor_of(server: PreloadedServer) -> psutil.Process:
    wait_for(server.supervisor_pid, 60)
    return psutil.Process(server.supervisor_pid())


def processes_of(server: PreloadedServer, log: Path, runs: int = 1) -> list[psutil.Process]:
    """The supervisor and the server below it, once the server runs."""
    wait_for(lambda: log.exists() and log.read_text().count("runs") == runs, 60)
    supervisor = supervisor_of(server)
    return [supervisor, *supervisor.children(recursive=True)]


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
    assert ended(one) in (1, 143)  # by the supervisor, or as the signal ended it
    assert all_gone(processes)
    assert other.poll() is None
    other.stdin.close()
    assert ended(other) in (1, 143)
    assert all_gone(rest)


def test_both_servers_come_from_one_process_which_ends_with_the_last(log: Path) -> None:
    one, other = started(log, "sleep"), started(log, "sleep")
    processes_of(one, log, runs=2)
    (parent,) = {supervisor_of(server).ppid() for server in (one, other)}
    for server in (one, other):
        assert psutil.pid_exists(parent)
        server.stdin.close()
        ended(server)
    assert not psutil.pid_exists(parent)


@pytest.mark.parametrize("victim", ["supervisor", "parent"])
def test_whoever_is_killed_takes_the_server_along(log: Path, victim: str) -> None:
    server = started(log, "sleep")
    processes = processes_of(server, log)
    (processes[0] if victim == "supervisor" else processes[0].parent()).kill()
    assert ended(server) == LOST
    assert all_gone(processes)


def test_after_its_death_the_next_runtime_has_a_new_process(log: Path) -> None:
    first = started(log, "sleep")
    (supervisor, *_) = processes_of(first, log)
    supervisor.parent().kill()
    assert first.wait(30) == LOST
    second = started(log, "5")
    assert ended(second) == 5
    first.stop(10)


def test_a_held_process_outlives_its_servers(log: Path) -> None:
    with preloaded.keep_preloader(dict(os.environ), log):
        (parent,) = [each.process.pid for each in preloaded._PRELOADERS.values()]
        assert ended(started(log, "0")) == 0
        server = started(log, "sleep")
        processes_of(server, log, runs=2)
        assert supervisor_of(server).ppid() == parent
        server.kill()
        assert ended(server) == LOST
    assert not psutil.pid_exists(parent)


def test_another_environment_has_a_process_of_its_own(log: Path) -> None:
    one = preloaded.fork_server(["sleep"], dict(os.environ), log)
    other = preloaded.fork_server(["sleep"], {**os.environ, "OMP_NUM_THREADS": "3"}, log)
    processes_of(one, log, runs=2)
    assert supervisor_of(one).ppid() != supervisor_of(other).ppid()
    for server in (one, other):
        server.stdin.close()
        ended(server)


def test_a_failed_import_is_in_the_log_of_every_runtime_that_waits_for_it(log: Path) -> None:
    script = log.with_name("stub.py")
    script.write_text(
        "import time\nfrom sprint_sgl.runtime import cpu_server\n"
        "def fail():\n    time.sleep(1)\n    raise ImportError('no such server')\n"
        "cpu_server.import_server = fail\ncpu_server.main()\n"
    )
    other_log = log.with_name("other.log")
    one, other = started(log, "sleep"), started(other_log, "sleep")
    assert ended(one) == ended(other) == LOST
    assert "no such server" in log.read_text()
    assert "no such server" in other_log.read_text()


SLOW = """
import time
from sprint_sgl.runtime import cpu_server
cpu_server.import_server = lambda: time.sleep(600)
cpu_server.main()
"""


def test_a_runtime_that_is_not_wanted_any_more_does_not_wait_for_the_import(log: Path) -> None:
    log.with_name("stub.py").write_text(SLOW)
    server = started(log, "sleep")
    (preloader,) = preloaded._PRELOADERS.values()
    server.stop(300)
    assert preloader.process.poll() is not None


THREADED = """
import threading
from sprint_sgl.runtime import cpu_server
cpu_server.import_server = lambda: threading.Thread(target=threading.Event().wait, daemon=True).start()
cpu_server.main()
"""


def test_a_process_in_which_an_import_has_started_a_thread_refuses_to_fork(log: Path) -> None:
    log.with_name("stub.py").write_text(THREADED)
    assert ended(started(log, "sleep")) == LOST
    assert "has started a thread" in log.read_text()


def test_variables_that_no_import_reads_are_each_servers_own(log: Path) -> None:
    script = log.with_name("stub.py")
    script.write_text(STUB.replace('print("runs", args', 'import os\n    print("runs", os.environ.get("MY_OWN")'))
    logs = [log, log.with_name("other.log")]
    servers = [
        preloaded.fork_server(["0"], {**os.environ, "MY_OWN": name}, each)
        for name, each in zip(("one", "two"), logs, strict=True)
    ]
    assert len(preloaded._PRELOADERS) == 1
    assert [ended(server) for server in servers] == [0, 0]
    assert ["runs one" in logs[0].read_text(), "runs two" in logs[1].read_text()] == [True, True]


def test_an_end_is_noticed_with_a_thousand_files_open(log: Path) -> None:
    opened = [open(os.devnull) for _ in range(1100)]  # noqa: SIM115
    try:
        assert ended(started(log, "7")) == 7
    finally:
        for file in opened:
            file.close()
