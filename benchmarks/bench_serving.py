"""What the server costs: questions per second through it and without it, and how much later the first token comes.

    .venv/bin/python benchmarks/bench_serving.py --questions 48 --concurrency 16 --rounds 3

Both sides in turns on one runtime, the same questions, the same number at a time. Without the server means the program
on the runtime's own endpoint, as `run_batch` does it.
"""

from __future__ import annotations

import asyncio
import threading
import time

import openai
import typer

from benchmarks.measuring import Runtime, Url, measured, spread
from programs import sprint_program
from sprint_sgl.console import screen
from sprint_sgl.lang.methods import named_method
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.app import Api
from sprint_sgl.serving.backends import RemoteBackend
from sprint_sgl.serving.metrics import Metrics
from sprint_sgl.serving.server import GracefulServer
from sprint_sgl.serving.service import Service
from sprint_sgl.tasks.countdown.problem import draw_problems


def first_without(question: str) -> float:
    arrivals: list[float] = []
    begun = time.monotonic()
    run = sprint_program.run(
        question, stream=True, temperature=0, watch=lambda branch, text: arrivals.append(time.monotonic())
    )
    _ = run.trajectory
    return arrivals[0] - begun


def first_through(client: openai.OpenAI, question: str) -> float:
    begun = time.monotonic()
    stream = client.chat.completions.create(model="mini", messages=told(question), stream=True, temperature=0)
    for chunk in stream:
        if getattr(chunk, "sprint", None):
            seconds = time.monotonic() - begun
            break
    for _ in stream:
        pass
    return seconds


def told(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def rate_without(questions: list[str], concurrency: int) -> float:
    begun = time.monotonic()
    for state in sprint_program.run_batch([(q,) for q in questions], temperature=0, num_threads=concurrency):
        _ = state.trajectory
    return len(questions) / (time.monotonic() - begun)


def rate_through(url: str, questions: list[str], concurrency: int) -> float:
    async def ask_all() -> None:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        places = asyncio.Semaphore(concurrency)

        async def ask(question: str) -> None:
            async with places:
                await client.chat.completions.create(model="mini", messages=told(question), temperature=0)

        await asyncio.gather(*map(ask, questions))

    begun = time.monotonic()
    asyncio.run(ask_all())
    return len(questions) / (time.monotonic() - begun)


def main(
    questions: int = 48,
    concurrency: int = 16,
    rounds: int = 3,
    alone: int = 15,
    model: str = "countdown-mini-sprint",
    url: Url = None,
    runtime: Runtime = None,
) -> None:
    asked = [p.question for p in draw_problems(3, 5, questions, held_out=True)]
    with measured(url, runtime, model) as address, connect(address) as endpoint:
        endpoint.warm_up()
        backend = RemoteBackend(address, None)
        backend.wait_until_up()
        admission = Admission(concurrency, questions)
        service = Service({"mini": (named_method("sprint"), backend)}, admission)
        app = Api(service, Metrics(admission), time_limit=600.0).app()
        serving = GracefulServer(app, service, "127.0.0.1", 0, shutdown_limit=1.0)
        thread = threading.Thread(target=serving.run)
        thread.start()
        while not serving.started:
            time.sleep(0.01)
        server = f"http://127.0.0.1:{serving.servers[0].sockets[0].getsockname()[1]}"
        measure(asked, alone, concurrency, rounds, server)
        serving.should_exit = True
        thread.join()
        backend.stop()


def measure(questions: list[str], alone: int, concurrency: int, rounds: int, url: str) -> None:
    """`alone` questions one at a time for the first token's delay, all of them in each round for the rates."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    first_without(questions[0]), first_through(client, questions[0])
    early = [(first_without(q), first_through(client, q)) for q in questions[:alone]]
    rates = [(rate_without(questions, concurrency), rate_through(url, questions, concurrency)) for _ in range(rounds)]
    screen().print(f"first token without the server: {spread([a for a, _ in early])} s")
    screen().print(f"first token through it:         {spread([b for _, b in early])} s")
    screen().print(f"added:                          {spread([b - a for a, b in early])} s")
    screen().print(f"questions/s without:            {spread([a for a, _ in rates])}")
    screen().print(f"questions/s through:            {spread([b for _, b in rates])}")
    screen().print(f"through / without:              {spread([b / a for a, b in rates])}")


if __name__ == "__main__":
    typer.run(main)
