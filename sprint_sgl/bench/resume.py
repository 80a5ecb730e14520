"""The folder of a benchmark run: one folder holds records of one set of settings and weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from sprint_sgl.bench.config import BenchConfig, task_name
from sprint_sgl.bench.failures import FAILURES, QuestionFailure, read_failures
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.runner import ProgressLine, Workload
from sprint_sgl.bench.runtime import SERVED
from sprint_sgl.config import changed_keys, command_line, flatten_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import Method
from sprint_sgl.progress import progress_bars
from sprint_sgl.runtime.server import resolve_model
from sprint_sgl.storage.files import RECORDS, open_to_append, whole_file
from sprint_sgl.storage.provenance import git_commit, hub_revision, package_versions, weight_digests

# Settings that may differ between two starts in one folder.
MAY_DIFFER = {"out", "against", "limit", "samples", "block", "time_limit", "url", "task.problems"}
# Weights are compared by their digests, and verdicts are kept in a file of their own.
CHECKED_ELSEWHERE = ("model", "weights", "judge", "runtime")
PACKAGES = ("sprint-sgl", "sglang", "torch", "transformers", "math-verify")


def claim_folder(folder: Path, config: BenchConfig, methods: Sequence[Method]) -> set[str]:
    """Write the run's settings and weights to run.json; return the names of all its methods, earlier ones too.

    Raises BadInput if the folder has records of other settings or weights.
    """
    settings, before = asdict(config), read_earlier_run(folder)
    if before:
        _check_same_settings(folder, flatten_settings(before["settings"]), flatten_settings(settings))
    methods_before = before.get("methods", {})
    methods_now = {method.name: _provenance_of(method, config) for method in methods}
    for name in methods_now.keys() & methods_before.keys():
        for key, value in methods_now[name].items():
            if key != "model" and value != methods_before[name][key]:
                raise BadInput(f"{folder} has records of other {key} for {name}: choose another out=FOLDER")
    run = {
        "task": task_name(),
        "settings": settings,
        "methods": methods_before | methods_now,
        "starts": [
            *before.get("starts", []),
            {"versions": package_versions(PACKAGES), "commit": git_commit(), "command": command_line()},
        ],
    }
    with whole_file(folder / "run.json") as file:
        json.dump(run, file, indent=2)
    return set(run["methods"])


def _check_same_settings(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted(changed_keys(before, now)):
        old, new = before.get(key), now.get(key)
        if key not in MAY_DIFFER and not key.startswith(CHECKED_ELSEWHERE) and as_list(old) != as_list(new):
            difference = f"{key}={setting_text(old)}, not {setting_text(new)}"
            raise BadInput(f"{folder} has records of {difference}: choose another out=FOLDER")


def as_list(value: object) -> object:
    """Return a single value as a list of it: task.numbers=3 says what task.numbers=[3] says."""
    return value if isinstance(value, list) else [value]


def setting_text(value: object) -> str:
    """Return a value as an override writes it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def read_earlier_run(folder: Path) -> dict[str, Any]:
    """Return the folder's run.json; {} if there are no records yet. Raises BadInput for a damaged file."""
    path, records = folder / "run.json", folder / RECORDS
    if not (records.is_file() and records.stat().st_size):
        return {}
    if not path.is_file():
        raise BadInput(
            f"{folder} holds {RECORDS} without run.json, so nobody knows how they were made: choose another out="
        )
    try:
        before: dict[str, Any] = json.loads(path.read_text())
        if isinstance(before["settings"], dict) and isinstance(before["methods"], dict):
            return before
    except (ValueError, TypeError, KeyError):
        pass
    raise BadInput(f"{path} is damaged and does not say how the records were made: choose another out=FOLDER")


def _provenance_of(method: Method, config: BenchConfig) -> dict[str, Any]:
    """Return a method's settings, model and weights: the files' digests, the hub's revision, or the server's URL."""
    model, url = config.weights_of(method.name), config.url or config.runtime.url
    if model == SERVED:
        if not url:
            raise BadInput(f"{SERVED!r} is the model of a running server: give url=...")
        return {"settings": dict(method.settings), "model": model, "weights": {"url": url}}
    path = resolve_model(model)
    weights: dict[str, str | None] = {**weight_digests(Path(path))} or {"hub": path, "revision": hub_revision(path)}
    return {"settings": dict(method.settings), "model": path, "weights": weights}


def earlier_failures(folder: Path, work: Workload, names: Collection[str]) -> list[QuestionFailure]:
    """Return the failures of earlier starts, of methods in `names`, that this start does not ask again."""
    asked = {(method.name, each.question.id, each.number) for method in work.methods for each in work.samples}
    failures = read_failures(folder / FAILURES)
    return [each for each in failures if each.key not in asked and each.method in names]


def earlier_records(records: Sequence[Record], work: Workload, folder: Path) -> list[Record]:
    """Return the records that this start asks for. Raises BadInput if one has another question under the same id."""
    methods = {method.name for method in work.methods}
    questions = {(each.question.id, each.number): each.question for each in work.samples}
    wanted = [each for each in records if each.method in methods and (each.id, each.sample) in questions]
    for record in wanted:
        question = questions[record.id, record.sample]
        if (record.question, record.gold) != (question.text, question.gold):
            raise BadInput(f"{folder} has records of another question {record.id!r}: choose another out=FOLDER")
    return wanted


@contextmanager
def record_writer(
    path: Path, records: list[Record], total: int, console: Console
) -> Iterator[Callable[[Record], None]]:
    """Yield a function that writes a record, adds it to `records` and advances the progress bar."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[details]}"))
    with progress_bars(*columns, console=console) as progress, open_to_append(path) as file:
        details = "" if len(records) == total else "starting"
        bar = progress.add_task("answers", total=total, completed=len(records), details=details)
        line = ProgressLine(records)

        def keep(record: Record) -> None:
            file.write(record.to_json() + "\n")
            file.flush()
            records.append(record)
            progress.update(bar, advance=1, details=line.add(record))

        yield keep
