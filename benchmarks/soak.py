"""Soak test: an hour of mixed load on a served model while its runtime is killed at random. Is anything lost, doubled,
or growing?

    .venv/bin/python benchmarks/soak.py --minutes 60 --kill-every 120 --seed 0 --out work/soak

Starts `sprint-sgl serve` with its own runtime. Clients send questions (whole and as streams), leave early, and send
malformed and huge requests, unknown models, wrong keys, deadlines, and tags in the question. About every `--kill-every`
seconds a process of the runtime gets SIGKILL; in the last part of the run none does, so that one runtime lives long
enough to show growth. Writes requests.csv, samples.csv, kills.csv and soak.png, prints the claims with their figures,
and exits with 1 if a claim does not hold. Ctrl-C ends the run with a report.
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
from benchmarks.soaking.load import Load, RequestOutcome
from sprint_sgl.console import one_line_errors, screen, wait_notice
from sprint_sgl.storage.files import whole_bytes, whole_file
from sprint_sgl.storage.output_folders import begin_run, kind_with_run_file

SOAK = kind_with_run_file("benchmarks/soak.py", "--out ")
CALM_SHARE = 0.35  # the last share of the time, in which nothing is killed
WARM_UP = 60.0  # seconds of load before the first rest
KEEP_ALIVE = 6.0  # seconds after which idle connections are closed, with a margin
REST_LIMIT = 120.0  # seconds for runs whose clients have left
DRAIN_LIMIT = 60.0  # seconds beyond the clients' patience for requests under way at the end


@dataclass
class SoakResult:
    """What the soak has recorded. `rests` are the server's samples without load, `metrics` its last metrics page."""

    outcomes: list[RequestOutcome] = field(default_factory=list)
    samples: list[machine.ProcessSample] = field(default_factory=list)
    kills: list[machine.Kill] = field(default_factory=list)
    rests: list[machine.ProcessSample] = field(default_factory=list)
    metrics: str = ""


async def run_soak(
    server: psutil.Process, url: str, seconds: float, kill_every: float, clients: int, seed: int
) -> SoakResult:
    """Apply load for `seconds` or until Ctrl-C; sample the server at rest after a warm-up and at the end."""
    await machine.wait_for_runtime(url, up=True, server=server)
    asking, found, stop = Load(url, seed), SoakResult(), asyncio.Event()
    found.outcomes = asking.outcomes
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    watching = asyncio.create_task(machine.collect_samples(server, found.samples, asking.zero))
    await run_clients(asking, clients, min(WARM_UP, seconds / 4), stop)
    await measure_at_rest(asking, server, found)
    killing = asyncio.create_task(
        machine.kill_periodically(
            server, url, random.Random(seed), kill_every, seconds * (1 - CALM_SHARE), found.kills, asking.zero
        )
    )
    await run_clients(asking, clients, seconds - asking.now(), stop)
    killing.cancel()
    await measure_at_rest(asking, server, found)
    watching.cancel()
    await asking.close()
    return found


async def run_clients(asking: Load, clients: int, seconds: float, stop: asyncio.Event) -> None:
    """Run the clients for `seconds` or until `stop`, then wait for the requests under way."""
    enough = asyncio.Event()
    work = [asyncio.create_task(asking.client(enough)) for _ in range(clients)]
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    enough.set()
    _, late = await asyncio.wait(work, timeout=load.PATIENCE + DRAIN_LIMIT)
    for task in late:
        task.cancel()


async def measure_at_rest(asking: Load, server: psutil.Process, found: SoakResult) -> None:
    """Record the server's metrics and samples once nothing is under way and kept connections are closed."""
    found.metrics = await metrics_at_rest(asking)
    await asyncio.sleep(KEEP_ALIVE)
    await machine.is_healthy(asking.url)  # a pool closes expired connections when it is used again
    await asyncio.sleep(1.0)
    found.rests += [each for each in machine.sample_processes(server, asking.now()) if each.who == "server"]


async def metrics_at_rest(asking: Load) -> str:
    """Return the server's metrics once nothing runs or waits, after REST_LIMIT seconds at the latest."""
    deadline = time.monotonic() + REST_LIMIT
    while True:
        metrics = (await asking.http.get("/metrics")).text
        if claims.server_counts(metrics)[3] == 0 or time.monotonic() > deadline:
            return metrics
        await asyncio.sleep(1.0)


def outcome_table(kinds: Sequence[load.RequestKind], outcomes: Sequence[RequestOutcome]) -> Table:
    """Return requests, tries, last statuses and durations by kind of request."""
    result = Table("kind", "ended with")
    for name in ("requests", "tries", "unexpected", "median s", "longest s"):
        result.add_column(name, justify="right")
    for kind in kinds:
        chosen = [outcome for outcome in outcomes if outcome.kind == kind.name and outcome.statuses]
        seconds = sorted(outcome.ended - outcome.begun for outcome in chosen) or [0.0]
        ends = sorted({outcome.statuses[-1] for outcome in chosen})
        counts = [sum(outcome.statuses[-1] == end for outcome in chosen) for end in ends]
        result.add_row(
            kind.name,
            ", ".join(f"{NAMES.get(end, end)} {count}" for end, count in zip(ends, counts, strict=True)),
            f"{len(chosen):,}",
            f"{sum(len(outcome.statuses) for outcome in chosen):,}",
            str(sum(bool(outcome.wrong) for outcome in chosen)),
            f"{seconds[len(seconds) // 2]:.2f}",
            f"{seconds[-1]:.1f}",
        )
    return result


NAMES = {load.LEFT: "left", load.BROKEN: "broken"}


def claim_table(found: Sequence[Claim]) -> Table:
    """Return the claims with their figures."""
    result = Table("claim", "holds", "figures")
    for claim in found:
        result.add_row(claim.text, "yes" if claim.holds else "[bold red]no[/]", claim.figures)
    return result


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """Write dataclass instances as CSV."""
    if rows:
        with whole_file(path) as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)


def draw_samples(found: SoakResult, path: Path) -> None:
    """Draw memory, threads and files of server and runtimes over time, with a line for each kill."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    for (name, size), axes in zip((("memory", 2**20), ("threads", 1), ("files", 1)), panels, strict=False):
        for who in ("server", "runtime"):
            chosen = [sample for sample in found.samples if sample.who == who]
            axes.plot(
                [s.second / 60 for s in chosen], [getattr(s, name) / size for s in chosen], ".", markersize=2, label=who
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


def write_report(found: SoakResult, out: Path, left: int) -> bool:
    """Write the files, print the tables, and return whether every claim holds."""
    for name, rows in (
        ("requests", found.outcomes),
        ("samples", found.samples),
        ("rests", found.rests),
        ("kills", found.kills),
    ):
        write_csv(rows, out / f"{name}.csv")
    draw_samples(found, out / "soak.png")
    with whole_file(out / "metrics.txt") as file:
        file.write(found.metrics)
    log = (out / "server.log").read_text(errors="replace")
    checked = claims.check_claims(found.outcomes, found.metrics, found.samples, found.rests, found.kills, log, left)
    screen().print(outcome_table(load.KINDS, found.outcomes), claim_table(checked))
    back = [kill.back for kill in found.kills if kill.back is not None]
    again = f", back after {min(back):.0f} to {max(back):.0f} s" if back else ""
    screen().print(f"{len(found.kills)} kills{again}; {out}/soak.png", highlight=False)
    return all(claim.holds for claim in checked)


def main(
    minutes: Annotated[float, typer.Option(min=0.1)] = 60.0,
    kill_every: Annotated[float, typer.Option(min=1.0, help="mean seconds between kills")] = 120.0,
    seed: int = 0,
    clients: Annotated[int, typer.Option(min=1, help="requests at a time")] = 10,
    concurrency: Annotated[
        int, typer.Option(min=1, help="of the server; beyond concurrency and queue it answers 429")
    ] = 5,
    queue: Annotated[int, typer.Option(min=0)] = 3,
    out: str = "work/soak",
) -> None:
    with one_line_errors():
        settings = {"minutes": minutes, "kill_every": kill_every, "seed": seed, "clients": clients}
        folder = begin_run(out, SOAK, settings | {"concurrency": concurrency, "queue": queue})
    begun = time.monotonic()
    with (
        wait_notice(f"{minutes:g} minutes, then the requests under way"),
        machine.running_server(folder, concurrency, queue) as (server, url),
    ):
        found = asyncio.run(run_soak(server, url, 60 * minutes, kill_every, clients, seed))
        family = [server, *machine.descendants(server)]
    _, alive = psutil.wait_procs(family, timeout=30)
    screen().print(f"{(time.monotonic() - begun) / 60:.1f} minutes, seed {seed}", highlight=False)
    raise typer.Exit(0 if write_report(found, folder, len(alive)) else 1)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
