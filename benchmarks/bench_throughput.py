"""Tokens per second of a batch against a plain asynchronous client that sends the same requests, and cost a question.

    .venv/bin/python benchmarks/bench_throughput.py --concurrency 1,4,16,64,256 --rounds 3 --out work/throughput

Both sides in turns on one runtime whose cache is emptied before each. The program goes first and all that it sends is
recorded: the prompts, how many tokens each request came to, and which requests each one waited for. The client, aiohttp
and nothing else, sends those prompts again in that order, as many questions at a time; its requests are bound to the
same numbers of tokens. Their stop strings are as long and as many, but cannot occur, so that the server looks for as
much. Started again, it adds to the rounds in `out`; runtime.csv, cost.csv and cost.png there are written anew.
"""

from __future__ import annotations

import asyncio
import csv
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import aiohttp
import typer

from benchmarks.footprint import Footprint, watched
from benchmarks.measuring import Runtime, measured
from benchmarks.steady import emptied
from programs import sprint_program
from sprint_sgl.bench.report.statistics import Estimate
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.defaults import MAX_STAGES
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import call_options, context_of
from sprint_sgl.runtime.frontend import SglSamplingParams, StreamExecutor
from sprint_sgl.runtime.messages import request_body
from sprint_sgl.storage.files import whole_bytes, whole_file
from sprint_sgl.storage.output_folders import Kind, Mark, output_folder
from sprint_sgl.tasks.countdown.problem import drawn

Body = dict[str, Any]
THROUGHPUT = Kind("benchmarks/bench_throughput.py", (Mark("runtime.csv", "side,"),), "--out ")


@dataclass(frozen=True)
class Sent:
    """A request of a program as it was sent and as it ended; `prompt` is None for the planner's."""

    question: str
    stage: int
    prompt: str | None
    body: Body
    start: float
    end: float
    tokens: int
    cached: int


class Recorder(Endpoint):
    """A runtime's endpoint that keeps what goes through it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sent: list[Sent] = []

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        body, prompt = request_body(s, self._context(s), sampling_params), None
        stage = context_of(s).count("</Execution_") + 1
        if name := call_options(s).request_id:
            prompt = name.rpartition("-")[2]
        text, meta = super().generate(s, sampling_params)
        counts = meta["completion_tokens"], meta["cached_tokens"]
        self.sent.append(Sent(s.arguments["question"], stage, prompt, body, meta["start"], meta["end"], *counts))
        return text, meta


@dataclass(frozen=True)
class Planned:
    """A request of the plain client, and which of its question's requests have to be there before it."""

    body: Body
    after: tuple[int, ...]


def planned(sent: Sequence[Sent]) -> list[list[Planned]]:
    """The requests of each question, those first that were sent first."""
    questions: dict[str, list[Sent]] = defaultdict(list)
    for each in sorted(sent, key=lambda each: each.start):
        questions[each.question].append(each)
    return [[Planned(forced(each), waited_for(k, requests)) for k, each in enumerate(requests)]
            for requests in questions.values()]  # fmt: skip


def waited_for(k: int, requests: Sequence[Sent]) -> tuple[int, ...]:
    """An executor's waits for the plan up to its prompt, a planner's for its last and for the stages before."""
    this = requests[k]
    plans = [n for n, other in enumerate(requests) if other.prompt is None and other.end <= this.start]
    joined = [n for n, other in enumerate(requests) if other.prompt and other.stage < this.stage]
    return tuple(plans[-1:] + ([] if this.prompt else joined))


def forced(sent: Sent) -> Body:
    """The request, made to generate just as many tokens."""
    given = sent.body["sampling_params"]
    stops = [f"\x01{stop[1:]}" for stop in given["stop"]]
    length = {"max_new_tokens": sent.tokens, "ignore_eos": True}
    return {**sent.body, "rid": None, "sampling_params": given | length | {"stop": stops}}


@dataclass(frozen=True)
class Round:
    """One side's turn: wall clock and processor seconds of our process, tokens that the runtime counted."""

    side: str
    concurrency: int
    questions: int
    requests: int
    tokens: int
    cached: int
    seconds: float
    processor: float
    threads: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def by_program(endpoint: Recorder, questions: list[str], concurrency: int, options: dict[str, Any]) -> Round:
    endpoint.sent.clear()
    with timed() as (clock, footprint):
        states = sprint_program.run_batch(
            questions, backend=endpoint, num_threads=concurrency, temperature=0, **options
        )
        assert all(state.trajectory.total_tokens for state in states)
    tokens, cached = sum(each.tokens for each in endpoint.sent), sum(each.cached for each in endpoint.sent)
    return Round("program", concurrency, len(questions), len(endpoint.sent), tokens, cached, *clock, footprint.threads)


def by_client(url: str, questions: list[list[Planned]], concurrency: int) -> Round:
    with timed() as (clock, footprint):
        answers = asyncio.run(send_all(url, questions, concurrency))
    tokens, cached = (sum(each[key] for each in answers) for key in ("completion_tokens", "cached_tokens"))
    requests = sum(map(len, questions))
    return Round("client", concurrency, len(questions), requests, tokens, cached, *clock, footprint.threads)


async def send_all(url: str, questions: list[list[Planned]], concurrency: int) -> list[Body]:
    places = asyncio.Semaphore(concurrency)
    unlimited = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0), aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(connector=unlimited[0], timeout=unlimited[1]) as session:

        async def ask(question: list[Planned]) -> list[Body]:
            tasks: list[asyncio.Task[Body]] = []
            async with places:
                for request in question:
                    tasks.append(asyncio.create_task(send(request.body, [tasks[k] for k in request.after])))
                return list(await asyncio.gather(*tasks))

        async def send(body: Body, after: Sequence[asyncio.Task[Body]]) -> Body:
            if after:
                await asyncio.wait(after)
            async with session.post(f"{url}/generate", json=body) as response:
                response.raise_for_status()
                meta: Body = (await response.json())["meta_info"]
                return meta

        return [meta for answers in await asyncio.gather(*map(ask, questions)) for meta in answers]


@contextmanager
def timed() -> Iterator[tuple[list[float], Footprint]]:
    """Fills the list with wall clock and processor seconds when it ends."""
    clock: list[float] = []
    with watched() as footprint:
        begun, used = time.perf_counter(), time.process_time()
        yield clock, footprint
        clock += [round(time.perf_counter() - begun, 3), round(time.process_time() - used, 3)]


def in_turns(url: str, questions: list[str], concurrency: int, rounds: int, options: dict[str, Any]) -> Iterator[Round]:
    """Each side first in every other round; the client sends what the program sent last."""
    endpoint = Recorder(url)
    for number in range(rounds):
        for side in ("program", "client") if number % 2 == 0 else ("client", "program"):
            emptied(endpoint)
            if side == "program":
                yield by_program(endpoint, questions, concurrency, options)
            else:
                yield by_client(url, planned(endpoint.sent), concurrency)
    endpoint.close()


def estimate(values: Sequence[float]) -> Estimate:
    """The median, with the least and the most."""
    return Estimate(statistics.median(values), min(values), max(values))


def pairs(rounds: Sequence[Round], concurrency: int) -> list[tuple[Round, Round]]:
    program, client = ([each for each in rounds if each.side == side and each.concurrency == concurrency]
                       for side in ("program", "client"))  # fmt: skip
    return list(zip(program, client, strict=False))


def shown(values: Sequence[float], form: str) -> str:
    found = estimate(values)
    return f"{found.value:{form}} ({found.low:{form}}-{found.high:{form}})"


def report(rounds: Sequence[Round], price: float, out: Path) -> None:
    costs: dict[str, list[tuple[float, Estimate]]] = {"program": [], "client": []}
    for concurrency in sorted({each.concurrency for each in rounds}):
        both = pairs(rounds, concurrency)
        if not both:
            continue
        ratio = shown([program.rate / client.rate for program, client in both], ".3f")
        rates = shown([program.rate for program, _ in both], ".0f")
        cpu = [shown([1000 * side.processor / side.requests for side in sides], ".2f")
               for sides in zip(*both, strict=True)]  # fmt: skip
        screen().print(
            f"{concurrency:4d} at a time: {ratio} of the plain client's tokens/s; {rates} tokens/s; our processor's "
            f"ms a request: {cpu[0]} and {cpu[1]}; at most {max(program.threads for program, _ in both)} threads"
        )
        for name, sides in zip(costs, zip(*both, strict=True), strict=True):
            costs[name].append((concurrency, estimate([side.seconds / side.questions for side in sides])))
    from sprint_sgl.bench.report.charts import cost_figure

    figure = cost_figure(costs, price)
    with whole_bytes(out / "cost.png") as picture:
        figure.savefig(picture, dpi=150)
    with whole_file(out / "cost.csv") as file:
        rows = csv.writer(file)
        rows.writerow(["side", "concurrency", "seconds", "low", "high", "dollars"])
        for name, points in costs.items():
            rows.writerows([name, c, e.value, e.low, e.high, e.value * price / 3600] for c, e in points)


def earlier(file: Path) -> list[Round]:
    if not file.exists():
        return []
    kinds = {"side": str, "seconds": float, "processor": float}
    with file.open(newline="") as lines:
        return [Round(**{key: kinds.get(key, int)(value) for key, value in row.items()})
                for row in csv.DictReader(lines)]  # fmt: skip


def main(
    concurrency: str = "1,4,16,64,256",
    rounds: int = 3,
    questions: int = 16,
    numbers: int = 3,
    max_stages: int = MAX_STAGES,
    max_new_tokens: int | None = None,
    price: float = 2.0,
    url: str = "",
    runtime: Runtime = None,
    out: str = "work/throughput",
) -> None:
    """`questions` at least, and one for each of those at a time; `price` in dollars for an hour of the machine.

    `max_stages` and `max_new_tokens`, of a call, make questions shorter, for less time.
    """
    with one_line_errors():
        folder = output_folder(out, THROUGHPUT)
    file = folder / "runtime.csv"
    found, options = earlier(file), {"max_stages": max_stages, "max_new_tokens": max_new_tokens}

    def measure(url: str) -> None:
        Recorder(url).warm_up()
        for at_a_time in map(int, concurrency.split(",")):
            asked = [p.question for p in drawn(numbers, 5, max(questions, at_a_time), held_out=True)]
            for each in in_turns(url, asked, at_a_time, rounds, options):
                screen().print(f"{each}, {each.rate:.0f} tokens/s")
                found.append(each)
                with whole_file(file) as lines:
                    rows = csv.DictWriter(lines, [field.name for field in fields(Round)])
                    rows.writeheader()
                    rows.writerows(map(asdict, found))

    if url:
        measure(url)
    elif rounds:
        with measured(None, runtime) as address:
            measure(address)
    report(found, price, folder)


if __name__ == "__main__":
    typer.run(main)
