"""Compare a gateway's policies: two CPU runtimes, the same questions through each policy and through one runtime alone.

    .venv/bin/python benchmarks/bench_gateway.py --questions 24 --concurrency 6 --rounds 3 --out work/gateway

All sides run in turns on the same two runtimes, with emptied caches. Prints medians with their range, and a worker's
figures for `sprint-sgl fleet` (not with `--no-figures`). --out keeps the records of the first policy, which `sprint-sgl
fleet path=OUT/records.jsonl worker=cpu_mini workers=2 questions=24 concurrency=3` simulates.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer
from rich.table import Table

from benchmarks.measuring import AtLeastOne, empty_cache, spread
from programs import sprint_program
from sprint_sgl.bench.records import Record
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.gateway import start_gateway
from sprint_sgl.runtime.server import (
    RuntimeConfig,
    ServerProcess,
    free_port,
    runtime_config,
    start_server,
    wait_until_ready,
)
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import begin_run, kind_with_run_file
from sprint_sgl.tasks.countdown.problem import draw_problems
from sprint_sgl.trajectory import Trajectory

GATEWAY = kind_with_run_file("benchmarks/bench_gateway.py", "--out ")
ONE = "one runtime, no gateway"
CLIENT = httpx.Client(timeout=600.0)  # shared: creating a client takes longer than the runtime takes for a request


@dataclass(frozen=True)
class GatewayRound:
    """One pass over the questions. `cached` and `cached_forks` are shares of prompt tokens, of all calls and of
    executors.
    """

    seconds: float
    cached: float
    cached_forks: float
    uncached: float  # prompt tokens computed a question
    client: float  # CPU seconds of this process a call
    gateway: float  # CPU seconds of the gateway a call


def cpu_seconds(server: ServerProcess) -> float:
    """Return the CPU time of all processes below the server's supervisor."""
    times = [each.cpu_times() for each in psutil.Process(server.supervisor.pid).children(recursive=True)]
    return sum(each.user + each.system for each in times)


def run_round(
    questions: Sequence[str], concurrency: int, endpoint: Endpoint, server: ServerProcess
) -> tuple[GatewayRound, list[Trajectory]]:
    """Run all questions once."""
    begun, spent, before = time.monotonic(), time.process_time(), cpu_seconds(server)
    rows = [(question,) for question in questions]
    states = sprint_program.run_batch(rows, temperature=0, num_threads=concurrency, backend=endpoint)
    runs = [state.trajectory for state in states]
    seconds, spent = time.monotonic() - begun, time.process_time() - spent
    calls = [call for run in runs for call in run.calls]
    forks = [e.call for run in runs for stage in run.stages for e in stage.executions if e.call]
    uncached = sum(call.uncached_prefill_tokens for call in calls) / len(runs)
    shares = [sum(c.cached_tokens for c in some) / sum(c.prompt_tokens for c in some) for some in (calls, forks)]
    gateway = (cpu_seconds(server) - before) / len(calls)
    return GatewayRound(seconds, shares[0], shares[1], uncached, spent / len(calls), gateway), runs


def rounds_table(rounds: dict[str, list[GatewayRound]]) -> Table:
    """Return medians with their range over the rounds of each side."""
    found = Table(title="median (range) of the rounds")
    for heading in ("", "cached", "cached, forks", "uncached a question", "seconds", "seconds against one runtime"):
        found.add_column(heading, justify="left" if not heading else "right")
    for name, each in rounds.items():
        against = [a.seconds / b.seconds for a, b in zip(each, rounds[ONE], strict=True)]
        found.add_row(
            name,
            spread([r.cached for r in each], "{:.1%}".format),
            spread([r.cached_forks for r in each], "{:.1%}".format),
            spread([r.uncached for r in each], "{:.0f}".format),
            spread([r.seconds for r in each], "{:.1f}".format),
            spread(against, "{:.2f}".format),
        )
    return found


def generate(url: str, prompt: list[int], tokens: int) -> float:
    """Return the seconds of one request for `tokens` tokens."""
    params = {"max_new_tokens": tokens, "ignore_eos": True, "temperature": 0}
    begun = time.monotonic()
    body = {"input_ids": prompt, "sampling_params": params}
    CLIENT.post(f"{url}/generate", json=body).raise_for_status()
    return time.monotonic() - begun


def run_concurrently(calls: Sequence[Callable[[], float]]) -> float:
    """Return the seconds until all calls, each in its own thread, are done."""
    begun = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
    return time.monotonic() - begun


def worker_figures(
    urls: Sequence[str], tokens: int = 200, batch: int = 8, context: int = 1500, prompt: int = 2000
) -> dict[str, float]:
    """Measure the constants of conf/worker, of each runtime while the others do the same.

    tokens    written by each request
    batch     requests at a time
    context   tokens of the long context; the short one has 8
    prompt    tokens by which the longer of two prefills is longer
    """

    def decode(batch: int, start: int, context: int = 8) -> float:
        prompts = [[5 + (start + k) % 60, *(5 + j % 60 for j in range(context))] for k in range(batch)]
        for _ in range(2):  # the first pass fills the cache
            took = run_concurrently([lambda u=u, p=p: generate(u, p, tokens) for u in urls for p in prompts])
        return took / tokens

    def prefill(length: int, start: int) -> float:
        ids = [5 + (start * 7 + k * k) % 60 for k in range(length)]
        return run_concurrently([lambda u=u: generate(u, ids, 1) for u in urls])

    one, many, long = decode(1, 0), decode(batch, 10), decode(batch, 30, context)
    fills = [(prefill(200, k), prefill(200 + prompt, k)) for k in range(1, 6)]
    alone = statistics.median(generate(urls[0], [5, 6, 7], 1) for _ in range(20))
    crowd = run_concurrently([lambda u=u: generate(u, [5, 6, 7], 1) for u in urls for _ in range(60)]) / 60
    a_request = (many - one) / (batch - 1)
    return {
        "step": one - a_request,
        "step_per_request": a_request,
        "step_per_token": (long - many) / (batch * context),
        "prefill": statistics.median((b - a) / prompt for a, b in fills),
        "admission": crowd,
        "request": max(alone - crowd, 0.0),
    }


def main(
    questions: AtLeastOne = 24,
    concurrency: AtLeastOne = 6,
    rounds: AtLeastOne = 3,
    numbers: int = 3,
    policies: Annotated[str, typer.Option(help="the gateway's policies, comma-separated")] = "cache_aware,round_robin",
    measure: Annotated[bool, typer.Option("--figures/--no-figures")] = True,
    out: str | None = None,
) -> None:
    with one_line_errors():
        folder = begin_run(out, GATEWAY, {"rounds": rounds, "questions": questions}) if out is not None else None
    asked = [problem.question for problem in draw_problems(numbers, 5, questions, held_out=True)]
    with ExitStack() as stack:
        workers = [start_server(runtime_config("cpu")) for _ in range(2)]
        for worker in workers:
            stack.callback(worker.stop)
        for worker in workers:
            wait_until_ready(worker, 300.0)
        sides = {ONE: workers[0]}
        for policy in policies.split(","):
            config = RuntimeConfig(workers=2, policy=policy)
            gateway = start_gateway([w.url for w in workers], config, "127.0.0.1", free_port())
            stack.callback(gateway.stop)
            wait_until_ready(gateway, 60.0, "/readiness")
            sides[policy] = gateway
        endpoints = {name: Endpoint(server.url) for name, server in sides.items()}
        apart = [Endpoint(worker.url) for worker in workers]
        for worker, endpoint in zip(workers, apart, strict=True):
            run_round(asked[:2], 2, endpoint, worker)
        if measure:
            screen().print(
                {
                    name: float(f"{value:.3g}")
                    for name, value in worker_figures([worker.url for worker in workers]).items()
                }
            )
        found: dict[str, list[GatewayRound]] = {name: [] for name in sides}
        for number in range(rounds):
            for name, endpoint in endpoints.items():
                for each in apart:
                    empty_cache(each)
                measured, runs = run_round(asked, concurrency, endpoint, sides[name])
                found[name].append(measured)
                screen().print(f"{name}: {measured.seconds:.1f} s, forks {measured.cached_forks:.1%}", style="dim")
                if folder and number == 0 and name == policies.partition(",")[0]:
                    write_records(folder, runs)
        screen().print(rounds_table(found))
        clients = [r.client for each in found.values() for r in each]
        gateways = [r.gateway for name, each in found.items() if name != ONE for r in each]
        screen().print(f"CPU time of a call, this process: {spread([c * 1000 for c in clients], '{:.1f}'.format)} ms")
        screen().print(f"CPU time of a call, gateway:      {spread([c * 1000 for c in gateways], '{:.2f}'.format)} ms")


def write_records(out: Path, runs: Sequence[Trajectory]) -> None:
    """Write the runs as benchmark records."""
    with whole_file(out / "records.jsonl") as file:
        for number, run in enumerate(runs):
            record = Record("sprint", str(number), 0, "", run.question, "", run.final_answer, True, "", True, run)
            file.write(record.to_json() + "\n")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
