"""Runs as they lie in their folders: read, grouped by task, told apart by their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprint_sgl.bench.failures import FAILURES, drop_answered, read_failures
from sprint_sgl.bench.judging import VERDICTS, add_verdicts
from sprint_sgl.bench.records import read_records
from sprint_sgl.bench.report.lines import MethodRecords
from sprint_sgl.config import flat
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import RECORDS

NOT_IN_LABELS = {"out", "block", "limit", "against", "time_limit"}


@dataclass(frozen=True)
class BenchRun:
    """One folder that `sprint-sgl bench` has written; `task` is a name in conf/task."""

    folder: Path
    task: str
    settings: Mapping[str, Any]
    sides: tuple[MethodRecords, ...]


def read_run(folder: Path) -> BenchRun:
    """Raises BadInput for a folder that holds no run, or none that has answered anything."""
    made, path = folder / "run.json", folder / RECORDS
    if not (made.is_file() and path.is_file()):
        raise BadInput(f"{folder} holds no run: sprint-sgl bench out={folder} writes run.json and {RECORDS}")
    records = add_verdicts(read_records(path), folder / VERDICTS)
    if not records:
        raise BadInput(f"{folder} holds no finished question yet")
    failures = drop_answered(read_failures(folder / FAILURES), records)
    names = dict.fromkeys([*(record.method for record in records), *(each.method for each in failures)])
    sides = [MethodRecords.of(name, records, [each.id for each in failures if each.method == name]) for name in names]
    if silent := [side.name for side in sides if not side.records]:
        raise BadInput(f"{silent[0]} has answered no question of {folder}: {FAILURES} there says why; start it again")
    try:
        record = json.loads(made.read_text())
        return BenchRun(folder, str(record.get("task") or ""), dict(record["settings"]), tuple(sides))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{made} is no run's record: {error!r}") from error


def read_runs(folders: Sequence[Path]) -> dict[str, list[BenchRun]]:
    """The runs by task, of which those of one task were asked the same questions. Raises BadInput."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInput("a run is named twice: name each once")
    found: dict[str, list[BenchRun]] = {}
    for run in map(read_run, folders):
        found.setdefault(run.task, []).append(run)
    for runs in found.values():
        check_same_questions(runs)
    return found


def check_same_questions(runs: Sequence[BenchRun]) -> None:
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


def differing_settings(runs: Sequence[BenchRun]) -> list[str]:
    """The dotted settings in which the runs differ, without those that say nothing of how they were made."""
    settings = [flat(run.settings) for run in runs]
    keys = sorted(
        key for key in {key for each in settings for key in each} if key.partition(".")[0] not in NOT_IN_LABELS
    )
    return [key for key in keys if len({json.dumps(each.get(key)) for each in settings}) > 1]


def swept_settings(runs: Sequence[BenchRun]) -> dict[str, list[float]]:
    """Of these the ones that are a number in every run, with the runs' values: what a sweep goes over."""
    settings, found = [flat(run.settings) for run in runs], dict[str, list[float]]()
    for key in differing_settings(runs):
        values = [each.get(key) for each in settings]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values):
            found[key] = numbers
    return found


def label_methods(runs: Sequence[BenchRun]) -> dict[str, tuple[BenchRun, MethodRecords]]:
    """Every method of every run under a name that tells it apart: by the settings in which the runs differ."""
    found: dict[str, tuple[BenchRun, MethodRecords]] = {}
    for run in runs:
        settings = flat(run.settings)
        for side in run.sides:
            alike = [one for one in runs if any(side.name == other.name for other in one.sides)]
            own = side.name == settings.get("program.name")
            told = [key for key in differing_settings(alike) if own or not key.startswith("program.")]
            said = [f"{key.rpartition('.')[2]}={settings.get(key)}" for key in told]
            label = " ".join([side.name, *said])
            found[label if label not in found else f"{label} in {run.folder}"] = run, side
    return found


def baseline_of_run(run: BenchRun, side: MethodRecords, named: MethodRecords) -> MethodRecords:
    """The baseline's side of that run, with which it shares its machine and settings, else the named one.

    Runs of one and the same method are compared with the named one.
    """
    own = next((each for each in run.sides if each.name == named.name), named)
    return named if own is side and len(run.sides) == 1 else own


def choose_baseline(names: Mapping[str, tuple[BenchRun, MethodRecords]], wanted: str | None) -> str:
    """The named one, else the first sequential one, else the last. Raises BadInput with the names that there are."""
    if wanted is None:
        return next((name for name, (_, side) in names.items() if side.is_sequential), list(names)[-1])
    if found := next((name for name, (_, side) in names.items() if wanted in (name, side.name)), None):
        return found
    raise BadInput(f"no method {wanted!r} in these runs; there are {', '.join(names)}")
