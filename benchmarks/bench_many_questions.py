"""Measure whether memory, threads and file handles stay bounded as the number of questions grows.

    .venv/bin/python benchmarks/bench_many_questions.py --questions 1000,10000 --concurrency 64

Questions go through the real endpoint to the scripted server of tests/fakes/scripted_runtime.py, which runs in its own
process, as does each way: `list` and `generator` are the two styles of `run_batch`, `bench` is the benchmark runner,
which keeps its records in a file and in memory.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import typer
from rich.console import Console

from benchmarks.footprint import measure_footprint
from programs import sprint_program
from sprint_sgl.bench.resume import record_writer
from sprint_sgl.bench.runner import QuestionSample, Workload, run_workload
from sprint_sgl.bench.runtime import SERVED, ResidentRuntime
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.registry import named_method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.server import RuntimeConfig, free_port
from sprint_sgl.tasks.base import Grade, Question
from tests.fakes import scripted_runtime
from tests.fakes.commands import answers
from tests.fakes.waiting import wait_for

FORK = multiprocessing.get_context("fork")  # so that sglang is imported once


class ScriptedTask:
    """A task whose questions are graded by the scripted server's answer."""

    def questions(self) -> Iterator[Question]:
        raise NotImplementedError

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(answer == "12", "")


def by_run_batch(url: str, questions: int, concurrency: int, generator_style: bool) -> None:
    endpoint = Endpoint(url)
    rows = [f"Question {number}" for number in range(questions)]
    states = sprint_program.run_batch(
        rows, backend=endpoint, num_threads=concurrency, generator_style=generator_style, temperature=0
    )
    assert sum(state["answer"] == "12" for state in states) == questions
    endpoint.close()


def by_runner(url: str, questions: int, concurrency: int) -> None:
    asks = [QuestionSample(Question(str(number), f"Question {number}", "12")) for number in range(questions)]
    sprint, block, quiet = named_method("sprint"), 4 * concurrency, Console(quiet=True)
    work = Workload(ScriptedTask(), [sprint], lambda method: SERVED, asks, concurrency=concurrency, block=block)
    with TemporaryDirectory() as folder, record_writer(Path(folder, "records.jsonl"), [], questions, quiet) as keep:
        runtime = ResidentRuntime(RuntimeConfig(), url, 600.0, Path(folder))
        failures = run_workload(work, runtime, set(), keep)
        runtime.close()
    assert not failures


WAYS = {
    "list": lambda *given: by_run_batch(*given, generator_style=False),
    "generator": lambda *given: by_run_batch(*given, generator_style=True),
    "bench": by_runner,
}


def measure_way(say: Connection, way: str, url: str, questions: int, concurrency: int) -> None:
    """Run one way in this process and send what it took."""
    before, files = threading.active_count(), psutil.Process().num_fds()
    WAYS[way](url, 2 * concurrency, concurrency)  # warm-up: one-time set-up is not measured
    begun = time.perf_counter()
    with measure_footprint() as found:
        WAYS[way](url, questions, concurrency)
    seconds = time.perf_counter() - begun
    wait_for_threads(before)
    say.send((found, threading.active_count() - before, psutil.Process().num_fds() - files, seconds))


def wait_for_threads(threads: int) -> None:
    """Wait up to five seconds until no more than `threads` threads are alive."""
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)


@contextmanager
def scripted_server(width: int, seconds: float) -> Iterator[str]:
    """Yield the address of the scripted server."""
    port = free_port()
    serving = {"port": port, "width": width, "seconds": seconds}
    server = FORK.Process(target=scripted_runtime.main, kwargs=serving, daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(f"{url}/model_info"), 30)
    try:
        yield url
    finally:
        server.terminate()
        server.join()


def main(
    questions: str = "1000,10000",
    concurrency: int = 64,
    width: int = 3,
    seconds: float = 0.02,
    ways: str = "list,generator,bench",
) -> None:
    with scripted_server(width, seconds) as url:
        for way in ways.split(","):
            for many in map(int, questions.split(",")):
                hear, say = FORK.Pipe(duplex=False)
                FORK.Process(target=measure_way, args=(say, way, url, many, concurrency), daemon=True).start()
                say.close()  # only the child holds the sending end, so recv() fails if the child dies
                found, left, files, took = hear.recv()
                screen().print(
                    f"{way:9} {many:6,d} questions: peak growth {found.grown / 2**20:5.0f} MiB, "
                    f"peak threads {found.threads:4d} ({left} left), "
                    f"peak file handles {found.files:4d} ({files} left), {took:.0f} s"
                )


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
