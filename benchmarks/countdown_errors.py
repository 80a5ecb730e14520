"""Where a Countdown bench goes wrong: executions that are what the search would have written, and why runs are wrong.

    .venv/bin/python -m benchmarks.countdown_errors work/bench --method sprint

Countdown's traces are written by a search (curation/countdown/traces.py), so each attempt of a run can be compared with
the one that the search writes under the same prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from curation.countdown.traces import Attempt, attempts_of_round, write_trace
from sprint_sgl.bench.records import Record, read_records
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import RECORDS
from sprint_sgl.tasks.countdown.checker import countdown_problem
from sprint_sgl.tasks.countdown.problem import Problem


@dataclass(frozen=True)
class ComparedAttempt:
    """An attempt of a run beside the search's: `wanted` under the same prompt, of the search's round `round`."""

    round: int
    wanted: Attempt
    written: str

    @property
    def exact(self) -> bool:
        return self.written.strip() == self.wanted.text.strip()

    @property
    def claims_hit(self) -> bool:
        return self.written.strip().rpartition("\n")[2].startswith("So ")


def compare_attempts(record: Record, problem: Problem) -> Iterator[ComparedAttempt]:
    """Yield the run's executions whose prompts are attempts of the search, which has its second round after stage 1."""
    for number, stage in enumerate(record.trajectory.stages, 1):
        round = min(number, 2)
        wanted = {each.prompt: each for each in attempts_of_round(problem, round)}
        for prompt, execution in zip(stage.prompts, stage.executions, strict=True):
            if found := wanted.get(prompt.text.strip()):
                yield ComparedAttempt(round, found, execution.text)


def cause_of_error(record: Record, problem: Problem) -> str:
    """Return why a wrong run is wrong, by the first step that differs from the search."""
    if write_trace(problem) is None:
        return "the search does not solve it either"
    attempts = list(compare_attempts(record, problem))
    hits = [each for each in attempts if each.wanted.chain]
    if any(each.exact for each in hits):
        return "a hit is written exactly, and its check or the answer goes wrong"
    if hits:
        return "every hit is written with an error"
    if any(each.claims_hit for each in attempts):
        return "a hit is claimed that is none"
    return "no attempt that hits was planned"


def exactness_table(compared: Counter[tuple[int, bool, bool]]) -> Table:
    """Return how many executions are exact, by round and whether they hit."""
    table = Table("round", "attempts", "exactly as the search", title="Executions")
    for column in table.columns[1:]:
        column.justify = "right"
    for number, hits in sorted({key[:2] for key in compared}):
        exact, differ = (compared[number, hits, same] for same in (True, False))
        name = f"{number}, {'with' if hits else 'without'} a hit"
        table.add_row(name, f"{exact + differ:,}", f"{exact / (exact + differ):.0%}")
    return table


def causes_table(causes: Counter[str], runs: int) -> Table:
    table = Table("cause", "runs", "of all", title="Wrong runs")
    for column in table.columns[1:]:
        column.justify = "right"
    for cause, count in causes.most_common():
        table.add_row(cause, f"{count:,}", f"{count / runs:.0%}")
    return table


def main(
    run: Annotated[Path, typer.Argument(help="a folder that sprint-sgl bench task=countdown has written")],
    method: str = "sprint",
) -> None:
    records = [each for each in read_records(run / RECORDS) if each.method == method]
    if not records:
        raise BadInput(f"{run} has no records of the method {method!r}")
    compared: Counter[tuple[int, bool, bool]] = Counter()
    causes: Counter[str] = Counter()
    for record in records:
        problem = countdown_problem(record.question)
        if problem is None:
            raise BadInput(f"{record.question!r} is no Countdown problem")
        compared.update((each.round, bool(each.wanted.chain), each.exact) for each in compare_attempts(record, problem))
        if not record.correct:
            causes[cause_of_error(record, problem)] += 1
    screen().print(exactness_table(compared), causes_table(causes, len(records)))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
