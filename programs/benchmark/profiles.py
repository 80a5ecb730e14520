"""Where the time of a benchmark's methods goes, as a table; a sequential method gives the speed of a token alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.table import Table

from programs.benchmark.runs import Run, read_run
from sprint_sgl.errors import BadInput
from sprint_sgl.profile import Profile, mean, profile

PARTS = ("prefill", "queue", "tokenising", "http", "program")


def profiles(run: Run) -> dict[str, Profile]:
    """By method, mean over questions. Raises BadInput where the runtime did not stamp its requests."""
    found = {}
    for side in run.sides:
        known = [profile(record.trajectory) for records in side.records.values() for record in records]
        if kept := [each for each in known if each is not None]:
            found[side.name] = mean(kept)
    if not found:
        raise BadInput(
            f"{run.folder} does not say where its time went: run it on a runtime with enable-metrics, "
            "such as runtime.args.enable-metrics=true sets it"
        )
    return found


def table(methods: Mapping[str, Profile]) -> Table:
    """Seconds a question, with shares. Decoding is split by the speed of the method that writes alone, if one is."""
    step = methods["sequential"].step if "sequential" in methods else None
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Seconds a question", title_justify="left")
    shown.add_column("where the time goes")
    for name in methods:
        shown.add_column(name, justify="right", no_wrap=True)
    for label, seconds in _decoding(methods, step):
        shown.add_row(label, *(_share(s, p) for s, p in zip(seconds, methods.values(), strict=True)))
    for part in PARTS:
        shown.add_row(part, *(_share(getattr(p, part), p) for p in methods.values()))
    shown.add_section()
    shown.add_row("all", *(f"{p.seconds:.3f}" for p in methods.values()))
    shown.add_row("tokens on the path", *(f"{p.tokens:,.0f}" for p in methods.values()))
    shown.add_row("requests on the path", *(f"{p.calls:.1f}" for p in methods.values()))
    shown.add_row("milliseconds a token", *(f"{p.step * 1e3:.2f}" for p in methods.values()))
    return shown


def _decoding(methods: Mapping[str, Profile], step: float | None) -> list[tuple[str, list[float]]]:
    if step is None:
        return [("decode", [p.decode for p in methods.values()])]
    alone = [p.tokens * step for p in methods.values()]
    beside = [p.decode - seconds for p, seconds in zip(methods.values(), alone, strict=True)]
    return [("decode, as fast as alone", alone), ("decode, slower beside siblings", beside)]


def _share(seconds: float, of: Profile) -> str:
    return f"{seconds:.3f} {seconds / of.seconds:5.1%}"


def show(folder: Path) -> Table:
    """The table of a run's folder. Raises BadInput for one that holds none, or no stamps."""
    return table(profiles(read_run(folder)))
