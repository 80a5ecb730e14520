"""Runs programs for clients: each in a thread of its own, with a deadline, cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sprint_sgl.errors import BadInput, DeadlinePassed, NoSuchModel, ServerStopping
from sprint_sgl.lang.calls import Branch, Watch
from sprint_sgl.lang.registry import Method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.backends import Backend
from sprint_sgl.serving.chat_replies import FinishedRun
from sprint_sgl.serving.requests import ProgramRequest
from sprint_sgl.serving.stream import cut_at_stop
from sprint_sgl.serving.tool_calls import pending_calls, state_text
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.threads import run_in_thread
from sprint_sgl.tools.sources import shared_toolbox
from sprint_sgl.tools.tool import Tool
from sprint_sgl.tools.toolbox import Toolbox
from sprint_sgl.validation import suggestion

STOP_LIMIT = 2.0  # seconds for a run to notice that the server is being stopped


@dataclass(frozen=True)
class RunRequest:
    """One question for one method, with the client's options; those in `options` are arguments of the program."""

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
    tools: Mapping[str, Tool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.method.program.arg_names
        if unknown := [name for name in self.options if name not in names]:
            raise BadInput(
                f"sprint.{unknown[0]}: the program {self.method.name} has no such option{suggestion(unknown[0], names)}"
            )

    def execute(self, endpoint: Endpoint, watch: Watch | None) -> FinishedRun:
        """Return the finished run of the program, made in the calling thread. Raises SprintError."""
        program, temperature = self.method.program, self.method.choose_temperature(self.temperature)
        warning = endpoint.seed_warning() if temperature and self.seed is not None else None
        limit = {"max_tokens": self.max_new_tokens} if self.max_new_tokens and "max_tokens" in program.arg_names else {}
        run = program.run(
            self.question,
            temperature=temperature,
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
        warnings = (warning,) if warning else ()
        if trajectory.is_pending:
            return FinishedRun(
                state_text(trajectory), trajectory, False, warnings, pending_calls(trajectory, self.tools)
            )
        whole = trajectory.final_answer or run["answer"]
        content = cut_at_stop(whole, self.stops)
        return FinishedRun(content.strip(), trajectory, content != whole, warnings)


@dataclass
class Service:
    """The models that clients can ask, by id, and the runs that are under way."""

    models: Mapping[str, tuple[Method, Backend]]
    admission: Admission
    _tasks: set[asyncio.Task[FinishedRun]] = field(default_factory=set)
    closing: bool = False

    @property
    def default(self) -> str:
        return next(iter(self.models))

    def find_model(self, model: str) -> tuple[Method, Backend]:
        """Return the model's program and runtime. Raises NoSuchModel, which lists the known ids."""
        if model not in self.models:
            raise NoSuchModel(f"unknown model {model!r}; known: {', '.join(self.models)}")
        return self.models[model]

    def make_run_request(self, request: ProgramRequest, time_limit: float) -> RunRequest:
        """Return the run that a client asks for; its time limit is at most the server's.

        Raises BadInput for an option that the program does not have.
        """
        model = self.default if request.model is None else request.model
        method, backend = self.find_model(model)
        options: dict[str, Any] = {"max_stages": request.sprint.max_stages, "launch": request.sprint.launch}
        client, begun = request.client_tools, request.begun
        if begun and "begun" not in method.program.arg_names:
            raise BadInput(f"messages: the program {method.name} calls no tools, and goes on from no results")
        options["begun"] = begun
        if client:
            options |= {"tools": with_client_tools(method, client), "parallel_tool_calls": not request.one_call}
        options["must_call"] = request.must_call or None
        return RunRequest(
            model=model,
            question=checked_question(request.question),
            method=method,
            backend=backend,
            time_limit=min(request.sprint.time_limit or time_limit, time_limit),
            stop_on_disconnect=request.sprint.stop_on_disconnect,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            max_new_tokens=request.token_limit,
            stops=request.stops,
            options={name: value for name, value in options.items() if value is not None},
            tools={tool.name: tool for tool in client},
        )

    def start(self, run: RunRequest, watch: Callable[[Branch, str], None] | None = None) -> asyncio.Task[FinishedRun]:
        """Return a task that executes the run; cancelling the task ends the run's requests on the runtime.

        `watch` is called in the event loop's thread. The task raises Busy where the queue is full, DeadlinePassed,
        ServerStopping, and whatever stopped the program.
        """
        task = asyncio.create_task(self._execute(run, watch))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[FinishedRun]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marked as retrieved: nobody awaits the run of a client that has disconnected

    async def _execute(self, run: RunRequest, watch: Callable[[Branch, str], None] | None) -> FinishedRun:
        if self.closing:
            raise ServerStopping
        loop = asyncio.get_running_loop()

        def on_loop(branch: Branch, text: str) -> None:
            if watch:
                loop.call_soon_threadsafe(watch, branch, text)

        try:
            async with asyncio.timeout(run.time_limit), self.admission:
                endpoint = run.backend.session(run.time_limit)
                begun = time.monotonic()
                work = run_in_thread(partial(run.execute, endpoint, on_loop if watch else None))
                try:
                    return await asyncio.shield(work)
                finally:
                    if not work.done():
                        await stop_run(work, endpoint, STOP_LIMIT if self.closing else None)
                    self.admission.record_run(time.monotonic() - begun)
        except TimeoutError as error:
            raise DeadlinePassed(f"no answer within {run.time_limit:g} s") from error
        except asyncio.CancelledError:
            if self.closing:
                raise ServerStopping from None
            raise

    async def close(self) -> None:
        """End the runs under way and refuse later ones; all of them raise ServerStopping."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def with_client_tools(method: Method, tools: list[Tool]) -> Toolbox:
    """Return the tools of the client beside those that the program has here. Raises BadInput if it takes none."""
    if "tools" not in method.program.arg_names:
        raise BadInput(f"tools: the program {method.name} takes none")
    own = method.program.bind_arguments.get("tools")
    box = own if isinstance(own, Toolbox) else shared_toolbox(tuple(own)) if own else Toolbox([])
    return box.beside(tools)


async def stop_run(work: asyncio.Future[FinishedRun], endpoint: Endpoint, limit: float | None) -> None:
    """Stop the run's requests and wait until its thread has noticed, at most `limit` seconds."""
    both: list[asyncio.Future[Any]] = [work, run_in_thread(endpoint.close)]
    done, _ = await asyncio.wait(both, timeout=limit)
    for each in done:
        each.exception()  # marked as retrieved: a stopped run is expected to fail
