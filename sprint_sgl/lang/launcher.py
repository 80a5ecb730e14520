"""Starts the executors of a run: a tool for a prompt that is a call, a call of the model for all others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from sprint_sgl import protocol
from sprint_sgl.lang.calls import Branch, Clock, Watch, start_forwarding, submit
from sprint_sgl.lang.executors import Executor, ModelExecutor, PendingExecutor, ToolExecutor
from sprint_sgl.lang.forks import start_fork
from sprint_sgl.lang.joining import JoinPolicy
from sprint_sgl.lang.tool_rounds import ToolUsingExecutor
from sprint_sgl.runtime.executor import backend_of, token_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tools.calls import ToolCall
from sprint_sgl.tools.tool import ToolContext
from sprint_sgl.tools.toolbox import Toolbox


@dataclass(frozen=True)
class Launcher:
    """Starts the executors of one run.

    s            the planner's state, whose backend the model's executors run on
    tools        prompts that are calls of these go to them, all others to the model
    on_failure   what a failed call of the model is; the box says it for its tools
    stops        strings that end an execution of the model
    format       the tags in which the run is written, and what an executor sees
    """

    s: ProgramState
    question: str
    clock: Clock
    seed: int | None = None
    joining: JoinPolicy = field(default_factory=JoinPolicy)
    on_failure: Literal["raise", "mark"] = "raise"
    watch: Watch | None = None
    tools: Toolbox | None = None
    stops: tuple[str, ...] = protocol.EXECUTOR_STOPS
    format: protocol.Format = protocol.SPRINT

    def launch(self, branch: Branch, prompt: str, context: str, refuse: str = "") -> Executor:
        """Start what carries out the prompt; `context` is what a model continues.

        refuse   why a call of a client's tool is not made
        """
        if self.tools and (call := self.tools.route(prompt)):
            if call.tool.is_client and not call.error and not refuse:
                return PendingExecutor(call.tool.name, self.clock)
            if call.tool.is_client:
                call = replace(call, error=call.error or refuse)
            return self._call_tool(self.tools, call, branch, prompt)
        fork = start_fork(self.s, branch, context, self.seed)
        name = f"execution_{branch.stage}.{branch.prompt}"  # unique in the run, so that no join overwrites another's
        limit = self.joining.token_limit(token_limit(self.s))
        if self.tools and self.tools.in_text:
            where = ToolContext(self.question, prompt, branch.stage, branch.prompt or 1)
            shared = (fork, name, branch, self.clock, self.joining, self.on_failure, self.format)
            writer = ToolUsingExecutor(
                *shared, tools=self.tools, context=where, stops=self.stops, limit=limit, watch=self.watch
            )
            writer.start()
            return writer
        submit(fork, name, self.stops, limit)
        executor = ModelExecutor(fork, name, branch, self.clock, self.joining, self.on_failure, self.format)
        if self.watch:
            executor.forwarding = start_forwarding(fork, name, branch, self.watch)
        return executor

    def is_client_call(self, prompt: str) -> bool:
        """Whether the prompt is a call that the client has to carry out."""
        call = self.tools.route(prompt) if self.tools else None
        return call is not None and call.tool.is_client and not call.error

    def _call_tool(self, tools: Toolbox, call: ToolCall, branch: Branch, prompt: str) -> ToolExecutor:
        where = ToolContext(self.question, prompt, branch.stage, branch.prompt or 1)
        future = tools.start(call, where, partial(_show, self.watch, branch) if self.watch else None)
        on_close = getattr(backend_of(self.s), "on_close", None)  # of a session, which ends the whole run
        forget = on_close(future.cancel) if on_close else _nothing
        name = call.tool.name
        return ToolExecutor(future, name, branch, self.clock, self.joining, tools.on_failure, forget)


def _show(watch: Watch, branch: Branch, text: str) -> None:
    """Hand a result to the watcher as an executor's text, and tell that it is whole."""
    watch(branch, text)
    watch(branch, "")


def _nothing() -> None:
    pass
