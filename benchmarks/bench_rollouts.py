"""Compare the rollouts of reinforcement learning with `run_batch` alone: tokens/s at the same temperature.

    .venv/bin/python benchmarks/bench_rollouts.py --rounds 5

Rollouts keep token ids and log-probabilities of every call, grade answers and write records; `run_batch` does none of
that. Both sides answer the same questions in turns on one runtime, with an emptied cache.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.measuring import AtLeastOne, Runtime, Url, empty_cache, runtime_url, spread
from programs import sprint_program
from sprint_sgl.bench.runner import QuestionSample, Workload
from sprint_sgl.config import compose_file, instantiate_target
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.registry import build_method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.server import DEFAULT_MODEL
from training.rl.recording import RecordingEndpoint
from training.rl.rollout import RoundFolder


def batch_rate(endpoint: Endpoint, work: Workload) -> float:
    """Return the tokens/s of `run_batch`."""
    begun = time.perf_counter()
    states = sprint_program.run_batch(
        [sample.question.text for sample in work.samples],
        backend=endpoint,
        num_threads=work.concurrency,
        temperature=work.temperature,
    )
    seconds = time.perf_counter() - begun
    return sum(state.trajectory.total_tokens for state in states) / seconds


def rollout_rate(endpoint: RecordingEndpoint, work: Workload) -> float:
    """Return the tokens/s of a round's rollouts."""
    with TemporaryDirectory() as folder:
        rollouts = RoundFolder.of(Path(folder))
        begun = time.perf_counter()
        rollouts.collect(work, endpoint)
        seconds = time.perf_counter() - begun
    return sum(run.record.trajectory.total_tokens for run in rollouts.runs.values()) / seconds


def main(
    rounds: AtLeastOne = 5,
    questions: AtLeastOne = 8,
    group_size: AtLeastOne = 4,
    concurrency: AtLeastOne = 32,
    model: Annotated[str, typer.Option(help="a folder or a shipped model")] = DEFAULT_MODEL,
    url: Url = None,
    runtime: Runtime = None,
) -> None:
    """Ask `questions` problems of three numbers `group_size` times each, on both sides, `rounds` times."""
    task = instantiate_target(compose_file("task", "countdown") | {"numbers": [3], "problems": questions}, "task")
    samples = [QuestionSample(each, k) for each in task.questions() for k in range(group_size)]
    method = build_method(compose_file("program", "sprint"))
    work = Workload(task, [method], lambda method: model, samples, 1.0, None, 1, concurrency)
    ratios, rates = [], []
    with runtime_url(url, runtime, model) as address:
        plain, recording = Endpoint(address), RecordingEndpoint(address)
        plain.warm_up()
        for number in range(rounds):
            found = {}
            for side in ("run_batch", "rollouts") if number % 2 else ("rollouts", "run_batch"):
                empty_cache(plain)
                found[side] = batch_rate(plain, work) if side == "run_batch" else rollout_rate(recording, work)
            screen().print(", ".join(f"{side} {rate:.0f} tokens/s" for side, rate in found.items()))
            ratios.append(found["rollouts"] / found["run_batch"])
            rates.append(found["rollouts"])
    screen().print(f"rollouts reach {spread(ratios)} of run_batch, {spread(rates, '{:.0f}'.format)} tokens/s")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
