"""How near the prefix cache comes to an unlimited one, for contexts sent as token ids and as text.

    .venv/bin/python benchmarks/bench_prefix.py --questions 6

Countdown on the shipped model, then the same shapes on a model of random weights whose tokenizer is a byte-level BPE
like Qwen's, which tokenises what the model wrote in another way. Last, a KV pool that is too small.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from rich.table import Table

from benchmarks.bpe_model import make_bpe_model
from benchmarks.ideal_cache import CacheRequest, ideal_uncached
from benchmarks.measuring import AtLeastOne, Runtime, empty_cache, spread
from programs import sprint_program
from sprint_sgl.bench.replay import TrajectoryShape, filler_text
from sprint_sgl.bench.replay_backend import ReplayBackend
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.messages import GENERATE
from sprint_sgl.runtime.server import DEFAULT_MODEL
from sprint_sgl.runtime.tokenizer import transformers_tokenizer
from sprint_sgl.runtime.transport import Transport
from sprint_sgl.tasks.countdown.problem import draw_problems
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.validation import REQUEST_LIMIT

Ask = Callable[[Endpoint], Trajectory]


class RecordingTransport(Transport):
    """A transport that keeps every generation request with the tokens that the runtime saw."""

    def __init__(self, url: str, tokenizer: str) -> None:
        super().__init__(url, None, time_limit=REQUEST_LIMIT, reconnects=0, connect_limit=5.0)
        self.requests: list[CacheRequest] = []
        found = transformers_tokenizer(tokenizer)
        assert found, f"{tokenizer} is not on this machine"
        self._encode = found.encode_first

    def send(self, method: str, path: str, body: Any = None, time_limit: float | None = None, **more: Any) -> Any:
        start = time.perf_counter()
        response = super().send(method, path, body, time_limit, **more)
        if path == GENERATE and "rid" in body and response.status_code == 200:
            prompt = body["input_ids"] if "input_ids" in body else self._encode(body["text"])
            answer = response.json()
            cached = answer["meta_info"]["cached_tokens"]
            self.requests.append(CacheRequest(prompt, answer["output_ids"], start, time.perf_counter(), cached))
        return response


def measure(
    url: str, token_prompts: bool, asks: list[Ask], concurrency: int
) -> tuple[list[CacheRequest], list[Trajectory]]:
    endpoint = Endpoint(url, token_prompts=token_prompts)
    recorder = endpoint._transport = RecordingTransport(url, endpoint.model_info["tokenizer_path"])
    with closing(endpoint), ThreadPoolExecutor(concurrency) as pool:
        empty_cache(endpoint)
        return recorder.requests, list(pool.map(lambda ask: ask(endpoint), asks))


def countdown_ask(question: str, seed: int) -> Ask:
    return lambda endpoint: sprint_program.run(question, seed=seed, backend=endpoint).trajectory


def replay_ask(shape: TrajectoryShape, number: int) -> Ask:
    def ask(endpoint: Endpoint) -> Trajectory:
        text = filler_text(shape.question, seed=number)
        return sprint_program.run(text, temperature=1.0, backend=ReplayBackend(endpoint, shape)).trajectory

    return ask


def add(table: Table, name: str, url: str, asks: list[Ask], concurrency: int, rounds: int) -> list[Trajectory]:
    """Add a row for either way of sending contexts, measured in turns; return the last trajectories."""
    ratios: dict[bool, list[float]] = {True: [], False: []}
    uncached: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for token_prompts in (True, False):
            requests, trajectories = measure(url, token_prompts, asks, concurrency)
            uncached[token_prompts].append(sum(r.uncached for r in requests) / len(asks))
            if token_prompts:
                ideal = ideal_uncached(requests) / len(asks)
            ratios[token_prompts].append(uncached[token_prompts][-1] / ideal)
    for token_prompts, label in ((True, "token ids"), (False, "text")):
        computed, ratio = statistics.median(uncached[token_prompts]), spread(ratios[token_prompts])
        table.add_row(name, label, f"{computed:,.0f}", ratio)
    return trajectories


def main(
    questions: AtLeastOne = 6,
    concurrency: AtLeastOne = 2,
    rounds: AtLeastOne = 3,
    pressed_pool: AtLeastOne = 4096,
    runtime: Runtime = None,
) -> None:
    table = Table(title=f"Prompt tokens computed a question, {rounds} rounds", title_justify="left")
    for column in ("model", "contexts as", "computed", "against the ideal of token ids"):
        table.add_column(column)
    asks = [countdown_ask(p.question, k) for k, p in enumerate(draw_problems(3, 5, questions, held_out=True))]
    with running_server(DEFAULT_MODEL, runtime=runtime) as server:
        written = add(table, "Countdown, shipped model", server.url, asks, concurrency, rounds)
    shapes = [TrajectoryShape.of(trajectory) for trajectory in written]
    replays = [replay_ask(shape, number) for number, shape in enumerate(shapes)]
    with TemporaryDirectory() as folder:
        model = make_bpe_model(Path(folder))
        with running_server(str(model), runtime=runtime) as server:
            add(table, "the same shapes, BPE", server.url, replays, concurrency, rounds)
        with running_server(str(model), runtime=runtime, max_total_tokens=pressed_pool) as server:
            add(table, f"the same, {pressed_pool:,} tokens of KV", server.url, replays, 4 * concurrency, 1)
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
