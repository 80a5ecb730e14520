"""Runs side by side: the paper's Table 2 and Figures 4 to 6 from records, as a page, pictures and a CSV.

    sprint-sgl report work/bench work/others --baseline sequential --out work/report

Only runs of the same questions are compared.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from programs.benchmark.charts import Point, pareto_figure, reduction_figure, speed_figure, stages_figure
from programs.benchmark.judging import VERDICTS, judged
from programs.benchmark.lines import Line, Side
from programs.benchmark.records import RECORDS, Record, parsed, read_records
from programs.benchmark.runner import FAILURES, Failure
from programs.benchmark.statistics import Estimate, ratio_of_means
from sprint_sgl import tags
from sprint_sgl.errors import BadInput
from sprint_sgl.pages import chart_style, render, svg
from sprint_sgl.settings import flat
from sprint_sgl.show import critical_path

TEMPLATE = Path(__file__).with_name("report.html.j2")
HARDLY_PARALLEL = 0.1  # share of stages with several prompts below which a SPRINT run is flagged
SHOWN_FAILURES = 50  # of each method and cause
NO_LABEL = {"out", "url", "block", "limit", "against", "time_limit", "runtime"}
ABOUT_PROGRAM = {"program.name", "program._target_", "program.temperature"}
BINS = 5


@dataclass(frozen=True)
class Run:
    """One folder that `sprint-sgl bench` has written."""

    folder: Path
    settings: Mapping[str, Any]
    sides: tuple[Side, ...]


def read_run(folder: Path) -> Run:
    """Raises BadInput for a folder that holds no run, or none that has answered anything."""
    made, path = folder / "run.json", folder / RECORDS
    if not (made.is_file() and path.is_file()):
        raise BadInput(f"{folder} holds no run: sprint-sgl bench out={folder} writes run.json and {RECORDS}")
    records = judged(read_records(path), folder / VERDICTS)
    if not records:
        raise BadInput(f"{folder} holds no finished question yet")
    failures = parsed(folder / FAILURES, lambda line: Failure(**json.loads(line)), "failure")
    names = dict.fromkeys([*(record.method for record in records), *(each.method for each in failures)])
    sides = [Side.of(name, records, [each.id for each in failures if each.method == name]) for name in names]
    if silent := [side.name for side in sides if not side.records]:
        raise BadInput(f"{silent[0]} has answered no question of {folder}: {FAILURES} there says why; start it again")
    try:
        settings = dict(json.loads(made.read_text())["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{made} is no run's record: {error!r}") from error
    return Run(folder, settings, tuple(sides))


def same_questions(runs: Sequence[Run]) -> None:
    """Raises BadInput where two runs, or two methods of one, were not asked the same."""
    asked = {f"{side.name} in {run.folder}": frozenset(side.asked) for run in runs for side in run.sides}
    (first, wanted), *others = asked.items()
    for name, found in others:
        if found != wanted:
            common = len(found & wanted)
            raise BadInput(
                f"not the same questions: {name} was asked {len(found)}, {first} {len(wanted)}, {common} of them the "
                "same; finish the runs, or report them apart"
            )
    texts: dict[str, tuple[str, str]] = {}
    for record in (records[0] for run in runs for side in run.sides for records in side.records.values()):
        if texts.setdefault(record.id, (record.question, record.gold)) != (record.question, record.gold):
            raise BadInput(f"not the same questions: {record.id!r} is not the same one in all of these runs")


def labelled(runs: Sequence[Run]) -> dict[str, tuple[Run, Side]]:
    """Every method of every run under a name that tells it apart: by the settings in which the runs differ."""
    settings = [flat(run.settings) for run in runs]
    keys = sorted({key for each in settings for key in each} - NO_LABEL)
    differ = [key for key in keys if len({json.dumps(each.get(key)) for each in settings}) > 1]
    found: dict[str, tuple[Run, Side]] = {}
    for run, each in zip(runs, settings, strict=True):
        for side in run.sides:
            own = side.name == each.get("program.name")
            told = [key for key in differ if own or not key.startswith("program.")]
            said = [f"{key.rpartition('.')[2]}={each.get(key)}" for key in told if key not in ABOUT_PROGRAM]
            alone = sum(side.name == other.name for one in runs for other in one.sides) == 1
            label = side.name if alone else " ".join([side.name, *said])
            found[label if label not in found else f"{label} in {run.folder}"] = run, side
    return found


def baseline_in(run: Run, runs: Mapping[str, tuple[Run, Side]], base: str) -> Side:
    """The baseline's side of that run, with which it shares its machine and settings, else the named one."""
    named = runs[base][1]
    return next((side for side in run.sides if side.name == named.name), named)


@dataclass(frozen=True)
class Bin:
    """Questions on which the baseline needed between `low` and `high` tokens, and what is saved there (Figure 6)."""

    low: float
    high: float
    questions: int
    saved: Estimate


def bins(side: Side, baseline: Side, count: int = BINS) -> list[Bin]:
    """Equal numbers of questions, from short baselines to long ones."""
    ids = side.common(baseline)
    lengths = dict(zip(ids, baseline.values(critical_path, ids), strict=True))
    ordered = sorted(ids, key=lengths.__getitem__)
    found = []
    for k in range(count):
        part = ordered[k * len(ordered) // count : (k + 1) * len(ordered) // count]
        if part:
            ratio = ratio_of_means(side.values(critical_path, part), baseline.values(critical_path, part))
            saved = Estimate(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
            found.append(Bin(lengths[part[0]], lengths[part[-1]], len(part), saved))
    return found


def stages_by_group(side: Side) -> dict[str, list[tuple[int, int]]]:
    """By group and stage number: questions that come to that stage, and those whose stage has several prompts."""
    found: dict[str, list[tuple[int, int]]] = {}
    records = [record for each in side.records.values() for record in each]
    for group in sorted({record.group for record in records}):
        runs = [record.trajectory.stages for record in records if record.group == group]
        deepest = max(map(len, runs), default=0)
        reached = [[stages[i] for stages in runs if len(stages) > i] for i in range(deepest)]
        found[group] = [(len(stages), sum(len(stage.prompts) > 1 for stage in stages)) for stages in reached]
    return found


def parallel_share(side: Side) -> float:
    """Of all stages, those with several prompts."""
    counts = [count for group in stages_by_group(side).values() for count in group]
    return sum(parallel for _, parallel in counts) / max(sum(reached for reached, _ in counts), 1)


@dataclass(frozen=True)
class Cause:
    """Failures of a method that have one cause, with some of them to read."""

    method: str
    name: str
    count: int
    examples: tuple[Record, ...]


def cause_of(record: Record) -> str:
    """Why the record is wrong, in words that many of them share."""
    if dict(record.trajectory.repairs).get("truncated") and not record.read:
        return "cut off by a token limit"
    if not record.read:
        return "no answer that the rules can read"
    faults = record.reason.split("; ")
    if faults[0].startswith("another "):
        return faults[0].partition(":")[0]
    return re.sub(r"\d+(?:\.\d+|/\d+)?", "#", faults[0]) if len(faults[0]) < 60 else "another answer"


def causes(sides: Mapping[str, Side]) -> Iterator[Cause]:
    """Of every method, the commonest first."""
    for name, side in sides.items():
        found: dict[str, list[Record]] = {}
        for record in (record for records in side.records.values() for record in records if not record.correct):
            found.setdefault(cause_of(record), []).append(record)
        for cause, wrong in sorted(found.items(), key=lambda each: -len(each[1])):
            yield Cause(name, cause, len(wrong), tuple(wrong[:SHOWN_FAILURES]))


def baseline_of(names: Mapping[str, tuple[Run, Side]], wanted: str | None) -> str:
    """The named one, else the first sequential one, else the last. Raises BadInput with the names that there are."""
    if wanted is None:
        return next((name for name, (_, side) in names.items() if side.name == "sequential"), list(names)[-1])
    if found := next((name for name, (_, side) in names.items() if wanted in (name, side.name)), None):
        return found
    raise BadInput(f"no method {wanted!r} in these runs; there are {', '.join(names)}")


def report(folders: Sequence[Path], out: Path, baseline: str | None = None) -> list[Line]:
    """Writes report.html, report.csv and the figures as PNG; returns the table's lines. Raises BadInput."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInput("a run is named twice: name each once")
    runs = [read_run(folder) for folder in folders]
    same_questions(runs)
    found = labelled(runs)
    base = baseline_of(found, baseline)
    sides = {name: side for name, (_, side) in found.items()}
    baselines = {name: baseline_in(run, found, base) for name, (run, _) in found.items()}
    lines = [Line.of(name, side, baselines[name]) for name, side in sides.items()]
    staged = {name: side for name, side in sides.items() if side.name.startswith("sprint")}
    saved = {name: bins(side, baselines[name]) for name, side in sides.items() if side is not baselines[name]}
    flagged = [name for name, side in staged.items() if parallel_share(side) < HARDLY_PARALLEL]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be a folder for the report: {error.strerror}") from error
    with chart_style():
        figures = {
            "pareto": pareto_figure([Point(line.name, line.sequential, line.correct) for line in lines]),
            "reduction": reduction_figure({name: saved[name] for name in staged if name in saved}),
            "stages": stages_figure({name: stages_by_group(side) for name, side in staged.items()}),
            "speed": speed_figure([(line.name, a.promised, a.realised) for line in lines if (a := line.against)]),
        }
        for name, figure in figures.items():
            if figure:
                figure.savefig(out / f"{name}.png", dpi=150)
        charts = {name: svg(figure) if figure else "" for name, figure in figures.items()}
    write_csv(lines, out / "report.csv")
    render(
        TEMPLATE,
        out / "report.html",
        lines=lines,
        baseline=base if all(side is sides[base] for side in baselines.values()) else sides[base].name,
        charts=charts,
        runs=runs,
        flagged=flagged,
        bins=saved,
        causes=list(causes(sides)),
        transcript=tags.transcript,
    )
    return lines


def write_csv(lines: Sequence[Line], path: Path) -> None:
    """One row a line; an estimate becomes three columns."""
    rows = [flat(known(asdict(line))) for line in lines]
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {k: known(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}
