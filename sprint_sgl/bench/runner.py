"""Runs methods on a task, in turns block by block, so that changes in the machine's speed affect all methods alike."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from sprint_sgl.bench.failures import QuestionFailure
from sprint_sgl.bench.records import Record, RecordKey
from sprint_sgl.bench.runtime import ResidentRuntime
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, ContextFull, SprintError
from sprint_sgl.lang.registry import Method, misfit
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.tasks.base import Grade, Question, Task
from sprint_sgl.trajectory import Trajectory


@dataclass(frozen=True)
class QuestionSample:
    """One of several times that a question is asked; `number` counts from 0."""

    question: Question
    number: int = 0


@dataclass(frozen=True)
class Workload:
    """The questions, the methods that answer them, and the options. `weights` returns the model of a method."""

    task: Task
    methods: Sequence[Method]
    weights: Callable[[str], str]
    samples: Sequence[QuestionSample]
    temperature: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    concurrency: int = 1
    block: int = 25

    def remaining_blocks(self, done: set[RecordKey]) -> Iterator[tuple[Method, list[QuestionSample]]]:
        """Yield blocks of samples that are not done, each block for every method in turn."""
        for start in range(0, len(self.samples), self.block):
            block = self.samples[start : start + self.block]
            for method in self.methods:
                if samples := [each for each in block if (method.name, each.question.id, each.number) not in done]:
                    yield method, samples


def run_workload(
    work: Workload, runtime: ResidentRuntime, done: set[RecordKey], keep: Callable[[Record], None]
) -> list[QuestionFailure]:
    """Ask what is not `done`, pass every record to `keep` as it is finished, and return what could not be asked.

    Raises RuntimeUnavailable if the runtime dies and does not come back.
    """
    failures: list[QuestionFailure] = []
    warned = set[str]()
    for method, samples in work.remaining_blocks(done):
        while samples:
            try:
                endpoint = runtime.load(work.weights(method.name))
            except SprintError:
                if not runtime.is_lost():
                    raise
                runtime.revive()
                continue
            if (line := misfit(method, endpoint)) and line not in warned:
                say(line, style="yellow")
                warned.add(line)
            failed = _run_block(work, method, samples, keep, runtime, endpoint)
            if failed and runtime.is_lost():
                runtime.revive()
                samples = [sample for sample, _ in failed]
                continue
            failures += [
                QuestionFailure(method.name, each.question.id, each.number, str(error)) for each, error in failed
            ]
            break
    return failures


def _run_block(
    work: Workload,
    method: Method,
    samples: Sequence[QuestionSample],
    keep: Callable[[Record], None],
    runtime: ResidentRuntime,
    endpoint: Endpoint,
) -> list[tuple[QuestionSample, SprintError]]:
    return answer_all(
        samples, lambda sample: answer_question(work, method, sample, endpoint), keep, work.concurrency, runtime.close
    )


T = TypeVar("T")


def answer_all(
    samples: Sequence[QuestionSample],
    answer: Callable[[QuestionSample], T],
    keep: Callable[[T], None],
    concurrency: int,
    close: Callable[[], None],
) -> list[tuple[QuestionSample, SprintError]]:
    """Answer all samples side by side, pass each result to `keep` as it is there, and return what could not be asked.

    `close` ends the requests under way; it is called if an error ends the whole. Raises BadInput for what would fail
    for every other sample too.
    """
    failed: list[tuple[QuestionSample, SprintError]] = []
    with ThreadPoolExecutor(concurrency) as pool:
        futures = {pool.submit(answer, sample): sample for sample in samples}
        try:
            for future in as_completed(futures):
                try:
                    keep(future.result())
                except SprintError as error:
                    if isinstance(error, BadInput) and not isinstance(error, ContextFull):
                        raise  # every other question would fail in the same way
                    failed.append((futures[future], error))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            close()  # ends the requests that the pool's threads wait for
            raise
    return failed


@runtime_checkable
class BackendTask(Protocol):
    """A task that wraps the runtime in a backend of its own and grades the trajectory, such as a replay."""

    def backend(self, question: Question, endpoint: Endpoint) -> Any: ...
    def grade_run(self, question: Question, trajectory: Trajectory) -> Grade: ...


@runtime_checkable
class ArgumentTask(Protocol):
    """A task that gives the program more than the question, such as tools."""

    def arguments(self, question: Question) -> dict[str, Any]: ...


def answer_question(work: Workload, method: Method, sample: QuestionSample, endpoint: Endpoint) -> Record:
    """Return the record of one question, answered by one method. Raises SprintError if it could not be asked."""
    question, backend_task = sample.question, work.task if isinstance(work.task, BackendTask) else None
    arguments = work.task.arguments(question) if isinstance(work.task, ArgumentTask) else {}
    run = method.program.run(
        question.text,
        temperature=method.choose_temperature(work.temperature),
        max_new_tokens=work.max_new_tokens,
        seed=sample_seed(work.seed, sample),
        backend=backend_task.backend(question, endpoint) if backend_task else endpoint,
        **arguments,
    )
    if backend_task:
        grade = backend_task.grade_run(question, run.trajectory)
    else:
        grade = work.task.grade(question, run["answer"])
    return Record(
        method=method.name,
        id=question.id,
        sample=sample.number,
        group=question.group,
        question=question.text,
        gold=question.gold,
        answer=run["answer"],
        correct=grade.correct,
        reason=grade.reason,
        read=grade.read,
        trajectory=run.trajectory,
    )


def sample_seed(seed: int | None, sample: QuestionSample) -> int | None:
    """Return a seed for each question and sample that does not depend on the order of asking."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}-{sample.question.id}-{sample.number}".encode()).digest()
    return int.from_bytes(digest[:4]) % 2**31


class ProgressLine:
    """The progress bar's text: accuracy by method, and tokens per second since the first new record began."""

    def __init__(self, before: Iterable[Record]) -> None:
        self._correct: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._start: float | None = None
        self._tokens = 0
        for record in before:
            self._count(record)

    def _count(self, record: Record) -> None:
        self._correct[record.method] += record.correct
        self._answered[record.method] += 1

    def add(self, record: Record) -> str:
        """Count the record and return the new text."""
        if self._start is None:
            self._start = time.monotonic() - record.trajectory.seconds
        self._tokens += record.trajectory.total_tokens
        self._count(record)
        rate = self._tokens / max(time.monotonic() - self._start, 1e-9)
        shares = [f"{name} {self._correct[name] / answered:.0%}" for name, answered in self._answered.items()]
        return f"{'  '.join(shares)}  {rate:,.0f} tokens/s"
