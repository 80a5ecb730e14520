"""Where SPRINT costs more than a sequential thought, whether anything tells so beforehand, and what a hedge saves.

    SPRINT=../shared/data/sprint_trajectories_dev.jsonl RFT=../shared/data/rft_responses_dev.jsonl
    .venv/bin/python benchmarks/bench_easy.py lengths $SPRINT $RFT
    .venv/bin/python benchmarks/bench_easy.py clock $SPRINT $RFT --scale 0.2
    .venv/bin/python benchmarks/bench_easy.py clock $SPRINT $RFT --scale 0.2 --step 0.01

Both read released responses to the same problems, a token for four characters. `lengths` needs no runtime. `clock`
replays the responses, one question at a time: SPRINT, the sequential thought, and `sprint_hedged`, in turns on one
runtime; with `--step SECONDS` the runtime is simulated, and each token takes that long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich import box
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.measuring import Url, empty_cache
from benchmarks.steady_backend import connect_runtime
from programs import hedged_program, sequential_program, sprint_program
from sprint_sgl import protocol
from sprint_sgl.bench.replay import StageShape, TrajectoryShape, filler_text
from sprint_sgl.bench.replay_backend import ReplayBackend
from sprint_sgl.bench.report.statistics import IntervalEstimate, ratio_of_means
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.trajectory import Trajectory

CHARACTERS_A_TOKEN = 4
LIMITS = (500, 1000, 1500, 2000, 3000, 10_000)
app = typer.Typer(add_completion=False)
T = TypeVar("T")
Sprint = Annotated[Path, typer.Argument(help="rows with `problem` and `response`: SPRINT's trajectories")]
Rft = Annotated[Path, typer.Argument(help="rows with `problem` and `response`: sequential thoughts")]


@dataclass(frozen=True)
class Pair:
    """One problem answered by both, in tokens."""

    problem: str
    shape: TrajectoryShape
    thought: int

    @property
    def first(self) -> StageShape:
        return self.shape.stages[0]

    def scaled(self, scale: float) -> Pair:
        def times(tokens: int) -> int:
            return max(1, round(tokens * scale))

        stages = tuple(
            StageShape(tuple(map(times, s.prompts)), times(s.tail), tuple(map(times, s.executions)))
            for s in self.shape.stages
        )
        shape = TrajectoryShape(times(self.shape.question), stages, times(self.shape.answer))
        return replace(self, shape=shape, thought=times(self.thought))

    def hedged(self, limit: int) -> int:
        """Return the tokens on the path if a thought of at most `limit` tokens runs beside."""
        return min(self.thought, self.shape.sequential) if self.thought <= limit else self.shape.sequential

    def hedged_total(self, limit: int) -> int:
        """Return the tokens of both until one ends, those of SPRINT in proportion."""
        share = self.hedged(limit) / self.shape.sequential
        return round(self.shape.total * share) + min(self.thought, limit, self.hedged(limit))


def pairs_of(sprint: Path, rft: Path) -> list[Pair]:
    """Return the problems that both files have, from short thoughts to long ones."""

    def rows(path: Path) -> Iterator[tuple[str, str]]:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            yield row["problem"].strip(), row["response"]

    planned = {
        problem: TrajectoryShape.of(protocol.parse(response), CHARACTERS_A_TOKEN) for problem, response in rows(sprint)
    }
    found = [
        Pair(problem, shape, len(response) // CHARACTERS_A_TOKEN)
        for problem, response in rows(rft)
        if (shape := planned.get(problem)) and shape.stages
    ]
    return sorted(found, key=lambda pair: pair.thought)


def parts(ordered: Sequence[T], count: int = 3) -> list[Sequence[T]]:
    """Return equal parts in order, and last the whole."""
    edges = [k * len(ordered) // count for k in range(count + 1)]
    return [*(ordered[a:b] for a, b in pairwise(edges)), ordered]


def format_estimate(found: IntervalEstimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def table(*columns: str) -> Table:
    made = Table(*columns, box=box.SIMPLE_HEAD)
    for column in made.columns:
        column.justify = "right"
    return made


def inline(stage: StageShape) -> int:
    """Return the tokens on the path if the planner itself carries out a stage of one prompt, without a fork."""
    if len(stage.executions) != 1:
        return TrajectoryShape(0, (stage,), 0).sequential
    return sum(stage.prompts) + stage.tail + stage.executions[0]


@app.command()
def lengths(sprint: Sprint, rft: Rft) -> None:
    """Print ratios of sequential tokens by length, signals known beforehand, thought limits, one-prompt stages."""
    pairs = pairs_of(sprint, rft)
    by_length = table("sequential thought", "n", "SPRINT / thought", *(f"hedged {n:,}" for n in LIMITS))
    for part in parts(pairs):
        thoughts = [pair.thought for pair in part]
        ratios = [ratio_of_means([pair.shape.sequential for pair in part], thoughts)]
        ratios += [ratio_of_means([pair.hedged(n) for pair in part], thoughts) for n in LIMITS]
        by_length.add_row(f"{thoughts[0]:,}-{thoughts[-1]:,}", str(len(part)), *map(format_estimate, ratios))
    costs = [ratio_of_means([p.hedged_total(n) for p in pairs], [p.shape.total for p in pairs]).value for n in LIMITS]
    by_length.add_row("total / SPRINT's", "", "1.00", *(f"{cost:.2f}" for cost in costs))
    screen().print(by_length)

    signals = table("known beforehand", "Spearman's rho with SPRINT / thought", "p")
    for name, values in {
        "characters of the question": [len(pair.problem) for pair in pairs],
        "prompts of the first plan": [len(pair.first.prompts) for pair in pairs],
        "tokens of the first plan": [sum(pair.first.prompts) + pair.first.tail for pair in pairs],
    }.items():
        found = spearmanr(values, [pair.shape.sequential / pair.thought for pair in pairs])
        signals.add_row(name, f"{found.statistic:+.2f}", f"{found.pvalue:.2f}")
    screen().print(signals)

    every = [protocol.parse(json.loads(line)["response"]) for line in sprint.read_text().splitlines()]
    stages = [stage for trajectory in every for stage in TrajectoryShape.of(trajectory, CHARACTERS_A_TOKEN).stages]
    alone = sum(len(stage.prompts) == 1 for stage in stages)
    longer = sum(map(inline, stages)) / sum(TrajectoryShape(0, (stage,), 0).sequential for stage in stages)
    screen().print(
        f"{alone} of {len(stages)} stages have one prompt; without their fork the path is {longer:.3f} as long"
    )


@dataclass(frozen=True)
class TimedPair:
    """The three runs of a pair."""

    pair: Pair
    sprint: Trajectory
    thought: Trajectory
    hedged: Trajectory


def time_pair(pair: Pair, endpoint: Any, limit: int, number: int) -> TimedPair:
    """Run the three programs on a pair, in another order for each pair."""
    question = filler_text(pair.shape.question, seed=number)
    runs: dict[str, Trajectory] = {}
    programs = {"sprint": sprint_program, "thought": sequential_program, "hedged": hedged_program}
    names = list(programs)
    for name in names[number % 3 :] + names[: number % 3]:
        empty_cache(endpoint)
        options = {"thought_tokens": limit} if name == "hedged" else {}
        backend = ReplayBackend(endpoint, pair.shape, pair.thought)
        runs[name] = programs[name].run(question, backend=backend, **options).trajectory
    return TimedPair(pair, runs["sprint"], runs["thought"], runs["hedged"])


@app.command()
def clock(
    sprint: Sprint,
    rft: Rft,
    scale: float = 0.2,
    limit: int = 2000,
    step: float | None = None,
    url: Url = None,
    name: Annotated[str | None, typer.Option("--runtime", help="a name in conf/runtime")] = None,
) -> None:
    """Print seconds and tokens of SPRINT and of the hedge over those of the sequential thought, by length."""
    pairs = [pair.scaled(scale) for pair in pairs_of(sprint, rft)]
    with connect_runtime(step, url, name) as endpoint:
        time_pair(pairs[0], endpoint, 1, 0)
        found = [time_pair(pair, endpoint, round(limit * scale), k) for k, pair in enumerate(pairs)]
    shown_by = table(
        "thought", "n", "SPRINT, tokens", "seconds", "hedged, tokens", "seconds", "total / SPRINT's", "won"
    )
    for part in parts(found):
        tokens, seconds = [each.thought.sequential_tokens for each in part], [each.thought.seconds for each in part]
        shown_by.add_row(
            f"{tokens[0]:,}-{tokens[-1]:,}",
            str(len(part)),
            format_estimate(ratio_of_means([each.sprint.sequential_tokens for each in part], tokens)),
            format_estimate(ratio_of_means([each.sprint.seconds for each in part], seconds)),
            format_estimate(ratio_of_means([each.hedged.sequential_tokens for each in part], tokens)),
            format_estimate(ratio_of_means([each.hedged.seconds for each in part], seconds)),
            f"{sum(e.hedged.total_tokens for e in part) / sum(e.sprint.total_tokens for e in part):.2f}",
            f"{sum(each.hedged.launch == 'sequential' for each in part)}",
        )
    screen().print(shown_by)


if __name__ == "__main__":
    with one_line_errors():
        app()
