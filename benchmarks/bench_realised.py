"""Measure how much of the speed-up promised by token counts is realised on the clock.

    .venv/bin/python benchmarks/bench_realised.py --questions 12 --rounds 3
    .venv/bin/python benchmarks/bench_realised.py --trajectories FILE --scale 0.2
    .venv/bin/python benchmarks/bench_realised.py --model work/mini/85m --trajectories FILE --scale 0.1 --concurrency 1

Realised: seconds of the sequential program divided by those of SPRINT. Promised: tokens of the sequential program
divided by SPRINT's sequential tokens. Both programs run in turns on one runtime: first Countdown, with a model for each
program; then replays of recorded shapes (of the Countdown runs, or of a file), in which both write the same number of
tokens. `--model` is the model for replays: a larger one with random weights shows the speed-up when weights do not fit
into the processor's cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import typer
from rich.table import Table

from benchmarks.measuring import AtLeastOne, Runtime, Url, empty_cache, runtime_url, spread
from programs import sequential_program, sprint_program
from sprint_sgl.bench.replay import Replay, TrajectoryShape, filler_text
from sprint_sgl.bench.replay_backend import ReplayBackend, tag_token_bias
from sprint_sgl.console import one_line_errors, say, screen
from sprint_sgl.lang.program import Program
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import DEFAULT_BASELINE, connect
from sprint_sgl.runtime.server import DEFAULT_MODEL, resolve_model
from sprint_sgl.tasks.countdown.problem import draw_problems
from sprint_sgl.tasks.datasets import DataSource
from sprint_sgl.trajectory import Trajectory

Ask = Callable[[Program], Trajectory]


@dataclass(frozen=True)
class Pass:
    """All questions once: total seconds, and the trajectories."""

    seconds: float
    trajectories: tuple[Trajectory, ...]

    @property
    def sequential_tokens(self) -> int:
        """Sequential tokens of all trajectories."""
        return sum(each.sequential_tokens for each in self.trajectories)

    @property
    def tokens_per_second(self) -> float:
        return sum(each.total_tokens for each in self.trajectories) / self.seconds


def run_pass(endpoint: Endpoint, program: Program, asks: Sequence[Ask], concurrency: int) -> Pass:
    """Run all questions once on an empty cache."""
    empty_cache(endpoint)
    begun = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        trajectories = tuple(pool.map(lambda ask: ask(program), asks))
    return Pass(time.perf_counter() - begun, trajectories)


def solve_question(question: str) -> Ask:
    """Return a function that solves the question with a program."""
    return lambda program: program.run(question, temperature=0.0).trajectory


def replay_shape(endpoint: Endpoint, shape: TrajectoryShape, number: int) -> Ask:
    """Return a function that replays the shape with a program."""
    text = filler_text(shape.question, seed=number)
    tag_token_bias(str(endpoint.model_info["tokenizer_path"]))  # fills its cache before the clock starts
    limits = {"max_stages": len(shape.stages) + 2}
    return lambda program: (
        program.run(
            text,
            temperature=0.6,
            backend=ReplayBackend(endpoint, shape),
            **(limits if "max_stages" in program.arg_names else {}),
        ).trajectory
    )


def add_comparison(
    table: Table,
    name: str,
    endpoint: Endpoint,
    asks: Sequence[Ask],
    rounds: int,
    concurrency: int,
    models: Sequence[str],
) -> tuple[Trajectory, ...]:
    """Add a row to the table and return SPRINT's trajectories of the last round."""
    realised, promised = [], []
    for _ in range(rounds):
        found = []
        for model, program in zip(models, (sequential_program, sprint_program), strict=True):
            if resolve_model(model) != endpoint.get_model_name():
                endpoint.load_weights(resolve_model(model))
            endpoint.warm_up()
            found.append(run_pass(endpoint, program, asks, concurrency))
        alone, sprint = found
        realised.append(alone.seconds / sprint.seconds)
        promised.append(alone.sequential_tokens / sprint.sequential_tokens)
        say(f"{name}, {concurrency} at a time: realised {realised[-1]:.3f}, promised {promised[-1]:.3f}")
    shares = [a / b for a, b in zip(realised, promised, strict=True)]
    table.add_row(name, str(concurrency), str(len(asks)), *map(spread, (realised, promised, shares)))
    return sprint.trajectories


def load_shapes(path: Path, scale: float, most: int | None = None) -> list[TrajectoryShape]:
    """Return the shapes of the first `most` recorded trajectories, by default of all."""
    task = Replay(DataSource(path=str(path)), column="response", scale=scale, characters_a_token=4.0)
    return [question.shape for question in islice(task.questions(), most)]


def main(
    questions: AtLeastOne = 12,
    rounds: AtLeastOne = 3,
    concurrency: str = "1,16",
    trajectories: Path | None = None,
    scale: float = 1.0,
    model: str | None = None,
    url: Url = None,
    runtime: Runtime = None,
) -> None:
    """Run at least `questions` questions, and at least as many as run at a time."""
    if model and not trajectories:
        raise typer.BadParameter("--model is for replays only: add --trajectories FILE")
    levels = [int(level) for level in concurrency.split(",")]
    table = Table(title=f"Median of {rounds} rounds (least-most)", title_justify="left")
    for column in ("load", "at a time", "questions", "realised", "promised", "realised / promised"):
        table.add_column(column)
    with runtime_url(url, runtime, model or DEFAULT_MODEL) as address, connect(address) as endpoint:
        most = max(questions, *levels)
        asks = [solve_question(p.question) for p in draw_problems(3, 5, most, held_out=True)]
        written: tuple[Trajectory, ...] = ()
        for level in levels if not model else ():
            both = (DEFAULT_BASELINE, DEFAULT_MODEL)
            written = add_comparison(
                table, "Countdown, 3 numbers", endpoint, asks[: max(questions, level)], rounds, level, both
            )
        shapes = (
            load_shapes(trajectories, scale, most) if trajectories else [TrajectoryShape.of(each) for each in written]
        )
        replays = [replay_shape(endpoint, shape, number) for number, shape in enumerate(shapes)]
        for level in levels if replays else ():
            some = replays[: max(questions, level)]
            add_comparison(table, "replay", endpoint, some, rounds, level, [model or DEFAULT_MODEL] * 2)
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
