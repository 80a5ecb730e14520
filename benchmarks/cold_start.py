"""Measure the time to the first streamed text of `sprint-sgl solve`, and the memory of runtimes with all processes.

    .venv/bin/python benchmarks/cold_start.py --runs 5
    .venv/bin/python benchmarks/cold_start.py --runs 3 --cold      # with the environment's files not in the page cache
    .venv/bin/python benchmarks/cold_start.py --sglang             # also SGLang's own start

The command runs on a pseudo-terminal. Memory is the proportional set size (PSS): pages shared by several processes
count once. It is taken after requests: of one runtime, and of `serve` with its two models.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer
from rich.table import Table

from benchmarks.measuring import AtLeastOne
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import RuntimeConfig, runtime_config
from tests.fakes.commands import COMMAND, served

QUESTION = "Use 3, 7, 12 and 25 to make 66"
GOAL_WARM, GOAL_COLD = 8.0, 20.0  # seconds
LIMIT = 300.0  # seconds
MARKS = {
    "the command: Python and its imports": rb"starting an SGLang runtime",
    "the runtime: imports, processes, model": rb"is up after",
    "the first text: connection, first request, plan": rb"plan 1",
}


def seconds_to_marks(command: Sequence[str]) -> list[float]:
    """Return the seconds from the start of a command until each of the marks appears on its terminal."""
    start = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], list(command))
    seen, found = b"", list[float]()
    wanted = list(MARKS.values())
    while wanted and time.monotonic() - start < LIMIT:
        if not (piece := read_terminal(terminal, LIMIT)):
            break
        seen += piece
        while wanted and re.search(wanted[0], seen):
            found.append(time.monotonic() - start)
            wanted.pop(0)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while read_terminal(terminal, LIMIT):
        pass  # until the command and its children have ended
    os.waitpid(pid, 0)
    os.close(terminal)
    if wanted:
        raise SystemExit(f"{' '.join(command)} showed no {wanted[0].decode()!r}:\n{seen.decode(errors='replace')}")
    return found


def read_terminal(terminal: int, limit: float) -> bytes:
    """Return the next output of a terminal, b"" if its command has ended or is silent for `limit` seconds."""
    with suppress(OSError):  # EIO: the command has ended
        if select.select([terminal], [], [], limit)[0]:
            return os.read(terminal, 1 << 16)
    return b""


def drop_file_cache() -> None:
    """Drop the files of this environment from the page cache, as after a reboot."""
    for folder in (Path(sys.prefix), Path(sys.base_prefix)):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with suppress(OSError), file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True)
class ProcessMemory:
    """Proportional memory of a process tree, in GiB."""

    what: str
    gib: float


def proportional_memory(processes: Sequence[psutil.Process]) -> float:
    """Return the processes' proportional memory in GiB."""
    return float(sum(process.memory_full_info().pss for process in processes)) / 2**30


def runtime_memory(config: RuntimeConfig) -> ProcessMemory:
    """Measure a runtime after a batch of eight requests, without this process."""
    with running_server(runtime=config) as server:
        body = {"text": [QUESTION] * 8, "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}}
        httpx.post(f"{server.url}/generate", json=body, timeout=LIMIT).raise_for_status()
        return ProcessMemory("one embedded runtime", proportional_memory(psutil.Process().children(recursive=True)))


@contextmanager
def answering_serve() -> Iterator[psutil.Process]:
    """Yield `sprint-sgl serve` with both shipped models, once it has answered a question with each."""
    with served("--program", "sequential") as (process, url):
        for program in ("sprint", "sequential"):
            body = {"model": f"countdown-mini:{program}", "messages": [{"role": "user", "content": QUESTION}]}
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=LIMIT).raise_for_status()
        yield psutil.Process(process.pid)


def serve_memory() -> ProcessMemory:
    """Measure `serve` with its own process and both runtimes."""
    with answering_serve() as process:
        return ProcessMemory("serve with two models", proportional_memory([process, *process.children(recursive=True)]))


def medians_table(title: str, rows: Mapping[str, Sequence[float]], unit: str) -> Table:
    """Return medians with their range."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    for name in (unit, "least", "most"):
        shown.add_column(name, justify="right")
    for what, values in rows.items():
        shown.add_row(what, *(f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))))
    return shown


def main(
    runs: AtLeastOne = 5,
    cold: Annotated[
        bool, typer.Option("--cold", help="drop the environment's files from the page cache first")
    ] = False,
    sglang: Annotated[bool, typer.Option("--sglang", help="also measure SGLang's own start")] = False,
    memory: Annotated[bool, typer.Option(help="also measure memory")] = True,
) -> None:
    config = runtime_config("cpu")
    starts = []
    for _ in range(runs):
        if cold:
            drop_file_cache()
        starts.append(seconds_to_marks([*COMMAND, "solve", "--temperature", "0", QUESTION]))
    parts = {name: [run[k] - (run[k - 1] if k else 0.0) for run in starts] for k, name in enumerate(MARKS)}
    parts["all"] = [run[-1] for run in starts]
    goal = GOAL_COLD if cold else GOAL_WARM
    title = f"sprint-sgl solve to its first text, {'cold' if cold else 'warm'} files, {runs} runs (goal {goal:g} s)"
    screen().print(medians_table(title, parts, "seconds"))
    if sglang:
        own = []
        for _ in range(runs):
            begun = time.monotonic()
            with running_server(runtime=replace(config, preloaded=False)):
                own.append(time.monotonic() - begun)
        screen().print(medians_table("SGLang's own start, until it answers", {"spawned": own}, "seconds"))
    if memory:
        found = [runtime_memory(config), serve_memory()]
        if sglang:
            found.append(replace(runtime_memory(replace(config, preloaded=False)), what="SGLang's own start"))
        screen().print(medians_table("Memory (PSS)", {each.what: [each.gib] for each in found}, "GiB"))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
