"""What policies for slow executors save, and what they cut off.

    FILE=../shared/data/sprint_trajectories_dev.jsonl
    .venv/bin/python benchmarks/bench_stragglers.py ideal $FILE
    .venv/bin/python benchmarks/bench_stragglers.py clock --questions 12
    .venv/bin/python benchmarks/bench_stragglers.py clock --source $FILE --scale 0.2 --questions 10
    .venv/bin/python benchmarks/bench_stragglers.py clock --source $FILE --scale 0.1 --questions 120 --step 0.01

`ideal` needs no runtime: it says what a policy leaves of recorded trajectories if every token takes the same time.
`clock` asks one question at a time under each policy in turn on one runtime, on Countdown or on a replay, where a run
is right if it differs from the recording by cuts alone. With `--step SECONDS` the programs are real and the runtime is
not: each token takes that long, and several questions are asked at once. Accuracy on Countdown needs a sweep:
`sprint-sgl bench --multirun program=sprint_stragglers program.straggler.quorum=null,0.75,0.5 task=countdown ...`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import fmean
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from benchmarks.measuring import AtLeastOne, Url, empty_cache, spread
from benchmarks.steady_backend import connect_runtime
from programs import sprint_program
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.replay import Replay, TrajectoryShape
from sprint_sgl.bench.runner import QuestionSample, Workload, answer_question
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.lang.registry import Method
from sprint_sgl.lang.straggler import StragglerPolicy
from sprint_sgl.runtime.server import DEFAULT_MODEL
from sprint_sgl.tasks.base import Task
from sprint_sgl.tasks.countdown.task import Countdown
from sprint_sgl.tasks.datasets import DataSource

AT_ONCE = 16  # questions, on a simulated runtime
app = typer.Typer(add_completion=False)
Source = Annotated[str, typer.Argument(help="recorded trajectories, as for task=replay")]


def policies(*budgets: int, patience: Sequence[float]) -> dict[str, StragglerPolicy]:
    """Return the policies by name, beginning with the one without rules."""
    return {
        "none": StragglerPolicy(),
        **{f"budget={n}": StragglerPolicy(budget=n) for n in budgets},
        **{f"patience={p:g}": StragglerPolicy(patience=p) for p in patience},
        **{f"quorum={q:g}": StragglerPolicy(quorum=q) for q in (0.75, 0.5)},
    }


def table(*columns: str) -> Table:
    found = Table(*columns, box=box.SIMPLE_HEAD)
    for column in found.columns[1:]:
        column.justify = "right"
    return found


def executions(shapes: Sequence[TrajectoryShape]) -> list[int]:
    return [tokens for shape in shapes for stage in shape.stages for tokens in stage.executions]


@app.command()
def ideal(source: Source) -> None:
    """Print the share of sequential tokens that each policy leaves, and of executions and tokens that it cuts."""
    shapes = [question.shape for question in Replay(DataSource(source), "response", 1.0, 4.0).questions()]
    wide = [stage.executions for shape in shapes for stage in shape.stages if len(stage.executions) > 1]
    longest = fmean(max(each) / fmean(each) for each in wide)
    screen().print(
        f"{len(shapes)} trajectories; the longest branch of {len(wide)} stages is {longest:.2f} times the mean"
    )
    found = table("policy", "sequential tokens", "executions cut", "their tokens cut")
    for name, policy in policies(1000, 500, 300, patience=(3, 2, 1.5)).items():
        left = [shape.cut(policy) for shape in shapes]
        before, after = executions(shapes), executions(left)
        found.add_row(
            name,
            f"{sum(shape.sequential for shape in left) / sum(shape.sequential for shape in shapes):.3f}",
            f"{fmean(a < b for a, b in zip(after, before, strict=True)):.1%}",
            f"{1 - sum(after) / sum(before):.1%}",
        )
    screen().print(found)


@dataclass(frozen=True)
class PolicyComparison:
    """Records under a policy and without one, of the same questions in the same order."""

    records: Sequence[Record]
    without: Sequence[Record]

    def row(self) -> tuple[str, ...]:
        pairs = [(one.trajectory, none.trajectory) for one, none in zip(self.records, self.without, strict=True)]
        ratios = [one.seconds / none.seconds for one, none in pairs]
        path, before = (sum(pair[k].sequential_tokens for pair in pairs) for k in (0, 1))
        counted = [execution for one, _ in pairs for stage in one.stages for execution in stage.executions]
        return (
            spread(ratios, "{:.2f}".format),
            f"{sum(one.seconds for one, _ in pairs) / sum(none.seconds for _, none in pairs):.2f}",
            f"{path / before:.2f}",
            f"{fmean(execution.status == 'cancelled' for execution in counted):.0%}",
            f"{sum(record.correct for record in self.records)} of {len(self.records)}",
        )


def task_of(source: str | None, scale: float, numbers: int, questions: int) -> Task:
    if source:
        return Replay(DataSource(source), "response", scale, 4.0)
    return Countdown(questions, [numbers], 7, "held_out", "Use {numbers} to make {target}")


@app.command()
def clock(
    source: str | None = None,
    scale: float = 0.2,
    numbers: int = 3,
    questions: AtLeastOne = 12,
    step: float | None = None,
    url: Url = None,
    name: Annotated[str | None, typer.Option("--runtime", help="a name in conf/runtime")] = None,
) -> None:
    """Print the seconds under each policy over those without: the median question (smallest, largest), and the sum."""
    task = task_of(source, scale, numbers, questions)
    tried = (
        policies(round(500 * scale), round(300 * scale), patience=(2, 1.5))
        if source
        else policies(120, 100, patience=(1.2, 1.05))
    )
    methods = [Method(name, sprint_program.bind(straggler=policy), 0.0, {}) for name, policy in tried.items()]
    asks = [QuestionSample(question) for question in islice(task.questions(), questions)]
    work = Workload(task, methods, lambda name: DEFAULT_MODEL, asks)
    with connect_runtime(step, url, name) as endpoint, ThreadPoolExecutor(AT_ONCE if step else 1) as pool:
        answer_question(work, methods[0], asks[0], endpoint)
        found = list(pool.map(partial(in_turns, work, endpoint), enumerate(asks)))
    shown = table("policy", "seconds, median question", "in all", "sequential tokens", "executions cut", "right")
    for name in tried:
        shown.add_row(name, *PolicyComparison([each[name] for each in found], [each["none"] for each in found]).row())
    screen().print(shown)


def in_turns(work: Workload, endpoint: Any, numbered: tuple[int, QuestionSample]) -> dict[str, Record]:
    """Ask a question under each policy, beginning with another policy for each question."""
    number, ask = numbered
    first = number % len(work.methods)
    records = {}
    for method in [*work.methods[first:], *work.methods[:first]]:
        empty_cache(endpoint)
        records[method.name] = answer_question(work, method, ask, endpoint)
    return records


if __name__ == "__main__":
    with one_line_errors():
        app()
