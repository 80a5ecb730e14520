"""Compare tokens per second of a batch with a plain asynchronous client that sends the same requests; cost of a
question.

    .venv/bin/python benchmarks/bench_throughput.py --concurrency 1,4,16,64,256 --rounds 3 --out work/throughput

Both sides run in turns on one runtime, with an emptied cache. The program runs first, and its requests are recorded:
prompts, numbers of tokens, and which requests each one waited for. The client (aiohttp alone) sends the same prompts in
the same order and concurrency, and each request is bound to the same number of tokens. Its stop strings are as many and
as long but cannot occur, so the server searches for as much. Started again, the benchmark adds rounds to those in
`out`, and writes runtime.csv, cost.csv and cost.png there anew.
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

from benchmarks.footprint import measure_footprint
from benchmarks.measuring import Runtime, empty_cache, runtime_url, spread
from programs import sprint_program
from sprint_sgl.bench.report.statistics import IntervalEstimate
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.defaults import MAX_STAGES
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import call_options, context_of
from sprint_sgl.runtime.frontend import SglSamplingParams, StreamExecutor
from sprint_sgl.runtime.messages import request_body
from sprint_sgl.storage.files import whole_bytes, whole_file
from sprint_sgl.storage.output_folders import FolderKind, RunMark, output_folder
from sprint_sgl.tasks.countdown.problem import draw_problems

Body = dict[str, Any]
THROUGHPUT = FolderKind("benchmarks/bench_throughput.py", (RunMark("runtime.csv", "side,"),), "--out ")


@dataclass(frozen=True)
class SentRequest:
    """A request of a program, with its times and token counts. `prompt` is the executor's number, None for the
    planner."""

    question: str
    stage: int
    prompt: str | None
    body: Body
    start: float
    end: float
    tokens: int
    cached: int


class LoggingEndpoint(Endpoint):
    """A runtime's endpoint that keeps its requests in `sent`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sent: list[SentRequest] = []

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        body, prompt = request_body(s, self._context(s), sampling_params), None
        stage = context_of(s).count("</Execution_") + 1
        if name := call_options(s).request_id:
            prompt = name.rpartition("-")[2]
        text, meta = super().generate(s, sampling_params)
        counts = meta["completion_tokens"], meta["cached_tokens"]
        self.sent.append(SentRequest(s.arguments["question"], stage, prompt, body, meta["start"], meta["end"], *counts))
        return text, meta


@dataclass(frozen=True)
class PlannedRequest:
    """A request of the plain client; `after` lists the question's requests that have to end first."""

    body: Body
    after: tuple[int, ...]


def plan_requests(sent: Sequence[SentRequest]) -> list[list[PlannedRequest]]:
    """Return the requests of each question, in the order in which they were sent."""
    questions: dict[str, list[SentRequest]] = defaultdict(list)
    for each in sorted(sent, key=lambda each: each.start):
        questions[each.question].append(each)
    return [[PlannedRequest(fixed_length_body(each), dependencies(k, requests)) for k, each in enumerate(requests)]
            for requests in questions.values()]  # fmt: skip


def dependencies(k: int, requests: Sequence[SentRequest]) -> tuple[int, ...]:
    """Return the requests that request `k` waits for.

    An executor waits for the plan up to its prompt; a planner waits for its last plan and for all earlier stages.
    """
    this = requests[k]
    plans = [n for n, other in enumerate(requests) if other.prompt is None and other.end <= this.start]
    joined = [n for n, other in enumerate(requests) if other.prompt and other.stage < this.stage]
    return tuple(plans[-1:] + ([] if this.prompt else joined))


def fixed_length_body(sent: SentRequest) -> Body:
    """Return the request's body, changed so that it generates exactly as many tokens again."""
    given = sent.body["sampling_params"]
    stops = [f"\x01{stop[1:]}" for stop in given["stop"]]
    length = {"max_new_tokens": sent.tokens, "ignore_eos": True}
    return {**sent.body, "rid": None, "sampling_params": given | length | {"stop": stops}}


@dataclass(frozen=True)
class ThroughputRound:
    """One side's turn: wall clock and CPU seconds of this process, and the tokens counted by the runtime."""

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


def run_program(
    endpoint: LoggingEndpoint, questions: list[str], concurrency: int, options: dict[str, Any]
) -> ThroughputRound:
    """Run the program over the questions; the endpoint records its requests."""
    endpoint.sent.clear()
    with timer() as took:
        states = sprint_program.run_batch(
            questions, backend=endpoint, num_threads=concurrency, temperature=0, **options
        )
        assert all(state.trajectory.total_tokens for state in states)
    tokens, cached = sum(each.tokens for each in endpoint.sent), sum(each.cached for each in endpoint.sent)
    return ThroughputRound("program", concurrency, len(questions), len(endpoint.sent), tokens, cached, **asdict(took))


def run_client(url: str, questions: list[list[PlannedRequest]], concurrency: int) -> ThroughputRound:
    """Send the planned requests with the plain client."""
    with timer() as took:
        answers = asyncio.run(send_all(url, questions, concurrency))
    tokens, cached = (sum(each[key] for each in answers) for key in ("completion_tokens", "cached_tokens"))
    requests = sum(map(len, questions))
    return ThroughputRound("client", concurrency, len(questions), requests, tokens, cached, **asdict(took))


async def send_all(url: str, questions: list[list[PlannedRequest]], concurrency: int) -> list[Body]:
    """Send all requests, `concurrency` questions at a time; return their meta information."""
    places = asyncio.Semaphore(concurrency)
    unlimited = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0), aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(connector=unlimited[0], timeout=unlimited[1]) as session:

        async def ask(question: list[PlannedRequest]) -> list[Body]:
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


@dataclass
class TimedBlock:
    """Wall clock and CPU seconds of this process, and its peak number of threads."""

    seconds: float = 0.0
    processor: float = 0.0
    threads: int = 0


@contextmanager
def timer() -> Iterator[TimedBlock]:
    """Yield what is filled in at the end of the block."""
    took = TimedBlock()
    with measure_footprint() as footprint:
        begun, used = time.perf_counter(), time.process_time()
        yield took
        took.seconds, took.processor = round(time.perf_counter() - begun, 3), round(time.process_time() - used, 3)
    took.threads = footprint.threads


def run_rounds(
    url: str, questions: list[str], concurrency: int, rounds: int, options: dict[str, Any]
) -> Iterator[ThroughputRound]:
    """Yield the rounds of both sides; which side is first alternates. The client sends the program's last requests."""
    endpoint = LoggingEndpoint(url)
    for number in range(rounds):
        for side in ("program", "client") if number % 2 == 0 else ("client", "program"):
            empty_cache(endpoint)
            if side == "program":
                yield run_program(endpoint, questions, concurrency, options)
            else:
                yield run_client(url, plan_requests(endpoint.sent), concurrency)
    endpoint.close()


def estimate(values: Sequence[float]) -> IntervalEstimate:
    """Return the median with the range."""
    return IntervalEstimate(statistics.median(values), min(values), max(values))


def paired_rounds(rounds: Sequence[ThroughputRound], concurrency: int) -> list[tuple[ThroughputRound, ThroughputRound]]:
    """Return the rounds of both sides at one concurrency as pairs (program, client)."""
    program, client = ([each for each in rounds if each.side == side and each.concurrency == concurrency]
                       for side in ("program", "client"))  # fmt: skip
    return list(zip(program, client, strict=False))


def write_report(rounds: Sequence[ThroughputRound], price: float, out: Path) -> None:
    """Print the comparison; write cost.csv and cost.png."""
    costs: dict[str, list[tuple[float, IntervalEstimate]]] = {"program": [], "client": []}
    for concurrency in sorted({each.concurrency for each in rounds}):
        both = paired_rounds(rounds, concurrency)
        if not both:
            continue
        ratio = spread([program.rate / client.rate for program, client in both], "{:.3f}".format)
        rates = spread([program.rate for program, _ in both], "{:.0f}".format)
        cpu = [spread([1000 * side.processor / side.requests for side in sides], "{:.2f}".format)
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


def read_rounds(file: Path) -> list[ThroughputRound]:
    """Return the rounds of an earlier start."""
    if not file.exists():
        return []
    kinds = {"side": str, "seconds": float, "processor": float}
    with file.open(newline="") as lines:
        return [ThroughputRound(**{key: kinds.get(key, int)(value) for key, value in row.items()})
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
    """Run at least `questions` questions, and at least as many as run at a time. `price`: dollars for an hour of the
    machine.

    `max_stages` and `max_new_tokens` (of a call) make questions shorter, to save time.
    """
    with one_line_errors():
        folder = output_folder(out, THROUGHPUT)
    file = folder / "runtime.csv"
    found, options = read_rounds(file), {"max_stages": max_stages, "max_new_tokens": max_new_tokens}

    def measure(url: str) -> None:
        LoggingEndpoint(url).warm_up()
        for at_a_time in map(int, concurrency.split(",")):
            asked = [p.question for p in draw_problems(numbers, 5, max(questions, at_a_time), held_out=True)]
            for each in run_rounds(url, asked, at_a_time, rounds, options):
                screen().print(f"{each}, {each.rate:.0f} tokens/s")
                found.append(each)
                with whole_file(file) as lines:
                    rows = csv.DictWriter(lines, [field.name for field in fields(ThroughputRound)])
                    rows.writeheader()
                    rows.writerows(map(asdict, found))

    if url:
        measure(url)
    elif rounds:
        with runtime_url(None, runtime) as address:
            measure(address)
    write_report(found, price, folder)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
