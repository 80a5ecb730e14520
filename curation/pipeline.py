"""The whole curation (paper, section 3.2): load -> verify -> extract -> dag -> pack -> filter -> rows and report.

    sprint-sgl curate source.path=traces.jsonl out=work/curation
    sprint-sgl curate source=openthoughts_math teacher=openai teacher.budget=50 dry_run=true

A start after an interruption resumes: finished stages are not repeated, and answered calls are not paid for again.
`stages=[extract,dag]` runs these stages alone, on the files of the earlier ones.
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

from curation.estimate import estimate_calls, estimate_table
from curation.progress import stage_bars
from curation.records import LinkedTrace, PackedTrace, RawTrace, SegmentedTrace, TraceRecord, read_records
from curation.report.summary import Summary, format_reasons, print_summary, summarise, write_card, write_html
from curation.stages import dag, extract
from curation.stages.base import Outcome, PipelineStage, Report, StageCounts, read_all_results, read_results
from curation.stages.decontaminate import NGrams, benchmark_questions, collect_grams
from curation.stages.extract import RULES
from curation.stages.filter import Filter, Thresholds
from curation.stages.load import TraceSource, load_traces
from curation.stages.pack import MIN_EXECUTION_LINES, pack_record
from curation.stages.rows import RowSettings, count_rows, write_rows
from curation.stages.verify import Verify
from curation.teacher.batches import Collected, collect, pending_keys, submit
from curation.teacher.budget import BudgetReached
from curation.teacher.calls import Account
from curation.teacher.client import STATE, Teacher, TeacherConfig
from sprint_sgl.config import entry_point
from sprint_sgl.console import say, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.storage.files import file_digest, whole_file
from sprint_sgl.storage.output_folders import CURATION, REPLIES, locked_folder, output_folder
from sprint_sgl.validation import checked_count, checked_seconds

WINDOWS = 16  # records in progress for each concurrent request
REVISION = 2  # raised when stages write something else for the same input, so that their old files are not reused
ORDER = ("load", "verify", "extract", "dag", "pack", "filter", "rows")


@dataclass
class Models:
    """The annotators: each a model of the teacher's endpoint, or `rules`.

    extract   finds the steps of a trace
    dag       finds the steps on which each step depends
    """

    extract: str = RULES
    dag: str = RULES


@dataclass
class CurationConfig:
    """The source of the traces, their annotators, and what is kept.

    out           folder of each stage's file, rejected/ with reasons, the rows, their data card and report.html
    stages        stages to run; the stages before them must have been run
    min_lines     executions with fewer lines join their plan (appendix A.2)
    benchmarks    data sets whose questions must not be trained on
    time_limit    seconds for the comparison of one answer
    shard         the part of the source that this run takes, from 0 to shards - 1; curation.merge merges the parts
    shards        number of parts
    dry_run       whether to only estimate calls, tokens and dollars: nothing is asked, nothing is written
    """

    source: TraceSource = field(default_factory=TraceSource)
    models: Models = field(default_factory=Models)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    out: str = "work/curation"
    stages: list[str] = field(default_factory=lambda: list(ORDER))
    min_lines: int = MIN_EXECUTION_LINES
    filter: Thresholds = field(default_factory=Thresholds)
    benchmarks: list[TraceSource] = field(default_factory=list)
    rows: RowSettings = field(default_factory=RowSettings)
    time_limit: float = 5.0
    shard: int = 0
    shards: int = 1
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        """Return the folder of this shard."""
        out = Path(self.out)
        return out if self.shards == 1 else out / f"shard-{self.shard}-of-{self.shards}"


def check_config(config: CurationConfig) -> None:
    """Raise BadInput for settings that would stop the run later."""
    if unknown := [name for name in config.stages if name not in ORDER]:
        raise BadInput(f"stages={unknown[0]!r} is not a stage; the stages are {', '.join(ORDER)}")
    if config.shards < 1:
        raise BadInput(f"shards must be at least 1, got {config.shards}")
    if not 0 <= config.shard < config.shards:
        raise BadInput(f"shard must be in [0, {config.shards}), since shards={config.shards}, got {config.shard}")
    models = {config.models.extract, config.models.dag} - {RULES}
    if config.teacher.budget is not None and (unpriced := sorted(models - config.teacher.prices.keys())):
        raise BadInput(
            f"teacher.budget needs the price of {unpriced[0]}: '+teacher.prices={{NAME: {{input: 1, output: 2}}}}'"
        )
    if not (config.models.extract and config.models.dag):
        raise BadInput("models.extract and models.dag must be `rules` or the name of a model")
    checked_count("min_lines", config.min_lines)
    checked_seconds("time_limit", config.time_limit)
    if config.source.limit is not None:
        checked_count("source.limit", config.source.limit)
    if not config.stages:
        raise BadInput(f"stages=[] is empty; the stages are {', '.join(ORDER)}")
    prompt_style(config.rows.prompt_style)
    if models:
        output_folder(config.teacher.cache, REPLIES)
    if config.teacher.base_url and not models:
        raise BadInput(
            f"the teacher at {config.teacher.base_url} is asked nothing: give models.extract=NAME models.dag=NAME"
        )
    if config.models.extract != RULES and config.models.dag == RULES:
        raise BadInput("models.dag=rules needs models.extract=rules: name a model for both")


Settings = dict[str, Any]
Work = Callable[[Any], Outcome | Awaitable[Outcome]]


def make_stages(config: CurationConfig, teacher: Teacher) -> dict[str, PipelineStage[Any]]:
    """Return the stages before the rows, by name."""
    benchmarks = collect_grams(benchmark_questions(config.benchmarks)) if "verify" in config.stages else NGrams()
    works: dict[str, tuple[type[TraceRecord], Work, Settings]] = {
        "load": (
            RawTrace,
            lambda trace: trace,
            {"source": asdict(config.source), "shard": [config.shard, config.shards], "revision": REVISION},
        ),
        "verify": (
            RawTrace,
            Verify(config.time_limit, benchmarks),
            {
                "time_limit": config.time_limit,
                "benchmarks": [asdict(source) for source in config.benchmarks],
                "grams": benchmarks.digest,
            },
        ),
        "extract": (
            RawTrace,
            *annotator_work(config.models.extract, extract.by_rules, extract.ask, extract.PROMPT.template, teacher),
        ),
        "dag": (
            SegmentedTrace,
            *annotator_work(config.models.dag, dag.by_rules, dag.ask, dag.PROMPT.template, teacher),
        ),
        "pack": (
            LinkedTrace,
            partial(pack_record, min_lines=config.min_lines),
            {"min_lines": config.min_lines, "revision": REVISION},
        ),
        "filter": (PackedTrace, Filter(config.filter), {"thresholds": asdict(config.filter)}),
    }
    window = WINDOWS * config.teacher.concurrency
    return {
        name: PipelineStage(name, config.folder, work, reads, settings, window, partial(teacher.account.costs_of, name))
        for name, (reads, work, settings) in works.items()
    }


def annotator_work(
    model: str, by_rules: Work, ask: Callable[..., Awaitable[Outcome]], prompt: str, teacher: Teacher
) -> tuple[Work, Settings]:
    """Return the work of a stage by rules or by a model, and the settings on which its result depends."""
    if model == RULES:
        return by_rules, {"model": model, "revision": REVISION}
    config = teacher.config
    settings = {"model": model, "structured": config.structured, "url": config.url, "prompt": prompt}
    settings["max_tokens"] = config.max_tokens
    return partial(ask, teacher=teacher, model=model), settings


async def run_stages(config: CurationConfig, report: Report, teacher: Teacher) -> None:
    """Run the stages before the rows. Raises SprintError; finished stages stay finished."""
    stages = make_stages(config, teacher)
    for name in ORDER[:-1]:
        if name in config.stages:
            report(await run_stage(stages[name], config, report))


async def run_stage(stage: PipelineStage[Any], config: CurationConfig, report: Report) -> StageCounts:
    if stage.name == "load":
        traces = load_traces(config.source, config.shard, config.shards)
        return await stage.run(traces, source_digest(config.source), report)
    source = config.folder / f"{ORDER[ORDER.index(stage.name) - 1]}.jsonl"
    if not source.is_file():
        raise BadInput(f"{source} is not there: run the stages before {stage.name} first")
    return await stage.run_file(source, report)


def source_digest(source: TraceSource) -> str:
    """Return the digest of the source's file, or the path of a source that is not a file here."""
    file = source.file
    return file_digest(file) if file and file.is_file() else source.path


def write_accounts(folder: Path, account: Account) -> None:
    """Write funnel.json, the counts of the finished stages, and account.json, the cost of all stages' calls."""
    counts = {name: result.counts for name, result in read_results(folder, ORDER).items()}
    with whole_file(folder / "funnel.json") as file:
        json.dump([stage.to_dict() for stage in counts.values()], file, indent=2)
    earlier = {name: stage.calls for name, stage in counts.items()}
    costs = [cost for name in ORDER for cost in account.costs_of(name) or earlier.get(name, ())]
    with whole_file(folder / "account.json") as file:
        json.dump({"lines": [cost.to_dict() for cost in costs]}, file, indent=2)


def finish(config: CurationConfig) -> None:
    """Write rows and reports from filter.jsonl. Raises BadInput if a stage has read another file than is there."""
    folder = config.folder
    results = read_all_results(folder, ORDER[:-1])
    kept = results["filter"].counts.kept
    rows = count_rows(folder)
    if kept or not rows:
        counts = write_rows(read_records(folder / "filter.jsonl", PackedTrace), config.rows, folder)
    summary = summarise(folder)
    write_html(summary, folder / "report.html")
    if not kept:
        held = f" ({rows:,} rows of an earlier start stay in {folder})" if rows else ""
        print_summary(summary, screen())
        raise BadInput(explain_empty(summary, config) + held)
    by_stage = {name: result.settings for name, result in results.items()}
    write_card(summary, card_settings(by_stage, config.rows), folder / "README.md")
    print_summary(summary, screen())
    if unfinished := [name for name, result in results.items() if result.temporary]:
        say(f"{', '.join(unfinished)}: start the run again to repeat the calls that failed at the endpoint")
    if empty := [name for name, count in counts.items() if not count]:
        share = f"rows.validation={config.rows.validation:g} of the questions of {kept:,} traces"
        say(f"{', '.join(empty)}: no rows, since {share} came to none")


def explain_empty(summary: Summary, config: CurationConfig) -> str:
    """Return why no trace has become a row, with the keys that decide it."""
    lost = next((stage for stage in reversed(summary.funnel) if stage.rejected), None)
    if lost is None:
        return f"no rows: {config.source.path} has no traces"
    reasons = (
        f"no rows: {lost.stage} rejected {sum(lost.rejected.values())} of {lost.read} traces ({format_reasons(lost)})"
    )
    reasons += f"; {config.folder}/rejected/{lost.stage}.jsonl has the details"
    packed = list(read_records(config.folder / "pack.jsonl", PackedTrace))
    short = sum(each.short_executions for each in packed)
    single = sum(len(each.trace.steps) < 2 for each in packed)
    if {"ratio", "no executions"} & lost.rejected.keys():
        if single:
            reasons += f". Of {single} traces the annotator made a single step (models.extract=MODEL asks a model)"
        reasons += f". A trace needs filter.min_ratio={config.filter.min_ratio:g} steps per stage"
        if short:
            reasons += f", and {short} executions with fewer than min_lines={config.min_lines} lines joined their plan"
        reasons += ": lower these keys, or give traces with more, or longer, steps that do not need each other"
    return reasons


def card_settings(by_stage: Mapping[str, Mapping[str, Any]], rows: RowSettings) -> dict[str, Any]:
    """Return the settings for the card, which are those that each stage's files were made with."""
    return {
        "source": by_stage["load"]["source"],
        "models": {name: by_stage[name]["model"] for name in ("extract", "dag")},
        "min_lines": by_stage["pack"]["min_lines"],
        "filter": by_stage["filter"]["thresholds"],
        "benchmarks": by_stage["verify"]["benchmarks"],
        "rows": asdict(rows) | {"format": rows.format.value},
    }


async def curate(config: CurationConfig) -> None:
    """Do a whole run. Raises SprintError."""
    if config.teacher.batch:
        await collect_batches(config.teacher)
    state = Path(config.teacher.cache) / STATE
    check_same_source(config)
    async with Teacher(config.teacher, pending_keys(state)) as teacher:
        write_accounts(config.folder, teacher.account)  # first: they identify the folder as a curation's
        try:
            with stage_bars(lambda: teacher.account.dollars) as report:
                await run_stages(config, report, teacher)
        except BudgetReached:
            await submit_batches(teacher, state)  # so that the next start gets further
            raise
        finally:
            write_accounts(config.folder, teacher.account)
        await submit_batches(teacher, state)
    if "rows" in config.stages:
        finish(config)


def check_same_source(config: CurationConfig) -> None:
    """Raise BadInput if the folder holds the stages of another source, which would be overwritten."""
    before = read_results(config.folder, ("load",)).get("load") if "load" in config.stages else None
    earlier = before.settings.get("source", {}) if before else {}
    for key in ("path", "name", "split"):
        if key in earlier and earlier[key] != getattr(config.source, key):
            raise BadInput(
                f"{config.folder} holds a curation of source.{key}={earlier[key]}: choose another out=FOLDER"
            )


async def collect_batches(config: TeacherConfig) -> None:
    """Put the replies of ended batches into the cache and print the counts."""
    state = Path(config.cache) / STATE
    if pending_keys(state):
        async with Teacher(config) as teacher:
            say(describe_collected(await collect(state, teacher.client, teacher.cache, config.batch_discount)))


async def submit_batches(teacher: Teacher, state: Path) -> None:
    """Submit the teacher's deferred requests."""
    if teacher.deferred:
        count = await submit(teacher.deferred, state, teacher.client)
        say(f"{count} calls submitted in batches, {len(pending_keys(state))} pending: start again to collect them")


def describe_collected(collected: Collected) -> str:
    reasons = "".join(f", {count} x {reason}" for reason, count in collected.reasons.items())
    return (
        f"batches: {collected.done} replies collected, {collected.pending} pending, {collected.failed} failed{reasons}"
    )


async def dry_run(config: CurationConfig) -> None:
    """Run load and verify, which are free, and print an estimate of the other stages. Raises SprintError."""
    if RULES in (config.models.extract, config.models.dag):
        raise BadInput(
            "rules cost nothing: dry_run=true needs models.extract and models.dag, as teacher=openai sets them"
        )
    models = (config.models.extract, config.models.dag)
    with tempfile.TemporaryDirectory(prefix="sprint-sgl-") as folder:
        first = replace(config, stages=["load", "verify"], out=folder)
        async with Teacher(config.teacher) as teacher:
            with stage_bars(lambda: 0.0) as report:
                await run_stages(first, report, teacher)
        traces = read_records(first.folder / "verify.jsonl", RawTrace)
        estimates = await estimate_calls(traces, models, config.teacher)
    screen().print(estimate_table(estimates, config.teacher.batch_discount))


@entry_point("curate", CurationConfig)
def main(config: CurationConfig) -> None:
    check_config(config)
    if config.dry_run:
        asyncio.run(dry_run(config))
        return
    output_folder(config.out, CURATION)  # of all shards
    with locked_folder(config.folder, CURATION):
        asyncio.run(curate(config))


if __name__ == "__main__":
    main()
