"""Compares methods on a task, on one runtime: accuracy, tokens, wall clock.

    sprint-sgl bench task=countdown task.problems=300 program=sprint against=[sequential] out=work/bench

Each question's record is written as it finishes; a run that is started again resumes where it stopped. A sweep keeps
the runtime between its jobs, and each job's records in a folder of its own below `out`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from sprint_sgl.bench.config import BenchConfig, check_config, is_sweep_job
from sprint_sgl.bench.failures import FAILURES, QuestionFailure, write_failures
from sprint_sgl.bench.judging import VERDICTS, add_verdicts, ask_judge
from sprint_sgl.bench.records import Record, read_records, truncate_partial_line
from sprint_sgl.bench.report.tables import comparison_tables
from sprint_sgl.bench.resume import claim_folder, earlier_failures, earlier_records, record_writer
from sprint_sgl.bench.runner import QuestionSample, Workload, run_workload
from sprint_sgl.bench.runtime import resident_runtime
from sprint_sgl.bench.sweep import report_runs
from sprint_sgl.config import entry_point, instantiate_target
from sprint_sgl.console import say, screen
from sprint_sgl.errors import BadInput, RequestFailed
from sprint_sgl.lang.registry import Method, build_method, named_method
from sprint_sgl.storage.files import RECORDS, whole_file
from sprint_sgl.storage.output_folders import BENCH, locked_folder, output_folder
from sprint_sgl.tasks.base import Question, Task
from sprint_sgl.tasks.question import checked_question


def read_methods(config: BenchConfig) -> list[Method]:
    """Return the program and those it is compared with. Raises BadInput for one that is named twice."""
    against = config.against.split(",") if isinstance(config.against, str) else config.against
    methods = [build_method(config.program), *map(named_method, against)]
    names = [method.name for method in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{twice} is compared with itself: name each program once in program= and against=")
    return methods


def read_questions(task: Task, limit: int | None) -> list[Question]:
    """Return the task's first `limit` questions. Raises BadInput for none, an unusable one, and two with one id."""
    questions = list(islice(task.questions(), limit))
    if not questions:
        raise BadInput("the task has no questions")
    for number, question in enumerate(questions, 1):
        try:
            checked_question(question.text)
            "".join([question.id, question.text, question.gold, question.group]).encode()
        except (BadInput, UnicodeEncodeError) as error:
            raise BadInput(f"question {number} of the task, {question.id!r}: {error}") from error
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise BadInput(f"two questions have the id {twice!r}, by which records are identified")
    return questions


def bench(config: BenchConfig, console: Console) -> list[Record]:
    """Run what is missing, print the comparison and write it beside the records; return the records asked for.

    Raises RequestFailed at the end for questions that could not be asked, RuntimeUnavailable if the runtime is gone.
    """
    check_config(config)
    output_folder(config.out, BENCH)  # the parent folder of a sweep's jobs
    work = make_workload(config)
    judge = instantiate_target(config.judge, "judge") if config.judge else None
    total = len(work.samples) * len(work.methods)
    with locked_folder(config.folder, BENCH) as folder:
        names = claim_folder(folder, config, work.methods)
        truncate_partial_line(folder / RECORDS)
        records = earlier_records(read_records(folder / RECORDS), work, folder)
        with record_writer(folder / RECORDS, records, total, console) as keep:
            runtime = resident_runtime(config.runtime, config.url, config.time_limit, Path(config.out))
            try:
                failures = run_workload(work, runtime, {record.key for record in records}, keep)
            except KeyboardInterrupt:
                say(f"{len(records)} of {total} answers are in {folder}: the same command goes on from there")
                raise
        write_failures(folder / FAILURES, [*earlier_failures(folder, work, names), *failures])
        judge_error: RequestFailed | None = None
        try:
            if judge:
                ask_judge(records, judge, folder / VERDICTS)
        except RequestFailed as error:
            judge_error = error  # raised after the figures by the rules are shown
        records = add_verdicts(records, folder / VERDICTS)
    _show_comparison(folder, work, records, failures, console)
    if judge_error:
        raise judge_error
    if failures:
        raise RequestFailed(
            f"{len(failures)} of {total} could not be asked, the first: {failures[0].error}; all are in "
            f"{folder / FAILURES}, and are asked again when the run is started again"
        )
    return records


def make_workload(config: BenchConfig) -> Workload:
    """Return what the settings ask for. Raises BadInput."""
    task, methods = instantiate_target(config.task, "task"), read_methods(config)
    config.program = dict(methods[0].settings)  # with the defaults that its file leaves out
    questions = read_questions(task, config.limit)
    return Workload(
        task=task,
        methods=methods,
        weights=config.weights_of,
        samples=[QuestionSample(each, number) for each in questions for number in range(config.samples)],
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        concurrency=config.concurrency,
        block=config.block or max(25, 4 * config.concurrency),
    )


def _show_comparison(
    folder: Path, work: Workload, records: Sequence[Record], failures: Sequence[QuestionFailure], console: Console
) -> None:
    groups = {sample.question.id: sample.question.group for sample in work.samples}
    tables = comparison_tables(records, [method.name for method in work.methods], failures, groups)
    console.print(*tables)
    with whole_file(folder / "table.txt") as file:
        Console(file=file, width=160).print(*tables)


@entry_point("bench", BenchConfig)
def main(config: BenchConfig) -> None:
    try:
        bench(config, screen())
        if not is_sweep_job():
            report_runs([config.folder], config.folder / "report")
    except RequestFailed as error:
        if not is_sweep_job():
            raise
        say(f"{config.folder}: {error}", style="red")


if __name__ == "__main__":
    main()
