"""Reads benchmark runs from their folders, groups them by task, and labels their methods by differing settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprint_sgl.bench.failures import FAILURES, drop_answered, read_failures
from sprint_sgl.bench.judging import VERDICTS, add_verdicts
from sprint_sgl.bench.records import read_records
from sprint_sgl.bench.report.figures import MethodRecords
from sprint_sgl.config import flatten_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import RECORDS

NOT_IN_LABELS = {"out", "block", "limit", "against", "time_limit"}


@dataclass(frozen=True)
class BenchRun:
    """One folder that `sprint-sgl bench` has written; `task` is a name in conf/task, `command` its first start."""

    folder: Path
    task: str
    settings: Mapping[str, Any]
    sides: tuple[MethodRecords, ...]
    command: str = ""


def read_run(folder: Path) -> BenchRun:
    """Return the run in a folder. Raises BadInput for a folder without a run, or without an answered question."""
    run_file, path = folder / "run.json", folder / RECORDS
    if not (run_file.is_file() and path.is_file()):
        raise BadInput(f"{folder} contains no run: sprint-sgl bench out={folder} writes run.json and {RECORDS}")
    records = add_verdicts(read_records(path), folder / VERDICTS)
    if not records:
        raise BadInput(f"{folder} contains no finished question yet")
    failures = drop_answered(read_failures(folder / FAILURES), records)
    names = dict.fromkeys([*(record.method for record in records), *(each.method for each in failures)])
    sides = [MethodRecords.of(name, records, [each.id for each in failures if each.method == name]) for name in names]
    if silent := [side.name for side in sides if not side.records]:
        raise BadInput(
            f"{silent[0]} has answered no question in {folder}: {FAILURES} there has the errors; start the run again"
        )
    try:
        run = json.loads(run_file.read_text())
        command = str((run.get("starts") or [{}])[0].get("command") or "")
        return BenchRun(folder, str(run.get("task") or ""), dict(run["settings"]), tuple(sides), command)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{run_file} does not describe a benchmark run: {error!r}") from error


def read_runs(folders: Sequence[Path]) -> dict[str, list[BenchRun]]:
    """Return the runs by task. Raises BadInput if runs of one task were asked different questions."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInput("a run is named twice: name each once")
    found: dict[str, list[BenchRun]] = {}
    for run in map(read_run, folders):
        found.setdefault(run.task, []).append(run)
    for runs in found.values():
        check_same_questions(runs)
    return found


def check_same_questions(runs: Sequence[BenchRun]) -> None:
    """Raise BadInput if two runs, or two methods of one run, were asked different questions."""
    asked = {f"{side.name} in {run.folder}": frozenset(side.asked_ids) for run in runs for side in run.sides}
    (first, wanted), *others = asked.items()
    for name, found in others:
        if found != wanted:
            common = len(found & wanted)
            raise BadInput(
                f"not the same questions: {name} was asked {len(found)}, {first} {len(wanted)}, {common} of them the "
                "same; finish the runs, or report on them separately"
            )
    texts: dict[str, tuple[str, str]] = {}
    for record in (records[0] for run in runs for side in run.sides for records in side.records.values()):
        if texts.setdefault(record.id, (record.question, record.gold)) != (record.question, record.gold):
            raise BadInput(f"not the same questions: {record.id!r} is another question in one of these runs")


def differing_settings(runs: Sequence[BenchRun]) -> list[str]:
    """Return the dotted settings in which the runs differ, except those that do not affect the records."""
    settings = [flatten_settings(run.settings) for run in runs]
    keys = sorted(
        key for key in {key for each in settings for key in each} if key.partition(".")[0] not in NOT_IN_LABELS
    )
    return [key for key in keys if len({json.dumps(each.get(key)) for each in settings}) > 1]


def swept_settings(runs: Sequence[BenchRun]) -> dict[str, list[float]]:
    """Return the values, one for each run, of the differing settings that are numbers: what a sweep varies."""
    settings, found = [flatten_settings(run.settings) for run in runs], dict[str, list[float]]()
    for key in differing_settings(runs):
        values = [each.get(key) for each in settings]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values):
            found[key] = numbers
    return found


def label_methods(runs: Sequence[BenchRun]) -> dict[str, tuple[BenchRun, MethodRecords]]:
    """Return every method of every run under a unique label: its name and the settings in which its runs differ."""
    labelled: dict[str, tuple[BenchRun, MethodRecords]] = {}
    for run in runs:
        settings = flatten_settings(run.settings)
        for side in run.sides:
            with_method = [each for each in runs if any(side.name == other.name for other in each.sides)]
            is_program = side.name == settings.get("program.name")  # `program.` settings are of this method alone
            keys = [key for key in differing_settings(with_method) if is_program or not key.startswith("program.")]
            differences = (_difference(key, settings.get(key), side.name) for key in keys)
            label = " ".join([side.name, *filter(None, differences)])
            labelled[label if label not in labelled else f"{label} in {run.folder}"] = run, side
    return labelled


def _difference(key: str, value: Any, method: str) -> str:
    """Return a differing setting as a label shows it; of weights those of the method alone, by their path."""
    if key.startswith("weights."):
        return str(value) if key == f"weights.{method}" and value else ""
    return f"{key.rpartition('.')[2]}={value}"


def baseline_of_run(run: BenchRun, side: MethodRecords, named: MethodRecords) -> MethodRecords:
    """Return the run's own records of the baseline, made on the same machine with the same settings, else `named`.

    A run of the baseline alone is compared with `named` too.
    """
    own = next((each for each in run.sides if each.name == named.name), named)
    return named if own is side and len(run.sides) == 1 else own


def choose_baseline(names: Mapping[str, tuple[BenchRun, MethodRecords]], wanted: str | None) -> str:
    """Return the label of the wanted baseline, by default the first sequential method, else the last method.

    Raises BadInput, which lists the labels, if there is no such method.
    """
    if wanted is None:
        return next((name for name, (_, side) in names.items() if side.is_sequential), list(names)[-1])
    if label := next((name for name, (_, side) in names.items() if wanted in (name, side.name)), None):
        return label
    raise BadInput(f"no method {wanted!r} in these runs; known: {', '.join(names)}")
