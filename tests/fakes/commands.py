"""Run the command line in its own processes, and check what it leaves behind."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from sprint_sgl.runtime.server import free_port
from tests.fakes.waiting import wait_for

START_LIMIT = 240.0  # seconds
COMMAND = [str(Path(sys.executable).with_name("sprint-sgl"))]


def run_command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload, no-any-return]


@contextmanager
def served(*options: str, command: Sequence[str] = COMMAND) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process of `sprint-sgl serve` and its address, once it listens."""
    port = free_port()
    words = [*command, "serve", "--port", str(port), "--program", "sprint", "--shutdown-limit", "2", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), START_LIMIT)
        assert process.poll() is None, process.communicate()[1]
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    """Return whether a GET of the URL has status 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def server_processes(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def all_gone(processes: list[psutil.Process], limit: float = 15.0) -> bool:
    """Return whether all processes end within `limit` seconds."""
    _, alive = psutil.wait_procs(processes, timeout=limit)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
