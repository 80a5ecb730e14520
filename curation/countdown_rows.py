"""Makes the training rows of Countdown-mini: problems -> traces -> packing -> filter -> SPRINT and RFT rows.

python -m curation.countdown_rows out=work/countdown problems.three=6000 problems.four=14000
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track

from curation.arithmetic import divisions, drill
from curation.countdown import write
from curation.pack import pack
from curation.reformat import Row, RowFormat, lone_executor_rows, make_row, rft_row, sprint_rows
from curation.stages import write_jsonl
from curation.trace import Trace
from sprint_sgl import tags
from sprint_sgl.countdown import Problem, drawn
from sprint_sgl.errors import BadInput
from sprint_sgl.prompts import PromptStyle, prompt_style
from sprint_sgl.settings import entry_point

HIT = "\nSo "  # how an execution goes on that has met the target


@dataclass
class Problems:
    three: int = 3000
    four: int = 6600
    seed: int = 1


@dataclass
class Config:
    """Where the rows go and what they are.

    row_format   transcript, per_call or mixed (see curation/reformat.py)
    wholes       share of the trajectories whose transcript is kept in mixed
    begun        share of the transcripts whose first stage is context only: its executors have rows of their own
    executors    executor rows kept of each trajectory, longer ones less often
    plans        planner rows kept of each trajectory in per_call
    hits         whether the executor that met the target is always among them
    drills       rows of plain arithmetic, the same for both models
    divisions    rows of quotients alone
    tries        single steps kept of each trace as rows of their own, those that meet the target three times as often
    practice     the same, among both models' rows and in the form of each
    min_ratio    the paper's filter on #steps / #stages
    validation   trajectories kept for evaluation
    """

    out: str = "work/countdown"
    problems: Problems = field(default_factory=Problems)
    prompt_style: str = "mini"
    row_format: RowFormat = RowFormat.mixed
    wholes: float = 1.0
    begun: float = 0.0
    executors: int = 2
    plans: int | None = None
    hits: bool = False
    drills: int = 0
    divisions: int = 0
    tries: int = 0
    practice: int = 0
    min_ratio: float = 1.5
    validation: int = 40


def training_problems(config: Problems) -> Iterator[Problem]:
    """Problems of both sizes, shuffled, none of them held out."""
    found = [
        problem
        for size, count in ((3, config.three), (4, config.four))
        for problem in drawn(size, config.seed, count, held_out=False)
    ]
    random.Random(config.seed).shuffle(found)
    return iter(found)


def rows_of(trace: Trace, config: Config, style: PromptStyle, rng: random.Random) -> tuple[list[Row], list[Row]] | None:
    """The SPRINT rows and the RFT rows of a trace, None where it is not parallel enough."""
    packed = pack(trace)
    if packed.ratio < config.min_ratio:
        return None

    prized = meets_target if config.hits else None
    begun = int(rng.random() < config.begun)
    rows = sprint_rows(packed.trajectory, style, config.row_format, config.executors, rng, prized, begun, config.plans)
    if config.row_format is RowFormat.mixed and rng.random() >= config.wholes:
        rows = rows[1:]
    alone = list(lone_executor_rows(packed.trajectory, tags.opening(trace.question, style)))
    rows += chosen(alone, [meets_target(row) for row in alone], config.practice, rng)
    return rows, [rft_row(trace, style), *try_rows(trace, config.practice, style, rng)]


def meets_target(row: Row) -> bool:
    """Whether what is trained is an execution that found the target."""
    return HIT in str(row["messages"][1]["content"])


def try_rows(trace: Trace, count: int, style: PromptStyle, rng: random.Random) -> list[Row]:
    """Practice in single steps: the question and a step's prompt as context, its execution as response."""
    steps = [step for step in trace.steps if step.prompt]
    opening = tags.sequential_opening(trace.question, style)
    rows = [make_row(f"{opening}{step.prompt}.\n", step.execution) for step in steps]
    return chosen(rows, [HIT in step.execution for step in steps], count, rng)


def chosen(rows: list[Row], hits: list[bool], count: int, rng: random.Random) -> list[Row]:
    return rng.choices(rows, [3 if hit else 1 for hit in hits], k=count)


def make(config: Config) -> dict[str, int]:
    """Writes traces.jsonl and {sprint,rft,tries}.{train,valid}.jsonl; returns the number of rows of each."""
    out, rng = Path(config.out), random.Random(config.problems.seed)
    out.mkdir(parents=True, exist_ok=True)
    style = prompt_style(config.prompt_style)
    total = config.problems.three + config.problems.four
    traces = [t for p in track(training_problems(config.problems), "writing traces", total) if (t := write(p))]
    kept = [(trace, both) for trace in traces if (both := rows_of(trace, config, style, rng))]
    if len(kept) <= config.validation:
        raise BadInput(f"{len(kept)} traces can be trained on, and validation={config.validation} takes them all")
    counts = {"traces.jsonl": write_jsonl(out / "traces.jsonl", (trace.to_dict() for trace in traces))}
    for split, part in (("valid", kept[: config.validation]), ("train", kept[config.validation :])):
        drills = [drill(rng) for _ in range(config.drills if split == "train" else 0)]
        drills += [divisions(rng) for _ in range(config.divisions if split == "train" else 0)]
        kinds = {
            "sprint": [row for _, (sprint, _) in part for row in sprint] + drills,
            "rft": [row for _, (_, rft) in part for row in rft] + drills,
        }
        if config.tries:
            kinds["tries"] = [row for trace, _ in part for row in try_rows(trace, config.tries, style, rng)]
        for kind, rows in kinds.items():
            file = f"{kind}.{split}.jsonl"
            counts[file] = write_jsonl(out / file, rng.sample(rows, len(rows)))
    return counts


@entry_point("countdown_rows", Config)
def main(config: Config) -> None:
    for name, count in make(config).items():
        print(f"{config.out}/{name}: {count} rows")


if __name__ == "__main__":
    main()
