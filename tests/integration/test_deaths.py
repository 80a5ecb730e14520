"""Runtimes that we start: no process of theirs is left, however they or their parents end."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from programs import sprint_program
from sprint_sgl.errors import LaunchFailed, ProgramFailed
from sprint_sgl.runtime.launcher import connect, launch, running_server
from tests.fakes.commands import COMMAND, START_LIMIT, all_gone, answers, run_command, served, server_processes
from tests.fakes.waiting import wait_for

pytestmark = pytest.mark.runtime
ROOT = Path(__file__).parents[2]
QUESTION = "Use 80, 42 and 46 to make 84"  # three numbers: a thousand tokens
LAUNCH = """
import time
from sprint_sgl.runtime.launcher import launch
with launch():
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("killed", ["the command", "the process that has imported SGLang", "the supervisor"])
def test_nothing_is_left_behind_when_a_parent_of_the_runtime_is_killed(killed: str) -> None:
    command = subprocess.Popen([sys.executable, "-c", LAUNCH], cwd=ROOT, stdout=subprocess.PIPE)
    assert command.stdout
    assert command.stdout.readline() == b"up\n"
    ours = psutil.Process(command.pid)
    (imported,) = ours.children()
    (supervisor,) = imported.children()
    processes = supervisor.children(recursive=True)
    assert len(processes) >= 3
    victim = {"the command": ours, "the supervisor": supervisor}.get(killed, imported)
    victim.kill()
    assert all_gone([supervisor, *processes])
    command.kill()
    command.wait()
    assert all_gone([imported])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_when_launch_is_stopped_while_it_loads(number: signal.Signals) -> None:
    parent = subprocess.Popen([*COMMAND, "launch", "--port", "0"], stderr=subprocess.PIPE)
    wait_for(lambda: len(server_processes(parent.pid)) >= 2, START_LIMIT)
    processes = server_processes(parent.pid)
    os.kill(parent.pid, number)
    assert parent.wait(30) != 0
    assert all_gone(processes)
    assert parent.stderr
    assert b"Traceback" not in parent.stderr.read()


@pytest.mark.release
def test_an_exception_inside_the_with_ends_the_runtime_too() -> None:
    children = "import psutil; print(*(p.pid for p in psutil.Process().children(recursive=True)))"
    code = LAUNCH.replace("import time; time.sleep(600)", f"{children}; raise KeyError('mine')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert b"KeyError: 'mine'" in done.stderr
    pids = done.stdout.split()[1:]
    assert len(pids) >= 3
    assert all_gone([psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))])


def test_a_server_that_dies_while_loading_shows_the_end_of_its_log(sglang_imported: None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NoSuchModel"], "model_type": "no_such_model"}))
    with pytest.raises(LaunchFailed, match="ended while it was loading") as caught, launch(str(tmp_path)):
        pass
    assert len(str(caught.value).splitlines()) > 5


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_server_that_stops_half_way_is_one_clear_error(sglang_imported: None) -> None:
    with running_server() as server, connect(server.url):
        sprint_program.run(QUESTION)
        timer = threading.Timer(0.3, server.stop)
        timer.start()
        with pytest.raises(ProgramFailed, match=r"(planner, stage|executor) .*(broke|nothing answers)"):
            sprint_program.run_batch([(QUESTION,)] * 20, num_threads=2)
        timer.join()


def test_solve_in_a_pipe_prints_stages_answer_and_costs_of_both_models() -> None:
    done = run_command("solve", "--temperature", "0", QUESTION)
    assert done.returncode in (0, 3), done.stderr
    for part in ("[plan 1]", "[execution 1.1]", "[answer]", "SPRINT", "sequential", "cached prefix"):
        assert part in done.stdout
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stderr


def test_bench_starts_a_runtime_again_that_has_died(tmp_path: Path) -> None:
    overrides = [
        f"out={tmp_path}",
        "task=countdown",
        "task.problems=3",
        "task.numbers=[3]",
        "temperature=0",
        "program=sequential",  # whose weights are not those that the runtime is started with
    ]
    bench = subprocess.Popen(
        [*COMMAND, "bench", *overrides], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    records = tmp_path / "records.jsonl"
    wait_for(lambda: records.exists() and records.read_text().count("\n") >= 2, START_LIMIT)
    for process in server_processes(bench.pid):
        with suppress(psutil.NoSuchProcess):  # ended with the one before, as a zombie or altogether
            if "sglang" in " ".join(process.cmdline()):
                process.kill()
    _, said = bench.communicate(timeout=300)
    assert bench.returncode == 0, said
    assert "the runtime is gone: starting it again" in said
    assert len({json.loads(line)["id"] for line in records.read_text().splitlines()}) == 3
    assert records.read_text().count("\n") == 3


def test_a_served_runtime_of_which_a_part_dies_is_started_again_and_ends_with_its_server() -> None:
    with served() as (process, address):
        (part,) = [p for p in server_processes(process.pid) if "detokenizer" in " ".join(p.cmdline())]
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(httpx.post, f"{address}/v1/chat/completions", json=body, timeout=60) for _ in range(8)]
            wait_for(lambda: "sprint_running 8.0" in httpx.get(f"{address}/metrics", timeout=10).text, 60)
            part.kill()
        statuses = [future.result().status_code for future in asked]
        assert 503 in statuses
        assert set(statuses) <= {200, 503}
        wait_for(lambda: httpx.get(f"{address}/health", timeout=10).status_code == 503, 20)
        refused = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
        wait_for(lambda: answers(f"{address}/health"), START_LIMIT)
        assert httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).status_code == 200
        processes = server_processes(process.pid)
        process.terminate()
        assert process.wait(30) is not None
        assert all_gone(processes)
