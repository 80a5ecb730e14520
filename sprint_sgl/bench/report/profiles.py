"""Where the time of a benchmark's methods goes, as a table.

A sequential method in the same run gives the time per token of a request that runs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from sprint_sgl.bench.profile import Profile, mean_profile, profile
from sprint_sgl.bench.report.runs import BenchRun, read_run
from sprint_sgl.errors import BadInput

CAPTION = (
    "prefill: prompts computed at forks and joins; queue: behind other requests; tokenising: until the scheduler has "
    "it; http: both ways, detokenising, waiting for a gateway's worker; program: Python on our side, between calls"
)
PARTS = ("prefill", "queue", "tokenising", "http", "program")


@dataclass(frozen=True)
class MethodProfile:
    """The mean profile of a method's answers.

    `stamped` of the `answers` have the runtime's time stamps. `alone` is set if each answer is one sequential thought,
    which no sibling slows down.
    """

    mean: Profile
    stamped: int
    answers: int
    alone: bool


def method_profiles(run: BenchRun) -> dict[str, MethodProfile]:
    """Return the profiles by method. Raises BadInput if the runtime did not stamp its requests."""
    found = {}
    for side in run.sides:
        profiles = [profile(record.trajectory) for records in side.records.values() for record in records]
        if stamped := [each for each in profiles if each is not None]:
            found[side.name] = MethodProfile(mean_profile(stamped), len(stamped), len(profiles), side.is_sequential)
    if not found:
        raise BadInput(
            f"{run.folder} has no time stamps of the runtime: run the benchmark with runtime.args.enable-metrics=true"
        )
    return found


def build_table(methods: Mapping[str, MethodProfile]) -> Table:
    """Return a table of seconds per question, with shares.

    If a method writes alone, decoding is split at its time per token.
    """
    means = {name: sample.mean for name, sample in methods.items()}
    step = next((sample.mean.step for sample in methods.values() if sample.alone), None)
    shown = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="Seconds per question that its answer waited for",
        caption=CAPTION,
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("where the time goes")
    for name in means:
        shown.add_column(name, justify="right", no_wrap=True)
    for label, seconds in _decoding(means, step):
        shown.add_row(label, *(_with_share(s, p) for s, p in zip(seconds, means.values(), strict=True)))
    for part in (*PARTS, *(["tools"] if any(p.tools for p in means.values()) else [])):
        shown.add_row(part, *(_with_share(getattr(p, part), p) for p in means.values()))
    shown.add_section()
    shown.add_row("all", *(f"{p.seconds:.3f}" for p in means.values()))
    shown.add_row("tokens on the path", *(f"{p.tokens:,.0f}" for p in means.values()))
    shown.add_row("requests on the path", *(f"{p.calls:.1f}" for p in means.values()))
    shown.add_row("milliseconds per token", *(f"{p.step * 1e3:.2f}" for p in means.values()))
    shown.add_row("answers with stamps", *(f"{each.stamped} of {each.answers}" for each in methods.values()))
    return shown


def _decoding(methods: Mapping[str, Profile], step: float | None) -> list[tuple[str, list[float]]]:
    if step is None:
        return [("decode", [p.decode for p in methods.values()])]
    alone = [p.tokens * step for p in methods.values()]
    beside = [p.decode - seconds for p, seconds in zip(methods.values(), alone, strict=True)]
    return [("decode, as fast as alone", alone), ("decode, slower beside siblings", beside)]


def _with_share(seconds: float, of: Profile) -> str:
    return f"{seconds:.3f} {seconds / of.seconds:5.1%}"


def profile_table(folder: Path) -> Table:
    """Return the table of a run's folder. Raises BadInput for a folder without a run or without time stamps."""
    return build_table(method_profiles(read_run(folder)))
