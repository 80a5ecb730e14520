"""The processes: a server with a runtime of its own, what they hold of the machine, and their random deaths."""

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
# With either of them the runtime has to end.
PARENTS = {"supervisor": SUPERVISOR, "importer": "-m sprint_sgl.runtime.cpu_server"}


@dataclass(frozen=True)
class Sample:
    """What a process tree holds at a moment: bytes, threads, open files; `life` is the pid at its root."""

    second: float
    who: str
    life: int
    memory: int
    threads: int
    files: int


@dataclass
class Kill:
    """A process that was killed, whether its runtime was up, and the seconds until it was noticed and up again."""

    second: float
    part: str
    loading: bool
    noticed: float | None = None
    back: float | None = None


@contextmanager
def served(out: Path, concurrency: int, queue: int) -> Iterator[tuple[psutil.Process, str]]:
    """`sprint-sgl serve` with a runtime of its own, in a session of its own; told to end at the end, then made to."""
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


def runtime(server: psutil.Process) -> dict[str, psutil.Process]:
    """The parts of the server's runtime that are alive, by name."""
    found = {}
    for process in family(server):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            for part, mark in PARTS.items():
                if mark in words and SUPERVISOR not in words and process.status() != psutil.STATUS_ZOMBIE:
                    found[part] = process
    return found


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def sampled(server: psutil.Process, second: float) -> list[Sample]:
    """The server's own process, and its runtime's together where there is one."""
    samples = [held([server], "server", second)]
    parts = runtime(server)
    if len(parts) == len(PARTS):
        samples.append(held([parts["server"], *family(parts["server"])], "runtime", second))
    return [sample for sample in samples if sample]


def held(processes: list[psutil.Process], who: str, second: float) -> Sample | None:
    """None where one of them ends meanwhile."""
    memory = threads = files = 0
    try:
        for process in processes:
            with process.oneshot():
                memory += process.memory_info().rss
                threads += process.num_threads()
                files += process.num_fds()
    except psutil.Error:
        return None
    return Sample(second, who, processes[0].pid, memory, threads, files)


async def watch(server: psutil.Process, samples: list[Sample], zero: float) -> None:
    while True:
        samples += sampled(server, time.monotonic() - zero)
        await asyncio.sleep(EVERY)


async def healthy(url: str) -> bool:
    async with httpx.AsyncClient(timeout=30) as client:
        with suppress(httpx.HTTPError):
            return (await client.get(f"{url}/health")).status_code == 200
    return False


async def until(url: str, up: bool, limit: float = 600.0, server: psutil.Process | None = None) -> float:
    """Seconds until the runtime is up, or gone; not longer than its server lives."""
    begun = time.monotonic()
    while await healthy(url) is not up:
        if server and (not server.is_running() or server.status() == psutil.STATUS_ZOMBIE):
            raise RuntimeError("the server has ended: its server.log says why")
        if time.monotonic() - begun > limit:
            raise TimeoutError(f"the runtime is not {'up' if up else 'gone'} after {limit:g} s")
        await asyncio.sleep(0.5)
    return time.monotonic() - begun


async def kill_now_and_then(
    server: psutil.Process,
    url: str,
    rng: random.Random,
    every: float,
    until_second: float,
    kills: list[Kill],
    zero: float,
) -> None:
    """A part of the runtime, or all of it, about every so many seconds once it is up; at times one that still loads."""
    while True:
        await asyncio.sleep(every * rng.uniform(0.5, 1.5))
        if time.monotonic() - zero > until_second:
            return
        part = rng.choice((*PARTS, *PARENTS, "all"))
        kills.append(kill := Kill(time.monotonic() - zero, part, loading=False))
        strike(server, part)
        kill.noticed = await until(url, up=False)
        if rng.random() < 0.25:
            await asyncio.sleep(rng.uniform(2.0, 8.0))
            kills.append(Kill(time.monotonic() - zero, "all", loading=True))
            strike(server, "all")
        kill.back = kill.noticed + await until(url, up=True)


def strike(server: psutil.Process, part: str) -> None:
    """SIGKILL for that part, for a parent of theirs, or for all parts that there are."""
    struck = [process for name, process in runtime(server).items() if part in (name, "all")]
    if part in PARENTS:
        struck = [each for each in family(server) if PARENTS[part] in " ".join(each.cmdline())]
    for process in struck:
        with suppress(psutil.NoSuchProcess):
            process.kill()
