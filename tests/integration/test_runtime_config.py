"""Runtimes by name: what they compose, and what is refused before anything starts."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from sprint_sgl.errors import BadInput, LaunchFailed
from sprint_sgl.runtime.launcher import launch
from sprint_sgl.runtime.server import RuntimeConfig, resolve_model, runtime_config, server_arguments
from sprint_sgl.runtime.supervisor import supervise
from sprint_sgl.storage.package_files import conf_names

HUB_ID = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def test_the_named_runtimes_are_there() -> None:
    assert {"cpu", "gpu", "a100", "a100x8", "h100", "endpoint"} <= set(conf_names("runtime"))


def test_eight_a100s_are_eight_runtimes_behind_a_gateway_that_knows_prefixes() -> None:
    config = runtime_config("a100x8")
    assert (config.workers, config.base, config.policy) == (8, "a100", "cache_aware")


def test_threads_of_the_environment_come_before_the_cpu_runtimes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert runtime_config("cpu").env["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert runtime_config("cpu").env["OMP_NUM_THREADS"] == "6"


def test_switches_are_flags_and_false_leaves_them_out() -> None:
    command = server_arguments(RuntimeConfig({"on": True, "off": False, "size": 3}), HUB_ID, "h", 1)
    assert "--on" in command
    assert "--off" not in command
    assert command[command.index("--size") + 1] == "3"


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="unknown runtime 'h1000'; known: a100, a100_seeded, a100x2"):
        runtime_config("h1000")


def test_a_runtime_that_runs_already_cannot_be_launched() -> None:
    with pytest.raises(BadInput, match="use connect"), launch(runtime="endpoint"):
        pass


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "no-such-name", "a/b/c", ""])
def test_a_model_that_is_not_there_is_refused(model: str) -> None:
    with pytest.raises(BadInput, match="unknown model"):
        resolve_model(model)


def test_a_hub_id_is_left_to_sglang() -> None:
    assert resolve_model(HUB_ID) == HUB_ID


def test_a_taken_port_is_refused_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchFailed, match=f"port {port} on 127.0.0.1 is taken"), launch(HUB_ID, port=port):
            pass


def start_supervisor(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A supervisor over a shell that has a child of its own; returns it and the child's process id."""
    note = tmp_path / "child"
    script = f"sleep 600 & echo $! > {note}.tmp; mv {note}.tmp {note}; wait"
    supervisor = supervise(["sh", "-c", script])
    while not note.exists():
        time.sleep(0.02)
    return supervisor, int(note.read_text())


def gone(pid: int, limit: float = 8.0) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_the_supervisor_ends_everything_when_its_parent_lets_go(tmp_path: Path) -> None:
    supervisor, child = start_supervisor(tmp_path)
    assert supervisor.stdin
    supervisor.stdin.close()
    supervisor.wait(10)
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_supervisor_ends_everything_when_it_is_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    supervisor, child = start_supervisor(tmp_path)
    os.kill(supervisor.pid, number)
    supervisor.wait(10)
    assert gone(child)


def test_the_supervisor_returns_its_commands_exit_status() -> None:
    supervisor = supervise(["sh", "-c", "exit 7"])
    assert supervisor.wait(10) == 7


def test_a_command_whose_supervisor_is_killed_ends_with_it() -> None:
    supervisor = supervise(["sleep", "600"])
    while not (found := psutil.Process(supervisor.pid).children()):
        time.sleep(0.02)
    supervisor.kill()
    supervisor.wait(10)
    assert gone(found[0].pid)
