"""A million odd cases for everything that reads model output or user input, and what must hold for each.

    .venv/bin/python benchmarks/fuzz.py --cases 1000000 --seed 0
    .venv/bin/python benchmarks/fuzz.py --only read_plan --case 4711

Nothing may raise, nothing that a model or a client wrote may be markup in a page or a command to a terminal, and the
server answers every request below 500. A failure names its case; the second command shows and repeats it. Ends with 1
where a case failed, or where `--limit` minutes were too short for all of them.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.fuzzing import asked, files, read, shown
from benchmarks.fuzzing.cases import Tally, Target, drawn, run
from sprint_sgl.console import say, screen, wait_notice

TARGETS: tuple[Target, ...] = (*read.TARGETS, *asked.TARGETS, *shown.TARGETS, *files.TARGETS)
CHUNK = 500  # cases that a process takes at a time
SHOWN = 5  # failures of a target that are named
Piece = tuple[int, int, range]  # the target's place, the seed, the numbers of its cases


def pieces(targets: Sequence[int], cases: int, seed: int) -> Iterator[Piece]:
    """All cases in chunks, each target by its share, one at least, in turns."""
    whole = sum(TARGETS[place].share for place in targets)
    wanted = {place: max(1, round(cases * TARGETS[place].share / whole)) for place in targets}
    for begin in range(0, max(wanted.values(), default=0), CHUNK):
        for place, count in wanted.items():
            if begin < count:
                yield place, seed, range(begin, min(begin + CHUNK, count))


def work(piece: Piece) -> tuple[int, Tally]:
    place, seed, numbers = piece
    warnings.filterwarnings("ignore")  # of a program that is refused; the answers tell
    return place, run(TARGETS[place], seed, numbers)


def fuzzed(targets: Sequence[int], cases: int, seed: int, processes: int, limit: float) -> dict[int, Tally]:
    """What came of them by target, of as many cases as `limit` seconds are enough for."""
    tallies = {place: Tally() for place in targets}
    deadline = time.monotonic() + limit
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for place, tally in pool.imap_unordered(work, pieces(targets, cases, seed)):
            tallies[place].add(tally)
            if time.monotonic() > deadline:
                break
    return tallies


def table(tallies: dict[int, Tally]) -> Table:
    made = Table("target")
    for name in ("cases", "cases/s of a core", "slowest, ms", "its number", "failures"):
        made.add_column(name, justify="right")
    for place, tally in tallies.items():
        seconds, number = tally.slowest
        rate = tally.cases / tally.seconds if tally.seconds else 0.0
        made.add_row(
            TARGETS[place].name,
            f"{tally.cases:,}",
            f"{rate:,.0f}",
            f"{1000 * seconds:,.1f}",
            str(number),
            str(len(tally.failures)),
        )
    return made


def repeat(target: Target, seed: int, number: int) -> None:
    """Shows the case and raises what it raises."""
    case = drawn(target, seed, number)
    say(repr(case))
    target.ready()
    target.check(case)


def main(
    cases: Annotated[int, typer.Option(min=1, help="in all, over the targets by their shares")] = 1_000_000,
    seed: int = 0,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    limit: Annotated[float, typer.Option(help="minutes at most")] = 90.0,
    only: Annotated[str | None, typer.Option(help="one target, by its name in the table")] = None,
    case: Annotated[int | None, typer.Option(help="repeat this case of --only")] = None,
) -> None:
    chosen = [place for place, target in enumerate(TARGETS) if only in (None, target.name)]
    if not chosen:
        raise typer.BadParameter(f"no target {only!r}; there are {', '.join(t.name for t in TARGETS)}")
    if case is not None:
        if only is None:
            raise typer.BadParameter("--case is of one target: give --only, too")
        repeat(TARGETS[chosen[0]], seed, case)
        return
    begun = time.monotonic()
    with wait_notice(f"{cases:,} cases on {processes} processes"):
        tallies = fuzzed(chosen, cases, seed, processes, 60 * limit)
    done, took = sum(t.cases for t in tallies.values()), time.monotonic() - begun
    failures = [failure for tally in tallies.values() for failure in tally.failures[:SHOWN]]
    screen().print(table(tallies))
    screen().print(f"{done:,} cases of seed {seed} in {took:.0f} s, {done / took:,.0f} a second", highlight=False)
    for failure in failures:
        say(f"{failure.target}, case {failure.number}: {failure.said}", style="red")
    if done < 0.99 * cases:
        say(f"{limit:g} minutes were enough for {done:,} of {cases:,} cases: give more with --limit", style="red")
    raise typer.Exit(1 if failures or done < 0.99 * cases else 0)


if __name__ == "__main__":
    typer.run(main)
