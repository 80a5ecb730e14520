"""Runtimes by name: what they compose, and what is refused before anything starts."""

import argparse
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from sprint_sgl.errors import BadInput, LaunchFailed
from sprint_sgl.keeper import keep
from sprint_sgl.runtime import RuntimeConfig, launch, resolve_model, runtime_config, server_arguments
from sprint_sgl.shipped import conf_names

HUB_ID = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


@pytest.mark.runtime
@pytest.mark.parametrize("name", [name for name in conf_names("runtime") if name != "endpoint"])
def test_sglangs_own_parser_accepts_every_composed_command(name: str) -> None:
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import ServerArgs

    load_plugins()  # as a server does first: ours adds an attention backend
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    command = server_arguments(runtime_config(name), HUB_ID, "127.0.0.1", 30000)
    parsed = parser.parse_args(command)
    assert parsed.model_path == HUB_ID
    assert parsed.port == 30000


def test_the_named_runtimes_are_there() -> None:
    assert {"cpu", "gpu", "a100", "a100x8", "endpoint"} <= set(conf_names("runtime"))


def test_eight_a100s_are_data_parallel() -> None:
    command = server_arguments(runtime_config("a100x8"), HUB_ID, "127.0.0.1", 30000)
    assert command[command.index("--data-parallel-size") + 1] == "8"


def test_switches_are_flags_and_false_leaves_them_out() -> None:
    command = server_arguments(RuntimeConfig({"on": True, "off": False, "size": 3}), HUB_ID, "h", 1)
    assert "--on" in command
    assert "--off" not in command
    assert command[command.index("--size") + 1] == "3"


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="unknown runtime 'h100'; known: a100, a100x8, cpu"):
        runtime_config("h100")


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


def start_keeper(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A keeper over a shell that has a child of its own; returns it and the child's process id."""
    note = tmp_path / "child"
    script = f"sleep 600 & echo $! > {note}.tmp; mv {note}.tmp {note}; wait"
    keeper = keep(["sh", "-c", script])
    while not note.exists():
        time.sleep(0.02)
    return keeper, int(note.read_text())


def gone(pid: int, limit: float = 8.0) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_the_keeper_ends_everything_when_its_parent_lets_go(tmp_path: Path) -> None:
    keeper, child = start_keeper(tmp_path)
    assert keeper.stdin
    keeper.stdin.close()
    keeper.wait(10)
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_keeper_ends_everything_when_it_is_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    keeper, child = start_keeper(tmp_path)
    os.kill(keeper.pid, number)
    keeper.wait(10)
    assert gone(child)


def test_the_keeper_returns_its_commands_exit_status() -> None:
    keeper = keep(["sh", "-c", "exit 7"])
    assert keeper.wait(10) == 7


def test_a_command_whose_keeper_is_killed_ends_with_it() -> None:
    keeper = keep(["sleep", "600"])
    while not (found := psutil.Process(keeper.pid).children()):
        time.sleep(0.02)
    keeper.kill()
    keeper.wait(10)
    assert gone(found[0].pid)
