"""An hour of mixed load on a served model, with random deaths of its runtime: is anything lost, doubled, or growing?

    .venv/bin/python benchmarks/soak.py --minutes 60 --kill-every 120 --seed 0 --out work/soak

Starts `sprint-sgl serve` with a runtime of its own and lets clients ask: good questions whole and as streams, clients
that leave, malformed and huge requests, unknown models, wrong keys, deadlines, tags in the question. About every
`--kill-every` seconds a process of the runtime gets SIGKILL; for the last part of the time none does, so that one life
of a runtime is long enough to see it grow. Writes requests.csv, samples.csv, kills.csv and soak.png, prints what was
claimed and found, and ends with 1 where a claim does not hold. Ctrl-C ends it with the report so far.
"""

from __future__ import annotations

import asyncio
import csv
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.table import Table

from benchmarks.soaking import claims, load, machine
from benchmarks.soaking.claims import Claim
from benchmarks.soaking.load import Load, Outcome
from sprint_sgl.console import one_line_errors, screen, wait_notice
from sprint_sgl.storage.files import whole_bytes, whole_file
from sprint_sgl.storage.output_folders import begin_run, kind_with_run_file

SOAK = kind_with_run_file("benchmarks/soak.py", "--out ")
CALM = 0.35  # of the time, at its end, in which nothing is killed
WARM_UP = 60.0  # seconds of load before the first rest
KEPT = 6.0  # seconds that an idle connection is kept, and a little
AT_REST = 120.0  # seconds for runs whose clients have left
DRAIN = 60.0  # seconds beyond the clients' patience for what is under way at the end


@dataclass
class Found:
    """What the soak has seen; `rests` is what the server held before and after it, `metrics` its last word."""

    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[machine.Sample] = field(default_factory=list)
    kills: list[machine.Kill] = field(default_factory=list)
    rests: list[machine.Sample] = field(default_factory=list)
    metrics: str = ""


async def soaked(server: psutil.Process, url: str, seconds: float, kill_every: float, clients: int, seed: int) -> Found:
    """`seconds` of load once the runtime is up, or until Ctrl-C; a rest after some warm-up and one at the end."""
    await machine.until(url, up=True, server=server)
    asking, found, stop = Load(url, seed), Found(), asyncio.Event()
    found.outcomes = asking.outcomes
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    watching = asyncio.create_task(machine.watch(server, found.samples, asking.zero))
    await asked(asking, clients, min(WARM_UP, seconds / 4), stop)
    await rest(asking, server, found)
    killing = asyncio.create_task(
        machine.kill_now_and_then(
            server, url, random.Random(seed), kill_every, seconds * (1 - CALM), found.kills, asking.zero
        )
    )
    await asked(asking, clients, seconds - asking.now(), stop)
    killing.cancel()
    await rest(asking, server, found)
    watching.cancel()
    await asking.close()
    return found


async def asked(asking: Load, clients: int, seconds: float, stop: asyncio.Event) -> None:
    """So many clients for so many seconds, or until it is told to stop, and what is under way then to its end."""
    enough = asyncio.Event()
    work = [asyncio.create_task(asking.client(enough)) for _ in range(clients)]
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    enough.set()
    _, late = await asyncio.wait(work, timeout=load.PATIENCE + DRAIN)
    for task in late:
        task.cancel()


async def rest(asking: Load, server: psutil.Process, found: Found) -> None:
    """What the server holds and has counted once nothing is under way, and connections that were kept are closed."""
    found.metrics = await at_rest(asking)
    await asyncio.sleep(KEPT)
    await machine.healthy(asking.url)  # a pool closes what has expired when it is used again
    await asyncio.sleep(1.0)
    found.rests += [each for each in machine.sampled(server, asking.now()) if each.who == "server"]


async def at_rest(asking: Load) -> str:
    """The server's metrics once nothing runs or waits, or after a while."""
    deadline = time.monotonic() + AT_REST
    while True:
        metrics = (await asking.http.get("/metrics")).text
        if claims.server_counts(metrics)[3] == 0 or time.monotonic() > deadline:
            return metrics
        await asyncio.sleep(1.0)


def table(kinds: Sequence[load.Kind], outcomes: Sequence[Outcome]) -> Table:
    """By kind: requests, tries, how they ended, and how long they took."""
    made = Table("kind", "ended with")
    for name in ("requests", "tries", "unexpected", "median s", "longest s"):
        made.add_column(name, justify="right")
    for kind in kinds:
        those = [outcome for outcome in outcomes if outcome.kind == kind.name and outcome.statuses]
        seconds = sorted(outcome.ended - outcome.begun for outcome in those) or [0.0]
        ends = sorted({outcome.statuses[-1] for outcome in those})
        counts = [sum(outcome.statuses[-1] == end for outcome in those) for end in ends]
        made.add_row(
            kind.name,
            ", ".join(f"{NAMES.get(end, end)} {count}" for end, count in zip(ends, counts, strict=True)),
            f"{len(those):,}",
            f"{sum(len(outcome.statuses) for outcome in those):,}",
            str(sum(bool(outcome.wrong) for outcome in those)),
            f"{seconds[len(seconds) // 2]:.2f}",
            f"{seconds[-1]:.1f}",
        )
    return made


NAMES = {load.LEFT: "left", load.BROKEN: "broken"}


def verdicts(found: Sequence[Claim]) -> Table:
    made = Table("claim", "holds", "figures")
    for claim in found:
        made.add_row(claim.said, "yes" if claim.holds else "[bold red]no[/]", claim.figures)
    return made


def write(rows: Sequence[Any], path: Path) -> None:
    if rows:
        with whole_file(path) as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)


def draw(found: Found, path: Path) -> None:
    """Memory, threads and files of the server and of its runtimes over the time; a line where something was killed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    for (name, size), axes in zip((("memory", 2**20), ("threads", 1), ("files", 1)), panels, strict=False):
        for who in ("server", "runtime"):
            those = [sample for sample in found.samples if sample.who == who]
            axes.plot(
                [s.second / 60 for s in those], [getattr(s, name) / size for s in those], ".", markersize=2, label=who
            )
        axes.set_ylabel("memory, MiB" if name == "memory" else name)
        axes.legend(loc="center right")
    answered = [outcome for outcome in found.outcomes if outcome.answered]
    panels[3].plot([o.ended / 60 for o in answered], [o.ended - o.begun for o in answered], ".", markersize=3)
    panels[3].set(ylabel="seconds to an answer", xlabel="minutes")
    for kill in found.kills:
        for axes in panels:
            axes.axvline(kill.second / 60, color="#b3261e", linewidth=0.5)
    with whole_bytes(path) as file:
        figure.savefig(file, dpi=110)


def report(found: Found, out: Path, left: int) -> bool:
    """Writes and prints all of it; whether every claim holds."""
    for name, rows in (
        ("requests", found.outcomes),
        ("samples", found.samples),
        ("rests", found.rests),
        ("kills", found.kills),
    ):
        write(rows, out / f"{name}.csv")
    draw(found, out / "soak.png")
    with whole_file(out / "metrics.txt") as file:
        file.write(found.metrics)
    log = (out / "server.log").read_text(errors="replace")
    judged = claims.claims(found.outcomes, found.metrics, found.samples, found.rests, found.kills, log, left)
    screen().print(table(load.KINDS, found.outcomes), verdicts(judged))
    back = [kill.back for kill in found.kills if kill.back is not None]
    again = f", up again after {min(back):.0f} to {max(back):.0f} s" if back else ""
    screen().print(f"{len(found.kills)} kills{again}; {out}/soak.png", highlight=False)
    return all(claim.holds for claim in judged)


def main(
    minutes: Annotated[float, typer.Option(min=0.1)] = 60.0,
    kill_every: Annotated[float, typer.Option(min=1.0, help="seconds between deaths of the runtime, about")] = 120.0,
    seed: int = 0,
    clients: Annotated[int, typer.Option(min=1, help="requests at a time")] = 10,
    concurrency: Annotated[
        int, typer.Option(min=1, help="of the server; more clients than this and its queue are told 429")
    ] = 5,
    queue: Annotated[int, typer.Option(min=0)] = 3,
    out: str = "work/soak",
) -> None:
    with one_line_errors():
        settings = {"minutes": minutes, "kill_every": kill_every, "seed": seed, "clients": clients}
        folder = begin_run(out, SOAK, settings | {"concurrency": concurrency, "queue": queue})
    begun = time.monotonic()
    with (
        wait_notice(f"{minutes:g} minutes and what is under way then"),
        machine.served(folder, concurrency, queue) as (server, url),
    ):
        found = asyncio.run(soaked(server, url, 60 * minutes, kill_every, clients, seed))
        family = [server, *machine.family(server)]
    _, alive = psutil.wait_procs(family, timeout=30)
    screen().print(f"{(time.monotonic() - begun) / 60:.1f} minutes, seed {seed}", highlight=False)
    raise typer.Exit(0 if report(found, folder, len(alive)) else 1)


if __name__ == "__main__":
    typer.run(main)
