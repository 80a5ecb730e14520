"""Measure the gateway's CPU time for a request, in front of two scripted workers that answer at once.

    .venv/bin/python benchmarks/bench_gateway_rate.py --questions 60 --tokens 1500

The ten prompts of a question share a random prefix of `tokens` tokens. One core's rate is the inverse of the time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import Process, SimpleQueue

import httpx
import psutil
import typer

from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.runtime.gateway import start_gateway
from sprint_sgl.runtime.server import RuntimeConfig, free_port, wait_until_ready
from tests.fakes.http_server import final_answer, server

INFO = {"model_path": "some/model", "tokenizer_path": "some/model"}
FORKS = 10


def serve_script(address: SimpleQueue[str], stop: SimpleQueue[str]) -> None:
    """Serve a scripted worker until a message arrives."""
    with server(final_answer, INFO) as url:
        address.put(url)
        stop.get()


@contextmanager
def scripted_worker() -> Iterator[str]:
    """Yield the address of a scripted worker in its own process."""
    address: SimpleQueue[str] = SimpleQueue()
    stop: SimpleQueue[str] = SimpleQueue()
    process = Process(target=serve_script, args=(address, stop))
    process.start()
    try:
        yield address.get()
    finally:
        stop.put("")
        process.join()


def random_prompts(questions: int, tokens: int) -> list[list[int]]:
    """Return ten prompts for each question, with a common prefix."""
    rng = random.Random(1)
    beginnings = [[rng.randint(5, 150_000) for _ in range(tokens)] for _ in range(questions)]
    return [beginning + [fork] * 12 for beginning in beginnings for fork in range(FORKS)]


def gateway_seconds(workers: list[str], bodies: list[dict[str, object]]) -> float:
    """Return the CPU seconds of a new gateway for each request, eight requests at a time."""
    gateway = start_gateway(workers, RuntimeConfig(workers=2), "127.0.0.1", free_port())
    try:
        wait_until_ready(gateway, 60.0, "/readiness")
        router = psutil.Process(gateway.supervisor.pid).children()[0]
        before = sum(router.cpu_times()[:2])
        with httpx.Client(timeout=60.0) as client, ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda body: client.post(f"{gateway.url}/generate", json=body), bodies):
                answer.raise_for_status()
        return (sum(router.cpu_times()[:2]) - before) / len(bodies)
    finally:
        gateway.stop()


def main(questions: int = 60, tokens: int = 1500) -> None:
    asked = random_prompts(questions, tokens)
    texts: list[dict[str, object]] = [{"text": " ".join(map(str, prompt))} for prompt in asked]
    ids: list[dict[str, object]] = [{"input_ids": prompt} for prompt in asked]
    with scripted_worker() as one, scripted_worker() as other:
        for name, bodies in (("text", texts), ("input_ids", ids)):
            each = gateway_seconds([one, other], bodies)
            screen().print(
                f"{name}: {each * 1000:.2f} ms of the gateway's CPU time a request, {1 / each:,.0f} requests/s a core"
            )


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
