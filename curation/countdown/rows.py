"""The training rows of Countdown-mini: problems -> traces -> packing -> filter -> SPRINT and RFT rows.

python -m curation.countdown.rows out=work/countdown problems.three=6000 problems.four=14000
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import filterfalse, islice

from rich.progress import track

from curation.countdown.drills import distance_drill, division_drill, drill
from curation.countdown.traces import needs_second_round, write_trace
from curation.countdown.variation import Variation, vary
from curation.jsonl import write_jsonl
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from sprint_sgl.config import entry_point
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol import format_named
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.storage.output_folders import COUNTDOWN_ROWS, begin_run
from sprint_sgl.tasks.countdown.problem import Problem, generate_problems
from sprint_sgl.training_rows import Row


@dataclass
class Problems:
    """Numbers of problems.

    three     of three numbers
    four      of four numbers
    hard      of four numbers that take a second round of attempts
    unsolved  of four numbers that the search of the traces does not solve
    """

    three: int = 3000
    four: int = 6600
    hard: int = 0
    unsolved: int = 0
    seed: int = 1


@dataclass
class CountdownRowsConfig:
    """The problems, and the form and the folder of the rows.

    row_format   tree or transcript (curation/stages/reformat.py)
    protocol     the format of parallel reasoning: sprint, apr, pasta or threads (sprint_sgl/protocol/formats.py)
    drills       rows of arithmetic in the training rows of both kinds, half of them quotients
    min_ratio    the paper's filter on #steps / #stages
    validation   number of trajectories held out for evaluation
    variation    how often plans differ (curation/countdown/variation.py), for reinforcement learning
    """

    out: str = "work/countdown"
    problems: Problems = field(default_factory=Problems)
    prompt_style: str = "mini"
    row_format: RowFormat = RowFormat.tree
    protocol: str = "sprint"
    drills: int = 0
    min_ratio: float = 1.5
    validation: int = 40
    variation: Variation = field(default_factory=Variation)


def training_problems(config: Problems) -> Iterator[Problem]:
    """Yield problems of each kind, shuffled, without the problems held out for benchmarks."""
    three, four = (generate_problems(size, config.seed, held_out=False) for size in (3, 4))
    found = [*islice(three, config.three), *islice(four, config.four)]
    second_round = filter(needs_second_round, four)
    found += islice(filter(write_trace, second_round), config.hard)
    found += islice(filterfalse(write_trace, second_round), config.unsolved)
    random.Random(config.seed).shuffle(found)
    return iter(found)


def make_rows(config: CountdownRowsConfig) -> dict[str, int]:
    """Write steps.jsonl and {sprint,rft}.{train,valid}.jsonl; return the number of rows of each.

    In another format its name takes the place of `sprint`.
    """
    format = format_named(config.protocol)
    style, rng = prompt_style(config.prompt_style), random.Random(config.problems.seed)
    out = begin_run(config.out, COUNTDOWN_ROWS, asdict(config))
    wanted = config.problems
    total = wanted.three + wanted.four + wanted.hard + wanted.unsolved
    problems = track(training_problems(wanted), "writing traces", total)
    traces = [trace for problem in problems if (trace := write_trace(problem, unsolved=wanted.unsolved > 0))]
    traces = [vary(trace, random.Random(trace.id), config.variation) for trace in traces]
    packed = [(trace, pack(trace)) for trace in traces]
    kept = [(trace, result.trajectory) for trace, result in packed if result.ratio >= config.min_ratio]
    if len(kept) <= config.validation:
        raise BadInput(f"validation must be below the number of kept traces, {len(kept)}, got {config.validation}")
    counts = {"steps.jsonl": write_jsonl(out / "steps.jsonl", (trace.to_dict() for trace in traces))}
    for split, part in (("valid", kept[: config.validation]), ("train", kept[config.validation :])):
        arithmetic = [] if split == "valid" else list(islice(make_drills(rng), config.drills))
        kinds: dict[str, list[Row]] = {
            format.name: [sprint_row(trajectory, style, config.row_format, format) for _, trajectory in part],
            "rft": [rft_row(trace, style) for trace, _ in part],
        }
        for kind, rows in kinds.items():
            file, mixed = f"{kind}.{split}.jsonl", rows + arithmetic
            counts[file] = write_jsonl(out / file, rng.sample(mixed, len(mixed)))
    return counts


def make_drills(rng: random.Random) -> Iterator[Row]:
    """Yield drills without end: every second of quotients, every fourth of distances, the others of all operations."""
    while True:
        yield from (drill(rng), division_drill(rng), distance_drill(rng), division_drill(rng))


@entry_point("countdown_rows", CountdownRowsConfig)
def main(config: CountdownRowsConfig) -> None:
    for name, count in make_rows(config).items():
        print(f"{config.out}/{name}: {count} rows")


if __name__ == "__main__":
    main()
