"""Fuzz everything that reads model output or user input with a million odd cases, and check the claims below.

    .venv/bin/python benchmarks/fuzz.py --cases 1000000 --seed 0
    .venv/bin/python benchmarks/fuzz.py --only read_plan --case 4711

Nothing raises; no text of a model or client becomes markup in a page or a control sequence on a terminal; the server
answers every request below 500. A failure names its case, and the second command prints and repeats it. Exits with 1 if
a case failed, or if `--limit` minutes were too short for all cases.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.fuzzing import display, files, model_output, server_requests
from benchmarks.fuzzing.cases import Target, TargetTally, draw_case, run_cases
from sprint_sgl.console import one_line_errors, say, screen, wait_notice

TARGETS: tuple[Target, ...] = (*model_output.TARGETS, *server_requests.TARGETS, *display.TARGETS, *files.TARGETS)
CHUNK = 500  # cases that a process takes at a time
MAX_SHOWN = 5  # failures printed of each target
Chunk = tuple[int, int, range]  # index of the target, seed, numbers of the cases


def chunks(targets: Sequence[int], cases: int, seed: int) -> Iterator[Chunk]:
    """Yield all cases in chunks, targets in turns. Each target gets its share of the cases, at least one."""
    whole = sum(TARGETS[place].share for place in targets)
    wanted = {place: max(1, round(cases * TARGETS[place].share / whole)) for place in targets}
    for begin in range(0, max(wanted.values(), default=0), CHUNK):
        for place, count in wanted.items():
            if begin < count:
                yield place, seed, range(begin, min(begin + CHUNK, count))


def run_chunk(chunk: Chunk) -> tuple[int, TargetTally]:
    """Run the cases of a chunk; return the target's index and the tally."""
    place, seed, numbers = chunk
    warnings.filterwarnings("ignore")  # a refused program warns; its response is what is checked
    return place, run_cases(TARGETS[place], seed, numbers)


def run_targets(targets: Sequence[int], cases: int, seed: int, processes: int, limit: float) -> dict[int, TargetTally]:
    """Return the tally of each target; stop after `limit` seconds."""
    tallies = {place: TargetTally() for place in targets}
    deadline = time.monotonic() + limit
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for place, tally in pool.imap_unordered(run_chunk, chunks(targets, cases, seed)):
            tallies[place].add(tally)
            if time.monotonic() > deadline:
                break
    return tallies


def tally_table(tallies: dict[int, TargetTally]) -> Table:
    """Return a table of cases, speed, slowest case and failures by target."""
    result = Table("target")
    for name in ("cases", "cases/s of a core", "slowest, ms", "its number", "failures"):
        result.add_column(name, justify="right")
    for place, tally in tallies.items():
        seconds, number = tally.slowest
        rate = tally.cases / tally.seconds if tally.seconds else 0.0
        result.add_row(
            TARGETS[place].name,
            f"{tally.cases:,}",
            f"{rate:,.0f}",
            f"{1000 * seconds:,.1f}",
            str(number),
            str(len(tally.failures)),
        )
    return result


def repeat_case(target: Target, seed: int, number: int) -> None:
    """Print a case and check it; the failure is raised."""
    case = draw_case(target, seed, number)
    say(repr(case))
    target.ready()
    target.check(case)


def main(
    cases: Annotated[int, typer.Option(min=1, help="number of cases, shared among the targets")] = 1_000_000,
    seed: int = 0,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    limit: Annotated[float, typer.Option(help="time limit in minutes")] = 90.0,
    only: Annotated[str | None, typer.Option(help="run one target, by its name in the table")] = None,
    case: Annotated[int | None, typer.Option(help="repeat this case of the target in --only")] = None,
) -> None:
    chosen = [place for place, target in enumerate(TARGETS) if only in (None, target.name)]
    if not chosen:
        raise typer.BadParameter(f"unknown target {only!r}; targets: {', '.join(t.name for t in TARGETS)}")
    if case is not None:
        if only is None:
            raise typer.BadParameter("--case needs --only TARGET")
        repeat_case(TARGETS[chosen[0]], seed, case)
        return
    begun = time.monotonic()
    with wait_notice(f"{cases:,} cases on {processes} processes"):
        tallies = run_targets(chosen, cases, seed, processes, 60 * limit)
    done, took = sum(t.cases for t in tallies.values()), time.monotonic() - begun
    failures = [failure for tally in tallies.values() for failure in tally.failures[:MAX_SHOWN]]
    screen().print(tally_table(tallies))
    screen().print(f"{done:,} cases of seed {seed} in {took:.0f} s, {done / took:,.0f} a second", highlight=False)
    for failure in failures:
        say(f"{failure.target}, case {failure.number}: {failure.message}", style="red")
    if done < 0.99 * cases:
        say(f"{limit:g} minutes were enough for {done:,} of {cases:,} cases only: raise --limit", style="red")
    raise typer.Exit(1 if failures or done < 0.99 * cases else 0)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
