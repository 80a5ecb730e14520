"""Runs programs for clients: in turn, in threads of their own, with a deadline, ended when the client goes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.calls import Branch, Watch
from sprint_sgl.lang.methods import Method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.backends import Backend
from sprint_sgl.serving.chat_replies import FinishedRun
from sprint_sgl.serving.requests import ProgramRequest
from sprint_sgl.serving.stream import cut_at_stop
from sprint_sgl.tasks.question import checked_question

STOPPING_MESSAGE = "the server is being stopped"
STOP_LIMIT = 2.0  # seconds for a run to notice that the server is being stopped
T = TypeVar("T")


class DeadlinePassed(Exception):
    """The run took longer than its time limit."""


class ServerStopping(Exception):
    """The server is being stopped, and with it the run."""


class NoSuchModel(BadInput):
    pass


@dataclass(frozen=True)
class RunRequest:
    """One question for one method, with what the client said about how. `options` are the program's own arguments."""

    model: str
    question: str
    method: Method
    backend: Backend
    time_limit: float
    stop_on_disconnect: bool = True
    temperature: float | None = None
    top_p: float = 1.0
    seed: int | None = None
    max_new_tokens: int | None = None
    stops: list[str] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.method.program.arg_names
        if unknown := [name for name in self.options if name not in names]:
            raise BadInput(f"sprint.{unknown[0]}: the program {self.method.name} has no such option")

    def run(self, endpoint: Endpoint, watch: Watch | None) -> FinishedRun:
        """Runs the program to its end in the calling thread. Raises SprintError."""
        program = self.method.program
        limit = {"max_tokens": self.max_new_tokens} if self.max_new_tokens and "max_tokens" in program.arg_names else {}
        run = program.run(
            self.question,
            temperature=self.method.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            watch=watch,
            stream=watch is not None,
            backend=endpoint,
            **limit,
            **self.options,
        )
        trajectory = run.trajectory
        whole = trajectory.final_answer or run["answer"]
        content = cut_at_stop(whole, self.stops)
        return FinishedRun(content.strip(), trajectory, stopped=content != whole)


@dataclass
class Service:
    """The models that can be asked, by id, and the way to an answer."""

    offered: Mapping[str, tuple[Method, Backend]]
    admission: Admission
    _tasks: set[asyncio.Task[FinishedRun]] = field(default_factory=set)
    closing: bool = False

    @property
    def default(self) -> str:
        return next(iter(self.offered))

    def offer(self, model: str) -> tuple[Method, Backend]:
        """Raises NoSuchModel with the names that there are."""
        if model not in self.offered:
            raise NoSuchModel(f"unknown model {model!r}; known: {', '.join(self.offered)}")
        return self.offered[model]

    def job(self, asked: ProgramRequest, time_limit: float) -> RunRequest:
        """What a client asks for, within the server's time limit. Raises BadInput for what cannot be honoured."""
        model = self.default if asked.model is None else asked.model
        method, backend = self.offer(model)
        given = {"max_stages": asked.sprint.max_stages, "launch": asked.sprint.launch}
        return RunRequest(
            model=model,
            question=checked_question(asked.question),
            method=method,
            backend=backend,
            time_limit=min(asked.sprint.time_limit or time_limit, time_limit),
            stop_on_disconnect=asked.sprint.stop_on_disconnect,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed,
            max_new_tokens=asked.limit,
            stops=asked.stops,
            options={name: value for name, value in given.items() if value is not None},
        )

    def start(self, job: RunRequest, watch: Callable[[Branch, str], None] | None = None) -> asyncio.Task[FinishedRun]:
        """The run as a task: cancelling it ends the run's requests on the runtime. `watch` is called on the loop.

        Raises Busy from the task where the queue is full, DeadlinePassed, Stopping, and what stopped the program.
        """
        task = asyncio.create_task(self._run(job, watch))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[FinishedRun]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # of a run whose client is gone nobody else asks

    async def _run(self, job: RunRequest, watch: Callable[[Branch, str], None] | None) -> FinishedRun:
        if self.closing:
            raise ServerStopping(STOPPING_MESSAGE)
        loop = asyncio.get_running_loop()

        def on_loop(branch: Branch, text: str) -> None:
            if watch:
                loop.call_soon_threadsafe(watch, branch, text)

        try:
            async with asyncio.timeout(job.time_limit), self.admission:
                endpoint = job.backend.session(job.time_limit)
                begun = time.monotonic()
                work = run_in_thread(partial(job.run, endpoint, on_loop if watch else None))
                try:
                    return await asyncio.shield(work)
                finally:
                    if not work.done():
                        await stop_run(work, endpoint, STOP_LIMIT if self.closing else None)
                    self.admission.record_run(time.monotonic() - begun)
        except TimeoutError as error:
            raise DeadlinePassed(f"no answer within {job.time_limit:g} s") from error
        except asyncio.CancelledError:
            if self.closing:
                raise ServerStopping(STOPPING_MESSAGE) from None
            raise

    async def close(self) -> None:
        """Ends the runs that are left, and what is started later; each raises Stopping."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def run_in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """The call's result, from a thread that keeps nothing alive: a runtime that hangs may never let it go."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_result: Callable[[Any], None], value: object) -> None:
        if not future.done():
            set_result(value)

    def run() -> None:
        try:
            settled = partial(settle, future.set_result, call())
        except BaseException as error:
            settled = partial(settle, future.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended before the call
            loop.call_soon_threadsafe(settled)

    threading.Thread(target=run, name="run", daemon=True).start()
    return future


async def stop_run(work: asyncio.Future[FinishedRun], endpoint: Endpoint, limit: float | None) -> None:
    """Stops the run's requests and waits, for so many seconds at most, until its thread has noticed."""
    both: list[asyncio.Future[Any]] = [work, run_in_thread(endpoint.close)]
    done, _ = await asyncio.wait(both, timeout=limit)
    for each in done:
        each.exception()  # it is no news that the run failed
