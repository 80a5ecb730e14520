"""The processes of the soak: the server with its runtime, samples of what they hold, and random kills."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.soaking.load import KEY
from sprint_sgl.runtime.server import free_port

EVERY = 2.0  # seconds between two samples
PARTS = {"scheduler": "sglang::scheduler", "detokenizer": "sglang::detokenizer", "server": "-m sglang.launch_server"}
SUPERVISOR = "supervisor.py"
# The runtime has to end with either of these.
PARENT_PROCESSES = {"supervisor": SUPERVISOR, "importer": "-m sprint_sgl.runtime.cpu_server"}


@dataclass(frozen=True)
class ProcessSample:
    """What a process tree holds at a moment: bytes, threads, open files. `life` is the pid of its root."""

    second: float
    who: str
    life: int
    memory: int
    threads: int
    files: int


@dataclass
class Kill:
    """A kill: the part, whether the runtime was still loading, and the seconds until it was noticed and the runtime was
    back.
    """

    second: float
    part: str
    loading: bool
    noticed: float | None = None
    back: float | None = None


@contextmanager
def running_server(out: Path, concurrency: int, queue: int) -> Iterator[tuple[psutil.Process, str]]:
    """Yield `sprint-sgl serve` with its own runtime, in its own session. It is terminated at the end, killed if
    necessary.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("sprint-sgl")), "serve", "--port", str(port), "--name", "mini"]
    command += [
        "--program",
        "sprint",
        "--concurrency",
        str(concurrency),
        "--queue",
        str(queue),
        "--shutdown-limit",
        "5",
    ]
    with (out / "server.log").open("w") as log:
        environment = os.environ | {"SPRINT_SERVE_KEYS": KEY}
        process = subprocess.Popen(command, stderr=log, env=environment, start_new_session=True)
    try:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def runtime_parts(server: psutil.Process) -> dict[str, psutil.Process]:
    """Return the live processes of the server's runtime, by name."""
    found = {}
    for process in descendants(server):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            for part, mark in PARTS.items():
                if mark in words and SUPERVISOR not in words and process.status() != psutil.STATUS_ZOMBIE:
                    found[part] = process
    return found


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return all processes below this one."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def sample_processes(server: psutil.Process, second: float) -> list[ProcessSample]:
    """Return samples of the server's own process and, if it runs, of its whole runtime."""
    samples = [measure_processes([server], "server", second)]
    parts = runtime_parts(server)
    if len(parts) == len(PARTS):
        samples.append(measure_processes([parts["server"], *descendants(parts["server"])], "runtime", second))
    return [sample for sample in samples if sample]


def measure_processes(processes: list[psutil.Process], who: str, second: float) -> ProcessSample | None:
    """Return the sum over the processes, None if one of them ends meanwhile."""
    memory = threads = files = 0
    try:
        for process in processes:
            with process.oneshot():
                memory += process.memory_info().rss
                threads += process.num_threads()
                files += process.num_fds()
    except psutil.Error:
        return None
    return ProcessSample(second, who, processes[0].pid, memory, threads, files)


async def collect_samples(server: psutil.Process, samples: list[ProcessSample], zero: float) -> None:
    """Append samples for ever, every EVERY seconds."""
    while True:
        samples += sample_processes(server, time.monotonic() - zero)
        await asyncio.sleep(EVERY)


async def is_healthy(url: str) -> bool:
    async with httpx.AsyncClient(timeout=30) as client:
        with suppress(httpx.HTTPError):
            return (await client.get(f"{url}/health")).status_code == 200
    return False


async def wait_for_runtime(url: str, up: bool, limit: float = 600.0, server: psutil.Process | None = None) -> float:
    """Return the seconds until the runtime is up, or gone. Raise RuntimeError if the server ends before."""
    begun = time.monotonic()
    while await is_healthy(url) is not up:
        if server and (not server.is_running() or server.status() == psutil.STATUS_ZOMBIE):
            raise RuntimeError("the server has ended: its server.log says why")
        if time.monotonic() - begun > limit:
            raise TimeoutError(f"the runtime is not {'up' if up else 'gone'} after {limit:g} s")
        await asyncio.sleep(0.5)
    return time.monotonic() - begun


async def kill_periodically(
    server: psutil.Process,
    url: str,
    rng: random.Random,
    every: float,
    until_second: float,
    kills: list[Kill],
    zero: float,
) -> None:
    """Kill a part of the runtime, or all of it, about every `every` seconds while it is up; sometimes also while it
    loads.
    """
    while True:
        await asyncio.sleep(every * rng.uniform(0.5, 1.5))
        if time.monotonic() - zero > until_second:
            return
        part = rng.choice((*PARTS, *PARENT_PROCESSES, "all"))
        kills.append(kill := Kill(time.monotonic() - zero, part, loading=False))
        kill_part(server, part)
        kill.noticed = await wait_for_runtime(url, up=False)
        if rng.random() < 0.25:
            await asyncio.sleep(rng.uniform(2.0, 8.0))
            kills.append(Kill(time.monotonic() - zero, "all", loading=True))
            kill_part(server, "all")
        kill.back = kill.noticed + await wait_for_runtime(url, up=True)


def kill_part(server: psutil.Process, part: str) -> None:
    """Send SIGKILL to a part of the runtime, to a parent process, or to all parts."""
    struck = [process for name, process in runtime_parts(server).items() if part in (name, "all")]
    if part in PARENT_PROCESSES:
        struck = [each for each in descendants(server) if PARENT_PROCESSES[part] in " ".join(each.cmdline())]
    for process in struck:
        with suppress(psutil.NoSuchProcess):
            process.kill()
