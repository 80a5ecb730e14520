"""The whole curation (paper, section 3.2): load -> verify -> extract -> dag -> pack -> filter -> rows, and a report.

    sprint-sgl curate source.path=traces.jsonl out=work/curation
    sprint-sgl curate source=openthoughts_math teacher=openai teacher.budget=50 dry_run=true

Started again after an interruption it goes on where it was: a finished stage is not repeated, an answered call not
paid for again. `stages=[extract,dag]` runs those alone, on the files that are there.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from curation.estimate import estimate, table
from curation.progress import watching
from curation.report.summary import print_summary, summarise, write_card, write_html
from curation.stages import dag, extract
from curation.stages.base import (
    Funnel,
    Outcome,
    Record,
    Stage,
    Watch,
    Work,
    chain,
    each,
    ended,
    read_jsonl,
)
from curation.stages.decontaminate import Grams, benchmark_questions, grams_of
from curation.stages.extract import RULES
from curation.stages.filter import Filter, Thresholds
from curation.stages.load import Source, thoughts
from curation.stages.pack import MIN_EXECUTION_LINES, packed_record
from curation.stages.rows import RowSettings, write_rows
from curation.stages.verify import Verify
from curation.teacher.batches import Collected, awaited, collect, submit
from curation.teacher.budget import BudgetReached
from curation.teacher.calls import Account
from curation.teacher.client import STATE, Teacher, TeacherConfig
from sprint_sgl.config import entry_point
from sprint_sgl.console import say, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.storage.files import file_digest, whole_file
from sprint_sgl.storage.output_folders import CURATION, REPLIES, locked_folder, output_folder

WINDOWS = 16  # so many records in the works for each request that may be under way
REVISION = 2  # raised where stages write something else for the same input: their old files are not taken up then
ORDER = ("load", "verify", "extract", "dag", "pack", "filter", "rows")


@dataclass
class Models:
    """Who extracts steps and who names their dependencies: a model of the teacher's endpoint, or `rules`."""

    extract: str = RULES
    dag: str = RULES


@dataclass
class Config:
    """What goes in, who annotates it, what is kept.

    out           every stage's file, rejected/ with reasons, the rows, report.html and the rows' card
    stages        those to run, in the pipeline's order; the earlier ones must have been run
    min_lines     executions with fewer lines join their plan (appendix A.2)
    benchmarks    data sets whose questions must not be trained on
    time_limit    seconds for the comparison of one answer
    shard         which of `shards` parts of the source this run takes; curation.merge puts them together
    dry_run       only counts calls, tokens and dollars: nothing is asked, nothing is written
    """

    source: Source = field(default_factory=Source)
    models: Models = field(default_factory=Models)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    out: str = "work/curation"
    stages: list[str] = field(default_factory=lambda: list(ORDER))
    min_lines: int = MIN_EXECUTION_LINES
    filter: Thresholds = field(default_factory=Thresholds)
    benchmarks: list[Source] = field(default_factory=list)
    rows: RowSettings = field(default_factory=RowSettings)
    time_limit: float = 5.0
    shard: int = 0
    shards: int = 1
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        whole = Path(self.out)
        return whole if self.shards == 1 else whole / f"shard-{self.shard}-of-{self.shards}"


def check(config: Config) -> None:
    """Finds what would stop the run before anything is read. Raises BadInput."""
    if unknown := [name for name in config.stages if name not in ORDER]:
        raise BadInput(f"stages={unknown[0]!r} is not a stage; they are {', '.join(ORDER)}")
    if not 0 <= config.shard < config.shards:
        raise BadInput(f"shard={config.shard} is not one of the {config.shards} shards, which start at 0")
    models = {config.models.extract, config.models.dag} - {RULES}
    if config.teacher.budget is not None and (unpriced := sorted(models - config.teacher.prices.keys())):
        raise BadInput(
            f"teacher.budget needs the price of {unpriced[0]}: '+teacher.prices={{NAME: {{input: 1, output: 2}}}}'"
        )
    if not (config.models.extract and config.models.dag):
        raise BadInput("models.extract and models.dag are rules, or a model's name")
    if config.min_lines < 1 or not config.time_limit > 0 or (config.source.limit or 1) < 1:
        raise BadInput("min_lines and source.limit must be at least 1, time_limit above 0")
    if not config.stages:
        raise BadInput(f"stages=[] leaves nothing to do; they are {', '.join(ORDER)}")
    prompt_style(config.rows.prompt_style)
    if models:
        output_folder(config.teacher.cache, REPLIES)
    if config.models.extract != RULES and config.models.dag == RULES:
        raise BadInput("models.dag=rules knows only the components of models.extract=rules: name a model for both")


def make_stages(config: Config, teacher: Teacher) -> dict[str, Stage]:
    """The stages before the rows, by name."""
    benchmarks = grams_of(benchmark_questions(config.benchmarks)) if "verify" in config.stages else Grams()
    works: dict[str, tuple[Work, dict[str, Any]]] = {
        "load": (
            _same,
            {"source": asdict(config.source), "shard": [config.shard, config.shards], "revision": REVISION},
        ),
        "verify": (
            Verify(config.time_limit, benchmarks),
            {
                "time_limit": config.time_limit,
                "benchmarks": [asdict(source) for source in config.benchmarks],
                "grams": benchmarks.digest,
            },
        ),
        "extract": annotation(config.models.extract, extract.by_rules, extract.ask, extract.PROMPT.template, teacher),
        "dag": annotation(config.models.dag, dag.by_rules, dag.ask, dag.PROMPT.template, teacher),
        "pack": (
            partial(packed_record, min_lines=config.min_lines),
            {"min_lines": config.min_lines, "revision": REVISION},
        ),
        "filter": (Filter(config.filter), {"thresholds": asdict(config.filter)}),
    }
    window = WINDOWS * config.teacher.concurrency
    return {
        name: Stage(name, config.folder, work, depends, window, partial(teacher.account.lines_of, name))
        for name, (work, depends) in works.items()
    }


def _same(record: Record) -> Outcome:
    return record


def annotation(
    model: str, by_rules: Work, ask: Callable[..., Awaitable[Outcome]], prompt: str, teacher: Teacher
) -> tuple[Work, dict[str, Any]]:
    """The work of a stage that rules or a model do, and what its result depends on."""
    if model == RULES:
        return by_rules, {"model": model, "revision": REVISION}
    config = teacher.config
    depends = {"model": model, "structured": config.structured, "url": config.url, "prompt": prompt}
    depends["max_tokens"] = config.max_tokens
    return partial(ask, teacher=teacher, model=model), depends


async def run(config: Config, watch: Watch, teacher: Teacher) -> None:
    """Runs the stages. Raises SprintError; what has been done stays."""
    stages = make_stages(config, teacher)
    for name in ORDER[:-1]:
        if name in config.stages:
            watch(await run_stage(stages, name, config, watch))


async def run_stage(stages: dict[str, Stage], name: str, config: Config, watch: Watch) -> Funnel:
    stage = stages[name]
    if name == "load":
        file = config.source.file
        digest = file_digest(file) if file and file.is_file() else config.source.path
        records = thoughts(config.source, config.shard, config.shards)
        return stage.done(digest) or await stage.write(each(records), digest, watch)
    source = config.folder / f"{ORDER[ORDER.index(name) - 1]}.jsonl"
    if not source.is_file():
        raise BadInput(f"{source} is not there: run the stages before {name} first")
    return await stage.run(source, watch)


def write_accounts(folder: Path, account: Account) -> None:
    """funnel.json of all stages that have ended, account.json of these and of one that this start began and left."""
    funnels = {name: done.funnel for name, done in ended(folder, ORDER).items()}
    with whole_file(folder / "funnel.json") as file:
        json.dump([asdict(funnel) for funnel in funnels.values()], file, indent=2)
    earlier = {name: funnel.calls for name, funnel in funnels.items()}
    lines = [line for name in ORDER for line in account.lines_of(name) or earlier.get(name, [])]
    with whole_file(folder / "account.json") as file:
        json.dump({"lines": lines}, file, indent=2)


def finish(config: Config) -> None:
    """Rows and reports from filter.jsonl. Raises BadInput where the files there were not made from one another."""
    folder = config.folder
    done = chain(folder, ORDER[:-1])
    counts = write_rows(read_jsonl(folder / "filter.jsonl"), config.rows, folder)
    summary = summarise(folder)
    write_html(summary, folder / "report.html")
    made_by = {name: stage.settings for name, stage in done.items()}
    write_card(summary, stated(made_by, config.rows), folder / "README.md")
    print_summary(summary, screen())
    if empty := [name for name, count in counts.items() if not count]:
        say(f"{', '.join(empty)}: no rows. rows.validation={config.rows.validation} is the held-out share")
    if passing := [name for name, stage in done.items() if stage.passing]:
        say(f"{', '.join(passing)}: what failed at the endpoint is asked again when the run is started again")


def stated(made_by: Mapping[str, Mapping[str, Any]], rows: RowSettings) -> dict[str, Any]:
    """The settings as the card states them, which are those that each stage's files were made with."""
    return {
        "source": made_by["load"]["source"],
        "models": {name: made_by[name]["model"] for name in ("extract", "dag")},
        "min_lines": made_by["pack"]["min_lines"],
        "filter": made_by["filter"]["thresholds"],
        "benchmarks": made_by["verify"]["benchmarks"],
        "rows": asdict(rows) | {"format": rows.format.value},
    }


async def curate(config: Config) -> None:
    """A whole run. Raises SprintError."""
    if config.teacher.batch:
        await collect_batches(config.teacher)
    state = Path(config.teacher.cache) / STATE
    async with Teacher(config.teacher, awaited(state)) as teacher:
        write_accounts(config.folder, teacher.account)  # first, since the folder is known by them
        try:
            with watching(lambda: teacher.account.dollars) as watch:
                await run(config, watch, teacher)
        except BudgetReached:
            await submit_batches(teacher, state)  # what the budget allows goes out, so that the next start gets further
            raise
        finally:
            write_accounts(config.folder, teacher.account)
        await submit_batches(teacher, state)
    if "rows" in config.stages:
        finish(config)


async def collect_batches(config: TeacherConfig) -> None:
    """Puts what has come back into the cache, and says what has not."""
    state = Path(config.cache) / STATE
    if awaited(state):
        async with Teacher(config) as teacher:
            say(said_of(await collect(state, teacher.client, teacher.cache, config.batch_discount)))


async def submit_batches(teacher: Teacher, state: Path) -> None:
    """Sends what the teacher has left to a batch."""
    if teacher.pending:
        count = await submit(teacher.pending, state, teacher.client)
        say(f"{count} calls submitted in batches, {len(awaited(state))} wait: start again to collect them")


def said_of(found: Collected) -> str:
    failed = "".join(f", {count} x {reason}" for reason, count in found.reasons.items())
    return f"batches: {found.done} answers collected, {found.pending} pending, {found.failed} failed{failed}"


async def dry_run(config: Config) -> None:
    """Loads and verifies, which costs nothing, and prints what the rest would. Raises SprintError."""
    if RULES in (config.models.extract, config.models.dag):
        raise BadInput(
            "rules cost nothing: dry_run=true needs models.extract and models.dag, as teacher=openai sets them"
        )
    models = (config.models.extract, config.models.dag)
    with tempfile.TemporaryDirectory(prefix="sprint-sgl-") as folder:
        first = replace(config, stages=["load", "verify"], out=folder)
        async with Teacher(config.teacher) as teacher:
            with watching(lambda: 0.0) as watch:
                await run(first, watch, teacher)
        found = await estimate(read_jsonl(first.folder / "verify.jsonl"), models, config.teacher)
    screen().print(table(found, config.teacher.batch_discount))


@entry_point("curate", Config)
def main(config: Config) -> None:
    check(config)
    if config.dry_run:
        asyncio.run(dry_run(config))
        return
    output_folder(config.out, CURATION)  # of all shards
    with locked_folder(config.folder, CURATION):
        asyncio.run(curate(config))


if __name__ == "__main__":
    main()
