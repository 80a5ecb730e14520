"""Methods on a task, on one runtime: accuracy, tokens, wall clock.

    sprint-sgl bench task=countdown task.problems=300 program=sprint against=[sequential] out=work/bench

Each question's record is written as it finishes; a run that is started again goes on where it stopped. A sweep keeps
the runtime between its jobs, and each job's records in a folder of its own below `out`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sprint_sgl.bench.failures import FAILURES, Failure, read_failures, write_failures
from sprint_sgl.bench.judging import VERDICTS, judge, judged
from sprint_sgl.bench.records import Record, mend, read_records
from sprint_sgl.bench.report.tables import comparison
from sprint_sgl.bench.runner import Ask, Tally, Work, run
from sprint_sgl.bench.runtime import SERVED, resident
from sprint_sgl.bench.sweep import write_report
from sprint_sgl.config import changed, entry_point, flat, made
from sprint_sgl.console import say, screen
from sprint_sgl.errors import BadInput, RequestFailed
from sprint_sgl.lang.methods import Method, build_method, method_names, named_method, weights_for
from sprint_sgl.limits import checked_count, checked_seconds, checked_temperature
from sprint_sgl.runtime.server import RuntimeConfig, resolve_model
from sprint_sgl.storage.files import RECORDS, lines_added, whole_file
from sprint_sgl.storage.output_folders import BENCH, alone, output_folder
from sprint_sgl.storage.provenance import commit, hub_revision, versions, weight_digests
from sprint_sgl.tasks.base import Question, Task
from sprint_sgl.tasks.question import checked_question

# Between two starts in one folder.
MAY_CHANGE = {"out", "against", "limit", "samples", "block", "time_limit", "url", "task.problems"}
APART = ("model", "weights", "judge", "runtime")  # weights are compared themselves, verdicts are kept apart
LONGEST_NAME = 120  # characters of a folder's name
PACKAGES = ("sprint-sgl", "sglang", "torch", "transformers", "math-verify")


@dataclass
class Config:
    """What is compared, on what, and how.

    task, program   names in conf/task and conf/program
    model           a name in conf/models, which says whose weights each program runs on, or one model for all;
                    `served` is the one that the server at `url` has
    weights         of single programs, before what the model says
    against         other programs, as their files have them, that take turns with `program`
    out             the run's folder; started again, it goes on where it stopped
    limit           questions of the task, the first ones
    samples         of each question; accuracy is their mean (pass@1)
    temperature     the program's own, if not given
    max_new_tokens  of a call, other than one whole thought (program.max_tokens); the model's own, or the paper's 8,000
    time_limit      seconds that one call may take
    concurrency     questions at a time; wall clock is comparable at 1
    block           questions between two changes of the method; by default a few for each of those at a time
    seed            of all samples; honoured by runtimes with deterministic inference, which otherwise draw all alike
    runtime         a name in conf/runtime; by default the GPU's where there is one, else the CPU's
    url             or a server that runs already, whose weights are swapped
    judge           grades answers that the rules cannot read (conf/judge)
    """

    task: Any = MISSING
    program: Any = MISSING
    model: str = "countdown_mini"
    weights: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(method_names()))
    judge: Any = None
    against: Any = field(default_factory=list)
    out: str = "work/bench"
    limit: int | None = None
    samples: int = 1
    temperature: float | None = None
    max_new_tokens: int | None = None
    time_limit: float = 1800.0
    concurrency: int = 1
    block: int | None = None
    seed: int = 1
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    url: str | None = None

    @property
    def folder(self) -> Path:
        """`out`, or in a sweep a folder below it, named by the values that its records depend on."""
        if not sweeping():
            return Path(self.out)
        name = re.sub(r"[^\w.,=+-]", "_", HydraConfig.get().job.override_dirname)
        short = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return Path(self.out, short if len(name) > LONGEST_NAME else name)

    def weights_of(self, method: str) -> str:
        """Whose weights that method runs on. Raises BadInput where nothing names any."""
        return self.weights.get(method) or weights_for(self.model, method)


def sweeping() -> bool:
    """Whether this is one job of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_name() -> str | None:
    """The task's name in conf/task; None where the settings did not come through Hydra."""
    return HydraConfig.get().runtime.choices.get("task") if HydraConfig.initialized() else None


def check(config: Config) -> None:
    """Refuses what cannot be run before anything starts. Raises BadInput."""
    for name in ("limit", "samples", "concurrency", "block", "max_new_tokens"):
        if (value := getattr(config, name)) is not None:
            checked_count(name, value)
    checked_seconds("time_limit", config.time_limit)
    if config.temperature is not None:
        checked_temperature(config.temperature)
    if config.url and config.runtime != RuntimeConfig():
        raise BadInput(f"{config.url} runs already: leave either url=... or runtime=... out")


def methods_of(config: Config) -> list[Method]:
    """The program and those it is compared with. Raises BadInput for one that is named twice."""
    against = config.against.split(",") if isinstance(config.against, str) else config.against
    found = [build_method(config.program), *map(named_method, against)]
    names = [method.name for method in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{twice} is compared with itself: name each program once in program= and against=")
    return found


def questions_of(task: Task, limit: int | None) -> list[Question]:
    """Raises BadInput for none, and for two of one id."""
    found = list(islice(task.questions(), limit))
    if not found:
        raise BadInput("the task has no questions")
    for number, question in enumerate(found, 1):
        try:
            checked_question(question.text)
            "".join([question.id, question.text, question.gold, question.group]).encode()
        except (BadInput, UnicodeEncodeError) as error:
            raise BadInput(f"question {number} of the task, {question.id!r}: {error}") from error
    ids = [question.id for question in found]
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise BadInput(f"two questions have the id {twice!r}: records are told apart by it")
    return found


def claim(folder: Path, config: Config, methods: Sequence[Method]) -> set[str]:
    """Keeps in run.json what the run is made by; returns the names of all its methods.

    Raises BadInput if records there were made in another way.
    """
    path, settings = folder / "run.json", asdict(config)
    before = made_before(folder)
    if before:
        then, now = flat(before["settings"]), flat(settings)
        for key in sorted(changed(then, now)):
            if key not in MAY_CHANGE and not key.startswith(APART):
                made_with = f"{key}={then.get(key)}, not {now.get(key)}"
                raise BadInput(f"{folder} holds records of {made_with}: choose another out=FOLDER")
    made_by = {method.name: _made_by(method, config) for method in methods}
    for name in made_by.keys() & before.get("methods", {}).keys():
        for key, value in made_by[name].items():
            if key != "model" and value != before["methods"][name][key]:
                raise BadInput(f"{folder} holds records of other {key} for {name}: choose another out=FOLDER")
    starts = [*before.get("starts", []), {"versions": versions(PACKAGES), "commit": commit()}]
    found = {
        "task": task_name(),
        "settings": settings,
        "methods": before.get("methods", {}) | made_by,
        "starts": starts,
    }
    with whole_file(path) as file:
        json.dump(found, file, indent=2)
    return set(found["methods"])


def made_before(folder: Path) -> dict[str, Any]:
    """The folder's run.json; nothing where no record depends on it yet. Raises BadInput for one that is damaged."""
    path, records = folder / "run.json", folder / RECORDS
    if not (path.is_file() and records.is_file() and records.stat().st_size):
        return {}
    try:
        before: dict[str, Any] = json.loads(path.read_text())
        if isinstance(before["settings"], dict) and isinstance(before["methods"], dict):
            return before
    except (ValueError, TypeError, KeyError):
        pass
    raise BadInput(f"{path} does not say how the records beside it were made: choose another out=FOLDER")


def _made_by(method: Method, config: Config) -> dict[str, Any]:
    """A method's settings and weights: their digests, or a commit of the hub, or the server that has them."""
    model, url = config.weights_of(method.name), config.url or config.runtime.url
    if model == SERVED:
        if not url:
            raise BadInput(f"{SERVED!r} is the model of a server that runs already: give url=...")
        return {"settings": dict(method.settings), "model": model, "weights": {"url": url}}
    path = resolve_model(model)
    weights: dict[str, str | None] = {**weight_digests(Path(path))} or {"hub": path, "revision": hub_revision(path)}
    return {"settings": dict(method.settings), "model": path, "weights": weights}


def bench(config: Config, console: Console) -> list[Record]:
    """Runs what is missing, prints the comparison and writes it beside the records; returns those asked for.

    Raises RequestFailed at the end for questions that could not be asked, RuntimeUnavailable where the runtime is gone.
    """
    check(config)
    output_folder(config.out, BENCH)  # of all jobs of a sweep
    task, methods = made(config.task, "task"), methods_of(config)
    config.program = dict(methods[0].settings)  # with the defaults that its file leaves out
    grader = made(config.judge, "judge") if config.judge else None
    asks = [Ask(each, sample) for each in questions_of(task, config.limit) for sample in range(config.samples)]
    work = Work(
        task=task,
        methods=methods,
        weights=config.weights_of,
        asks=asks,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        concurrency=config.concurrency,
        block=config.block or max(25, 4 * config.concurrency),
    )
    with alone(config.folder, BENCH) as folder:
        known = claim(folder, config, methods)
        mend(folder / RECORDS)
        records = asked_before(read_records(folder / RECORDS), work, folder)
        total = len(asks) * len(methods)
        with keeping(folder / RECORDS, records, total, console) as keep:
            runtime = resident(config.runtime, config.url, config.time_limit)
            failures = run(work, runtime, {record.key for record in records}, keep)
        write_failures(folder / FAILURES, [*others_failures(folder, work, known), *failures])
        unjudged: RequestFailed | None = None
        try:
            if grader:
                judge(records, grader, folder / VERDICTS)
        except RequestFailed as error:
            unjudged = error  # the figures by the rules are there all the same
        records = judged(records, folder / VERDICTS)
    groups = {ask.question.id: ask.question.group for ask in asks}
    shown = comparison(records, [method.name for method in methods], failures, groups)
    console.print(*shown)
    with whole_file(folder / "table.txt") as file:
        Console(file=file, width=160).print(*shown)
    if unjudged:
        raise unjudged
    if failures:
        raise RequestFailed(
            f"{len(failures)} of {total} could not be asked, the first: {failures[0].error}; all are in "
            f"{folder / FAILURES}, and are asked again when the run is started again"
        )
    return records


def others_failures(folder: Path, work: Work, known: Collection[str]) -> list[Failure]:
    """What the run's methods could not be asked at earlier starts, and were not asked at this one."""
    asked = {(method.name, ask.question.id, ask.sample) for method in work.methods for ask in work.asks}
    failures = read_failures(folder / FAILURES)
    return [each for each in failures if each.key not in asked and each.method in known]


def asked_before(records: Sequence[Record], work: Work, folder: Path) -> list[Record]:
    """Those of what is asked now. Raises BadInput for one that was asked something else under the same id."""
    methods = {method.name for method in work.methods}
    asked = {(ask.question.id, ask.sample): ask.question for ask in work.asks}
    found = [record for record in records if record.method in methods and (record.id, record.sample) in asked]
    for record in found:
        question = asked[record.id, record.sample]
        if (record.question, record.gold) != (question.text, question.gold):
            raise BadInput(f"{folder} holds records of another question {record.id!r}: choose another out=FOLDER")
    return found


@contextmanager
def keeping(path: Path, records: list[Record], total: int, console: Console) -> Iterator[Any]:
    """A function that writes a record, adds it to `records` and moves the progress bar."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress, lines_added(path) as file:
        bar, tally = progress.add_task("starting", total=total, completed=len(records)), Tally(records)

        def keep(record: Record) -> None:
            file.write(record.to_json() + "\n")
            file.flush()
            records.append(record)
            progress.update(bar, advance=1, description=tally.add(record))

        yield keep


@entry_point("bench", Config)
def main(config: Config) -> None:
    try:
        bench(config, screen())
        if not sweeping():
            write_report([config.folder], config.folder / "report")
    except RequestFailed as error:
        if not sweeping():
            raise
        say(f"{config.folder}: {error}", style="red")


if __name__ == "__main__":
    main()
