"""Measure how well tool calls overlap: the seconds of a run over its ideal, and against one call after the other.

    .venv/bin/python benchmarks/bench_tools.py --widths 2,4,8,16 --concurrency 1,16 --rounds 3

A scripted planner writes one stage of WIDTH calls, PACE seconds each; the tool waits 0.5 s. The ideal is the planner's
own seconds plus one call of the tool. `one by one` allows the tool one call of a question at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import typer
from rich.table import Table

from programs import sprint_program
from sprint_sgl import protocol
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime.executor import context_of
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.tools import Tool, Toolbox
from sprint_sgl.trajectory import Trajectory
from tests.fakes.planners import plan, planner
from tests.fakes.scripted import cut

LATENCY, PACE = 0.5, 0.02  # seconds


class PacedPlanner(BaseBackend):  # type: ignore[misc]
    """Write a text from where the context ends, each call in PACE seconds; it uses hardly any CPU time."""

    prompt_style = DEFAULT_PROMPT_STYLE

    def __init__(self, script: Callable[[str], str]) -> None:
        super().__init__()
        self.script = script

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        start = time.perf_counter()
        text, finish = cut(self.script(context_of(s)), sampling_params.stop, sampling_params.max_new_tokens)
        time.sleep(PACE)
        meta = {"completion_tokens": len(text.split()), "finish_reason": finish, "start": start}
        return text, meta | {"end": time.perf_counter()}


async def lookup(key: int) -> str:
    """Wait as long as a remote service would."""
    await asyncio.sleep(LATENCY)
    return f"value of {key}"


def run_questions(width: int, concurrency: int, parallel: int) -> list[Trajectory]:
    """Return the runs of so many questions at a time."""
    text = plan(1, *(f"lookup({number})" for number in range(width)))
    backend = PacedPlanner(planner(text, protocol.render_final_answer("done")))
    with Toolbox([Tool.from_function(lookup, parallel=parallel)]) as box:
        questions = [f"Question {number}" for number in range(concurrency)]
        states = sprint_program.run_batch(questions, backend=backend, tools=box, num_threads=concurrency)
        return [state.trajectory for state in states]


def over_ideal(run: Trajectory) -> float:
    """Return the seconds of a run over those of its planner and one tool."""
    planner_seconds = sum(call.seconds for call in run.calls if not call.tool)
    return run.seconds / (planner_seconds + LATENCY)


def main(
    widths: Annotated[str, typer.Option(help="calls in a stage")] = "2,4,8,16",
    concurrency: Annotated[str, typer.Option(help="questions at a time")] = "1,16",
    rounds: int = 3,
) -> None:
    table = Table("calls", "questions at a time", "over the ideal", "worst", "one by one", "times as fast")
    for column in table.columns:
        column.justify = "right"
    for at_a_time in map(int, concurrency.split(",")):
        for width in map(int, widths.split(",")):
            ratios: list[float] = []
            seconds: list[float] = []
            for _ in range(rounds):
                runs = run_questions(width, at_a_time, parallel=width * at_a_time)
                ratios += map(over_ideal, runs)
                seconds += [run.seconds for run in runs]
            alone = run_questions(width, 1, parallel=1)[0].seconds
            table.add_row(
                *(f"{width}", f"{at_a_time}", f"{median(ratios):.3f}", f"{max(ratios):.3f}", f"{alone:.2f} s"),
                f"{alone / median(seconds):.1f}",
            )
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
