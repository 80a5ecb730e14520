"""Measure what the HTTP server costs: questions per second with and without it, and the delay of the first text.

    .venv/bin/python benchmarks/bench_serving.py --questions 48 --concurrency 16 --rounds 3

Both sides run in turns on one runtime, with the same questions and concurrency. Without the server the program uses the
runtime's own endpoint, as `run_batch` does.
"""

from __future__ import annotations

import asyncio
import time

import openai
import typer

from benchmarks.measuring import Runtime, Url, runtime_url, spread
from programs import sprint_program
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.registry import named_method
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.backends import RemoteBackend
from sprint_sgl.tasks.countdown.problem import draw_problems
from tests.fakes.served import serving_programs


def first_text_direct(question: str) -> float:
    """Return the seconds to the first text without the server."""
    arrivals: list[float] = []
    begun = time.monotonic()
    run = sprint_program.run(
        question, stream=True, temperature=0, watch=lambda branch, text: arrivals.append(time.monotonic())
    )
    _ = run.trajectory
    return arrivals[0] - begun


def first_text_served(client: openai.OpenAI, question: str) -> float:
    """Return the seconds to the first text through the server."""
    begun = time.monotonic()
    stream = client.chat.completions.create(model="mini", messages=user_message(question), stream=True, temperature=0)
    for chunk in stream:
        if getattr(chunk, "sprint", None):
            seconds = time.monotonic() - begun
            break
    for _ in stream:
        pass
    return seconds


def user_message(question: str) -> list[dict[str, str]]:
    """Return the messages of a chat with this question."""
    return [{"role": "user", "content": question}]


def direct_rate(questions: list[str], concurrency: int) -> float:
    """Return questions per second without the server."""
    begun = time.monotonic()
    for state in sprint_program.run_batch([(q,) for q in questions], temperature=0, num_threads=concurrency):
        _ = state.trajectory
    return len(questions) / (time.monotonic() - begun)


def served_rate(url: str, questions: list[str], concurrency: int) -> float:
    """Return questions per second through the server."""

    async def ask_all() -> None:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        places = asyncio.Semaphore(concurrency)

        async def ask(question: str) -> None:
            async with places:
                await client.chat.completions.create(model="mini", messages=user_message(question), temperature=0)

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
    with runtime_url(url, runtime, model) as address, connect(address) as endpoint:
        endpoint.warm_up()
        backend = RemoteBackend(address, None)
        backend.wait_until_up()
        offered = {"mini": (named_method("sprint"), backend)}
        with serving_programs(offered, Admission(concurrency, questions)) as server:
            print_measurements(asked, alone, concurrency, rounds, server)
        backend.stop()


def print_measurements(questions: list[str], alone: int, concurrency: int, rounds: int, url: str) -> None:
    """Measure the first text on `alone` questions one at a time, and in each round the rates on all questions."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    first_text_direct(questions[0]), first_text_served(client, questions[0])
    early = [(first_text_direct(q), first_text_served(client, q)) for q in questions[:alone]]
    rates = [(direct_rate(questions, concurrency), served_rate(url, questions, concurrency)) for _ in range(rounds)]
    screen().print(f"first text, direct:      {spread([a for a, _ in early])} s")
    screen().print(f"first text, server:      {spread([b for _, b in early])} s")
    screen().print(f"first text, added:       {spread([b - a for a, b in early])} s")
    screen().print(f"questions/s, direct:     {spread([a for a, _ in rates])}")
    screen().print(f"questions/s, server:     {spread([b for _, b in rates])}")
    screen().print(f"server / direct:         {spread([b / a for a, b in rates])}")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
