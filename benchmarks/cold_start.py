"""From nothing to the first streamed text of `sprint-sgl solve`, and the memory of runtimes with all their processes.

    .venv/bin/python benchmarks/cold_start.py --runs 5
    .venv/bin/python benchmarks/cold_start.py --runs 3 --cold      # with none of the environment's files in memory
    .venv/bin/python benchmarks/cold_start.py --sglang             # beside SGLang's own start

The command runs on a terminal of its own, as for a person. Memory is the proportional share (PSS): what several
processes have in common counts once. Of a runtime it is taken after requests, of `serve` with its two models.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer
from rich.table import Table

from benchmarks.measuring import AtLeastOne
from sprint_sgl.console import screen
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import RuntimeConfig, free_port, runtime_config

SPRINT = str(Path(sys.executable).with_name("sprint-sgl"))
QUESTION = "Use 3, 7, 12 and 25 to make 66"
GOAL_WARM, GOAL_COLD = 8.0, 20.0  # seconds
LIMIT = 300.0  # seconds
MARKS = {
    "the command: Python and its imports": rb"starting an SGLang runtime",
    "the runtime: imports, processes, model": rb"is up after",
    "the first text: connection, first request, plan": rb"plan 1",
}


def marks_of(command: Sequence[str]) -> list[float]:
    """Return the seconds from the start of a command on a terminal until each of the marks is on its screen."""
    start = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], list(command))
    seen, found = b"", list[float]()
    wanted = list(MARKS.values())
    while wanted and time.monotonic() - start < LIMIT:
        if not (piece := shown(terminal, LIMIT)):
            break
        seen += piece
        while wanted and re.search(wanted[0], seen):
            found.append(time.monotonic() - start)
            wanted.pop(0)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while shown(terminal, LIMIT):
        pass  # until it has ended with all that it started
    os.waitpid(pid, 0)
    os.close(terminal)
    if wanted:
        raise SystemExit(f"{' '.join(command)} showed no {wanted[0].decode()!r}:\n{seen.decode(errors='replace')}")
    return found


def shown(terminal: int, limit: float) -> bytes:
    """Return what comes next on a terminal; nothing where its command has ended or is silent for that long."""
    with suppress(OSError):  # EIO: the command has ended
        if select.select([terminal], [], [], limit)[0]:
            return os.read(terminal, 1 << 16)
    return b""


def forget_files() -> None:
    """Drop the files of this environment from the system's memory, as after a restart of the machine."""
    for folder in (Path(sys.prefix), Path(sys.base_prefix)):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with suppress(OSError), file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True)
class Memory:
    """Proportional memory of a process and all below it, in GiB."""

    what: str
    gib: float


def proportional(processes: Sequence[psutil.Process]) -> float:
    """Return their proportional share of memory in GiB."""
    return float(sum(process.memory_full_info().pss for process in processes)) / 2**30


def memory_of_a_runtime(config: RuntimeConfig) -> Memory:
    """Measure one runtime after eight requests at a time, without this process, its client."""
    with running_server(runtime=config) as server:
        body = {"text": [QUESTION] * 8, "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}}
        httpx.post(f"{server.url}/generate", json=body, timeout=LIMIT).raise_for_status()
        return Memory("one embedded runtime", proportional(psutil.Process().children(recursive=True)))


@contextmanager
def served() -> Iterator[psutil.Process]:
    """`sprint-sgl serve` with both shipped models, once it listens and has answered a question with each."""
    port = free_port()
    process = subprocess.Popen([SPRINT, "serve", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            assert process.poll() is None, "serve has ended"
            assert time.monotonic() < deadline, "serve does not listen"
            time.sleep(0.2)
        for program in ("sprint", "sequential"):
            body = {"model": f"countdown-mini:{program}", "messages": [{"role": "user", "content": QUESTION}]}
            httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=LIMIT).raise_for_status()
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def memory_of_serve() -> Memory:
    """Measure `serve` with its own process and both runtimes."""
    with served() as process:
        return Memory("serve with two models", proportional([process, *process.children(recursive=True)]))


def table(title: str, rows: dict[str, Sequence[float]], unit: str) -> Table:
    """Return medians with what they lie between."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    for name in (unit, "least", "most"):
        shown.add_column(name, justify="right")
    for what, values in rows.items():
        shown.add_row(what, *(f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))))
    return shown


def main(
    runs: AtLeastOne = 5,
    cold: Annotated[bool, typer.Option("--cold", help="drop the environment's files from memory before each")] = False,
    sglang: Annotated[bool, typer.Option("--sglang", help="measure SGLang's own start beside it")] = False,
    memory: Annotated[bool, typer.Option(help="measure memory, too")] = True,
) -> None:
    config = runtime_config("cpu")
    starts = []
    for _ in range(runs):
        if cold:
            forget_files()
        starts.append(marks_of([SPRINT, "solve", "--temperature", "0", QUESTION]))
    parts = {name: [run[k] - (run[k - 1] if k else 0.0) for run in starts] for k, name in enumerate(MARKS)}
    parts["all"] = [run[-1] for run in starts]
    goal = GOAL_COLD if cold else GOAL_WARM
    title = f"sprint-sgl solve to its first text, {'cold' if cold else 'warm'} files, {runs} runs (goal {goal:g} s)"
    screen().print(table(title, parts, "seconds"))
    if sglang:
        own = []
        for _ in range(runs):
            begun = time.monotonic()
            with running_server(runtime=replace(config, preloaded=False)):
                own.append(time.monotonic() - begun)
        screen().print(table("SGLang's own start, until it answers", {"spawned": own}, "seconds"))
    if memory:
        found = [memory_of_a_runtime(config), memory_of_serve()]
        if sglang:
            found.append(replace(memory_of_a_runtime(replace(config, preloaded=False)), what="SGLang's own start"))
        screen().print(table("Memory (PSS)", {each.what: [each.gib] for each in found}, "GiB"))


if __name__ == "__main__":
    typer.run(main)
