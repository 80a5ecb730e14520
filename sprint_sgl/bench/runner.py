"""Runs methods on a task: block by block in turns, so that the machine's moods meet all of them alike."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sprint_sgl.bench.failures import Failure
from sprint_sgl.bench.records import Record, RecordKey
from sprint_sgl.bench.runtime import ResidentRuntime
from sprint_sgl.errors import BadInput, ContextFull, SprintError
from sprint_sgl.lang.methods import Method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.tasks.base import Grade, Question, Task
from sprint_sgl.trajectory import Trajectory


@dataclass(frozen=True)
class QuestionSample:
    question: Question
    sample: int = 0


@dataclass(frozen=True)
class Workload:
    """What is to be asked, of whom, and how; `weights` has a model for each method's name."""

    task: Task
    methods: Sequence[Method]
    weights: Callable[[str], str]
    asks: Sequence[QuestionSample]
    temperature: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    concurrency: int = 1
    block: int = 25

    def left(self, done: set[RecordKey]) -> Iterator[tuple[Method, list[QuestionSample]]]:
        """Blocks of what has not been done, each for the methods in turn."""
        for start in range(0, len(self.asks), self.block):
            for method in self.methods:
                block = self.asks[start : start + self.block]
                if asks := [ask for ask in block if (method.name, ask.question.id, ask.sample) not in done]:
                    yield method, asks


def run_workload(
    work: Workload, runtime: ResidentRuntime, done: set[RecordKey], keep: Callable[[Record], None]
) -> list[Failure]:
    """Asks what has not been done and hands every record over as it is finished; returns what could not be asked.

    Raises RuntimeUnavailable where the runtime dies and does not come back.
    """
    failures: list[Failure] = []
    for method, asks in work.left(done):
        while asks:
            try:
                endpoint = runtime.load(work.weights(method.name))
            except SprintError:
                if not runtime.lost():
                    raise
                runtime.revive()
                continue
            failed = _run_block(work, method, asks, keep, runtime, endpoint)
            if failed and runtime.lost():
                runtime.revive()
                asks = [ask for ask, _ in failed]
                continue
            failures += [Failure(method.name, ask.question.id, ask.sample, str(error)) for ask, error in failed]
            break
    return failures


def _run_block(
    work: Workload,
    method: Method,
    asks: Sequence[QuestionSample],
    keep: Callable[[Record], None],
    runtime: ResidentRuntime,
    endpoint: Endpoint,
) -> list[tuple[QuestionSample, SprintError]]:
    failed: list[tuple[QuestionSample, SprintError]] = []
    with ThreadPoolExecutor(work.concurrency) as pool:
        futures = {pool.submit(answer_question, work, method, ask, endpoint): ask for ask in asks}
        try:
            for future in as_completed(futures):
                try:
                    keep(future.result())
                except SprintError as error:
                    if isinstance(error, BadInput) and not isinstance(error, ContextFull):
                        raise  # no other question would fare better
                    failed.append((futures[future], error))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runtime.close()  # frees the threads that wait for it
            raise
    return failed


@runtime_checkable
class BackendTask(Protocol):
    """A task that stands between the program and the runtime, and grades what the program did."""

    def backend(self, question: Question, endpoint: Endpoint) -> Any: ...
    def grade_run(self, question: Question, trajectory: Trajectory) -> Grade: ...


def answer_question(work: Workload, method: Method, ask: QuestionSample, endpoint: Endpoint) -> Record:
    """One question through one method on that runtime. Raises SprintError where it could not be asked."""
    question, drives = ask.question, work.task if isinstance(work.task, BackendTask) else None
    run = method.program.run(
        question.text,
        temperature=method.temperature if work.temperature is None else work.temperature,
        max_new_tokens=work.max_new_tokens,
        seed=sample_seed(work.seed, ask),
        backend=drives.backend(question, endpoint) if drives else endpoint,
    )
    grade = drives.grade_run(question, run.trajectory) if drives else work.task.grade(question, run["answer"])
    return Record(
        method.name,
        question.id,
        ask.sample,
        question.group,
        question.text,
        question.gold,
        run["answer"],
        grade.correct,
        grade.reason,
        grade.read,
        run.trajectory,
    )


def sample_seed(seed: int | None, ask: QuestionSample) -> int | None:
    """One seed a question and sample, the same in every order."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}-{ask.question.id}-{ask.sample}".encode()).digest()
    return int.from_bytes(digest[:4]) % 2**31


class ProgressLine:
    """Accuracy by method, and tokens a second since the first new record began, as a line for the progress bar."""

    def __init__(self, before: Iterable[Record]) -> None:
        self._right: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._begun: float | None = None
        self._tokens = 0
        for record in before:
            self._count(record)

    def _count(self, record: Record) -> None:
        self._right[record.method] += record.correct
        self._asked[record.method] += 1

    def add(self, record: Record) -> str:
        if self._begun is None:
            self._begun = time.monotonic() - record.trajectory.seconds
        self._tokens += record.trajectory.total_tokens
        self._count(record)
        rate = self._tokens / max(time.monotonic() - self._begun, 1e-9)
        shares = [f"{name} {self._right[name] / asked:.0%}" for name, asked in self._asked.items()]
        return f"{'  '.join(shares)}  {rate:,.0f} tokens/s"
