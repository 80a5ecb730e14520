"""Speed and memory of curation: the rate against what the endpoint allows, and the stages without an endpoint.

    .venv/bin/python benchmarks/bench_curate.py --traces 6000 --seconds 2 --at-once 64     # about ten minutes
    .venv/bin/python benchmarks/bench_curate.py --traces 6000 --rules                   # no endpoint: the stages alone

The traces are Countdown's. The endpoint is tests/fakes/fake_endpoint.py in its own process.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from curation.countdown.traces import write_trace
from sprint_sgl.console import one_line_errors
from sprint_sgl.tasks.countdown.problem import generate_problems

ROOT = Path(__file__).parents[1]


def write_traces(path: Path, count: int) -> None:
    """Write traces as rows of a data set, each for another problem."""
    traces = islice((trace for problem in generate_problems(4, seed=41) if (trace := write_trace(problem))), count)
    with path.open("w") as file:
        for trace in traces:
            row = {"question": trace.question, "response": f"<think>\n{trace.text}\n</think>\n\n{trace.answer}"}
            file.write(json.dumps(row | {"answer": trace.answer}) + "\n")


@contextmanager
def endpoint(seconds: float) -> Iterator[str]:
    """Start an endpoint that takes this long for a reply, and yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, str(ROOT / "tests/fakes/fake_endpoint.py"), "--port", port, "--seconds", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def curate(source: Path, out: Path, overrides: list[str]) -> list[tuple[float, float]]:
    """Run the command and return (seconds since its start, MiB in use), measured twice a second."""
    everything = [f"source.path={source}", f"out={out}", "filter.min_ratio=0"]
    command = [sys.executable, "-m", "curation.pipeline", *everything, *overrides]
    start, samples = time.monotonic(), []
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            held = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
            samples.append((time.monotonic() - start, held / 2**20))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit(f"curation ended with {process.returncode}")
    return samples


def stages_table(out: Path) -> Table:
    """Return a table of seconds and rate of each stage; for the rows they follow from the files' times."""
    table = Table("stage", "read", "kept", "seconds", "traces/s")
    for path in sorted((out / "funnel").glob("*.json"), key=lambda path: path.stat().st_mtime):
        stage = json.loads(path.read_text())["funnel"]
        rate = f"{stage['read'] / stage['seconds']:,.0f}" if stage["seconds"] else "-"
        table.add_row(stage["stage"], str(stage["read"]), str(stage["kept"]), f"{stage['seconds']:.1f}", rate)
    began, ended = ((out / name).stat().st_mtime for name in ("funnel/filter.json", "rft.valid.jsonl"))
    kept, seconds = stage["kept"], ended - began
    table.add_row("rows", str(kept), str(kept), f"{seconds:.1f}", f"{kept / seconds:,.0f}")
    return table


def memory_line(samples: list[tuple[float, float]]) -> str:
    third = max(1, len(samples) // 3)
    peaks = [max(held for _, held in part) for part in (samples[:third], samples[third : 2 * third], samples[-third:])]
    return "memory, peak of each third of the run: " + ", ".join(f"{peak:,.0f} MiB" for peak in peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=2.0, help="until the endpoint replies")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rules", action="store_true", help="no endpoint: rules annotate")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "traces.jsonl", Path(folder) / "out"
        write_traces(source, options.traces)
        console.print(f"{options.traces} traces, {source.stat().st_size / options.traces:,.0f} bytes each")
        if options.rules:
            samples = curate(source, out, ["teacher=rules"])
        else:
            with endpoint(options.seconds) as url:
                teacher = [f"teacher.base_url={url}", f"teacher.concurrency={options.at_once}", "teacher=openai"]
                teacher += [f"teacher.cache={folder}/replies"]
                samples = curate(source, out, teacher)
        console.print(stages_table(out), memory_line(samples), f"whole run: {samples[-1][0]:.1f} s")
        if not options.rules:
            ideal = options.seconds / options.at_once
            for name in ("extract", "dag"):
                stage = json.loads((out / "funnel" / f"{name}.json").read_text())["funnel"]
                share = stage["read"] * ideal / stage["seconds"]
                console.print(f"{name}: {share:.0%} of the rate that the endpoint allows")


if __name__ == "__main__":
    with one_line_errors():
        main()
