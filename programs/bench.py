"""SPRINT against the sequential model on held-out Countdown problems: accuracy, tokens, wall clock.

    python -m programs.bench out=work/bench problems=300

Both models take turns on one runtime, block by block, so that the machine's moods meet both. Each
question's record is written as it finishes; a run that is started again goes on where it stopped.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from programs.program import TEMPERATURE
from programs.sequential import sequential_program
from programs.sprint import LAUNCHES, MAX_STAGES, sprint_program
from sprint_sgl.answers import check_countdown
from sprint_sgl.console import screen
from sprint_sgl.countdown import Problem, problems
from sprint_sgl.endpoint import Endpoint
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime import DEFAULT_BASELINE, DEFAULT_MODEL, connect, launch, resolve_model
from sprint_sgl.settings import entry_point
from sprint_sgl.show import critical_path
from sprint_sgl.trajectory import Trajectory

SIZES = (3, 4)
METHODS = ("sprint", "sequential")
SPLITS = ("held_out", "train")
MAY_CHANGE = {"out", "methods", "problems", "numbers", "block", "url"}  # between two runs into one folder


@dataclass
class Config:
    """What is compared, on what, and how.

    out           one JSON line a question and method; started again, it goes on where it stopped
    methods       sprint, sequential or both
    problems      of each size in `numbers`, by seed
    split         held_out, or train: problems that training rows may be made of
    concurrency   questions at a time; wall clock is comparable at 1
    block         questions between two changes of the model
    sprint, sequential   the two models: shipped names, folders or hub ids
    runtime       a name in conf/runtime; None is the GPU's where there is one, else the CPU's
    url           or a server that runs already, whose weights are swapped
    """

    out: str = "work/bench"
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    problems: int = 300
    split: str = "held_out"
    numbers: list[int] = field(default_factory=lambda: [3, 4])
    seed: int = 7
    temperature: float = TEMPERATURE
    launch: str = "eager"
    max_stages: int = MAX_STAGES
    concurrency: int = 1
    block: int = 25
    sprint: str = DEFAULT_MODEL
    sequential: str = DEFAULT_BASELINE
    runtime: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Record:
    """One question answered by one method."""

    method: str
    numbers: tuple[int, ...]
    target: int
    answer: str
    correct: bool
    reason: str
    trajectory: Trajectory

    @property
    def key(self) -> tuple[str, tuple[int, ...], int]:
        return self.method, self.numbers, self.target

    def to_json(self) -> str:
        row = {name: getattr(self, name) for name in ("method", "numbers", "target", "answer", "correct", "reason")}
        return json.dumps(row | {"trajectory": self.trajectory.to_dict()})

    @staticmethod
    def from_json(line: str) -> Record:
        row = json.loads(line)
        trajectory = Trajectory.from_dict(row.pop("trajectory"))
        return Record(**row | {"numbers": tuple(row["numbers"]), "trajectory": trajectory})


def chosen(size: int, count: int, seed: int, split: str = "held_out") -> list[Problem]:
    """That many problems of the split, the same for the same seed; no training run has seen one that is held out."""
    wanted = split == "held_out"
    return list(islice((problem for problem in problems(size, seed) if problem.held_out == wanted), count))


def answer(problem: Problem, method: str, config: Config) -> Record:
    """One question through one method on the default backend."""
    if method == "sprint":
        options: dict[str, Any] = {"max_stages": config.max_stages, "launch": config.launch}
        run = sprint_program.run(problem.question, temperature=config.temperature, **options)
    else:
        run = sequential_program.run(problem.question, temperature=config.temperature)
    verdict = check_countdown(run["answer"], problem.numbers, problem.target)
    return Record(
        method, problem.numbers, problem.target, run["answer"], verdict.correct, verdict.reason, run.trajectory
    )


def read_records(path: Path) -> list[Record]:
    """The finished records; a last line that was cut off by an interruption is dropped from the file."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines := lines[:-1]))
    return [Record.from_json(line) for line in lines]


def blocks(config: Config, done: set[tuple[str, tuple[int, ...], int]]) -> Iterator[tuple[str, list[Problem]]]:
    """What is left to do: blocks of problems, each for the methods in turn."""
    for size in config.numbers:
        asked = chosen(size, config.problems, config.seed, config.split)
        for start in range(0, len(asked), config.block):
            for method in config.methods:
                block = [p for p in asked[start : start + config.block] if (method, p.numbers, p.target) not in done]
                if block:
                    yield method, block


def measure(config: Config, endpoint: Endpoint, path: Path, console: Console) -> list[Record]:
    """Runs what is missing and returns the records of the problems that were asked for."""
    asked = (p for size in config.numbers for p in chosen(size, config.problems, config.seed, config.split))
    wanted = {(p.numbers, p.target) for p in asked}
    records = [record for record in read_records(path) if (record.numbers, record.target) in wanted]
    work = list(blocks(config, {record.key for record in records}))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, path.open("a") as file:
        task = progress.add_task("running", total=sum(len(block) for _, block in work))
        for method, block in work:
            endpoint.load_weights(resolve_model(config.sprint if method == "sprint" else config.sequential))
            endpoint.warm_up()
            with ThreadPoolExecutor(config.concurrency) as pool:
                for record in pool.map(lambda problem, method=method: answer(problem, method, config), block):
                    file.write(record.to_json() + "\n")
                    file.flush()
                    records.append(record)
                    progress.update(task, advance=1, description=_so_far(records))
    return records


def _so_far(records: Sequence[Record]) -> str:
    right = {m: [r.correct for r in records if r.method == m] for m in METHODS}
    return "  ".join(f"{m} {statistics.mean(r):.0%}" for m, r in right.items() if r)


def interval(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws)]


def table(records: Sequence[Record], config: Config) -> Table:
    """One line a size and method; under each pair how SPRINT compares."""
    title = f"temperature {config.temperature:g}, {config.launch} launch, {config.concurrency} question(s) at a time"
    result = Table(title=title, box=box.SIMPLE_HEAD)
    names = ("numbers", "method", "problems", "correct", "sequential tokens", "total tokens")
    for name in (*names, "cached prefix", "seconds (median)", "repaired"):
        result.add_column(name, justify="left" if name == "method" else "right")
    for size in config.numbers:
        group = {m: [r for r in records if r.method == m and len(r.numbers) == size] for m in METHODS}
        for method, rows in group.items():
            if rows:
                result.add_row(str(size), method, *_figures(rows))
        if all(group.values()):
            result.add_row("", "ratio", "", *_ratios(group["sprint"], group["sequential"]), style="bold")
    return result


def _figures(rows: Sequence[Record]) -> tuple[str, ...]:
    low, high = interval([float(r.correct) for r in rows])
    trajectories = [r.trajectory for r in rows]
    return (
        str(len(rows)),
        f"{statistics.fmean(r.correct for r in rows):.1%} ({low:.0%}-{high:.0%})",
        f"{statistics.fmean(map(critical_path, trajectories)):.0f}",
        f"{statistics.fmean(t.total_tokens for t in trajectories):.0f}",
        f"{statistics.fmean(t.cached_share for t in trajectories):.0%}",
        f"{statistics.median(t.seconds for t in trajectories):.2f}",
        f"{statistics.fmean(bool(t.repairs) for t in trajectories):.1%}",
    )


def _ratios(sprint: Sequence[Record], sequential: Sequence[Record]) -> tuple[str, ...]:
    def mean(rows: Sequence[Record], value: Any) -> float:
        return statistics.fmean(value(row.trajectory) for row in rows)

    def ratio(value: Any) -> str:
        return f"{mean(sprint, value) / mean(sequential, value):.2f}"

    points = 100 * (statistics.fmean(r.correct for r in sprint) - statistics.fmean(r.correct for r in sequential))
    seconds = statistics.median(r.trajectory.seconds for r in sprint) / statistics.median(
        r.trajectory.seconds for r in sequential
    )
    return f"{points:+.1f} points", ratio(critical_path), ratio(lambda t: t.total_tokens), "", f"{seconds:.2f}", ""


def check(config: Config) -> None:
    """Refuses what cannot be run before anything starts. Raises BadInput."""
    for name in ("problems", "concurrency", "block", "max_stages"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.launch not in LAUNCHES:
        raise BadInput(f"launch must be one of {', '.join(LAUNCHES)}, got {config.launch!r}")
    if config.split not in SPLITS:
        raise BadInput(f"split must be one of {', '.join(SPLITS)}, got {config.split!r}")
    if sorted(config.methods) not in (["sprint"], ["sequential"], sorted(METHODS)):
        raise BadInput(f"methods must be of {', '.join(METHODS)}, each once, got {config.methods}")
    if unknown := [size for size in config.numbers if size not in SIZES]:
        raise BadInput(f"numbers={unknown[0]}: Countdown has problems of {' or '.join(map(str, SIZES))} numbers")
    for model in (config.sprint, config.sequential):
        resolve_model(model)


@entry_point("bench", Config)
def main(config: Config) -> None:
    check(config)
    compare(config, screen())


def claim(out: Path, config: Config) -> None:
    """Keeps the config in the folder. Raises BadInput if records there were made with another one."""
    path, current = out / "config.json", asdict(config)
    if path.is_file() and (out / "records.jsonl").is_file():
        before = asdict(Config()) | json.loads(path.read_text())
        for key in current.keys() - MAY_CHANGE:
            if before.get(key) != current[key]:
                made = f"{key}={before.get(key)}, not {key}={current[key]}"
                raise BadInput(f"{out} holds records of {made}: choose another out=FOLDER")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(current, indent=2) + "\n")


def compare(config: Config, console: Console) -> None:
    """Runs what is missing of the comparison, prints its table and writes it beside the records."""
    out = Path(config.out)
    claim(out, config)
    with connect(config.url) if config.url else launch(config.sprint, runtime=config.runtime) as endpoint:
        records = measure(config, endpoint, out / "records.jsonl", console)
    console.print(table(records, config))
    with (out / "table.txt").open("w") as file:
        Console(file=file, width=140).print(table(records, config))


if __name__ == "__main__":
    main()
