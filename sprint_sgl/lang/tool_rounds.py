"""Executors of the model that call tools within their texts."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from sprint_sgl import protocol
from sprint_sgl.errors import ProgramFailed, ToolFailed
from sprint_sgl.lang.calls import Generation, Watch, collect, submit
from sprint_sgl.lang.executors import ModelExecutor, Repairs
from sprint_sgl.runtime.executor import abort_calls
from sprint_sgl.tools.calls import read_call
from sprint_sgl.tools.tool import ToolContext
from sprint_sgl.tools.toolbox import Toolbox
from sprint_sgl.trajectory import Call, Execution, ExecutionStatus

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
MOST_ROUNDS = 16
ROUND_PAUSE = 0.01  # seconds between two looks at whether the executor was stopped
END_LIMIT = 5.0  # seconds for the last round to notice


@dataclass
class ToolUsingExecutor(ModelExecutor):
    """A call of the model that may call tools within its text: each call of a tool ends a round, its result begins the
    next one. The rounds go on in a thread of their own, beside the planner.

        <tool_call>{"name": ..., "arguments": {...}}</tool_call>
        <tool_response>
        ...
        </tool_response>
    """

    tools: Toolbox | None = None
    context: ToolContext = field(default_factory=ToolContext)
    stops: tuple[str, ...] = ()
    limit: int = 0
    watch: Watch | None = None
    parts: list[Generation] = field(default_factory=list)
    between: list[Call] = field(default_factory=list)
    text: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None

    def start(self) -> None:
        self.forwarding = threading.Thread(target=self._go_on, daemon=True)
        self.forwarding.start()

    def wait(self) -> float:
        assert self.forwarding
        self.forwarding.join()
        return self.clock.zero + self.parts[-1].call.end if self.parts else time.perf_counter()

    def abort(self) -> None:
        self.stopped.set()
        super().abort()

    def end(self) -> None:
        self.stopped.set()
        deadline = time.monotonic() + END_LIMIT
        while self.forwarding and self.forwarding.is_alive() and time.monotonic() < deadline:
            abort_calls(self.fork)  # the thread may just have begun a round
            self.forwarding.join(ROUND_PAUSE)
        super().end()

    def execution(self, stopped: bool) -> tuple[Execution, Repairs]:
        assert self.forwarding
        self.forwarding.join()
        if self.failure is not None:
            own = isinstance(self.failure, ProgramFailed) and not isinstance(self.failure.__cause__, ToolFailed)
            if self.on_failure == "raise" or not own:
                raise self.failure
            return Execution("", status="failed"), (("failed_execution", 1),)
        text, repairs = self.format.read_execution(self.text)
        last = self.parts[-1].call
        status: ExecutionStatus = "ok"
        if self.joining.was_cut_off(last, stopped) or (stopped and self.stopped.is_set()):
            status, text = "cancelled", text + self.joining.suffix
        elif self.parts[-1].truncated or last.finish == CALL_CLOSE:  # a call behind the last round is not carried out
            status, repairs = "truncated", protocol.merge_repairs(repairs, (("truncated", 1),))
        calls = [part.call for part in self.parts]
        rounds = [call for pair in zip(self.between, calls[1:], strict=False) for call in pair]
        return Execution(text, status, calls[0], tuple(rounds)), repairs

    def _go_on(self) -> None:
        try:
            while True:
                self._round()
                part = self.parts[-1]
                if part.call.finish != CALL_CLOSE or len(self.parts) == MOST_ROUNDS or self.stopped.is_set():
                    break
                self._answer(part.text.rpartition(CALL_OPEN)[2])
                if self.stopped.is_set():
                    break
            if self.watch and not part.truncated:
                self.watch(self.branch, "")
        except BaseException as error:
            self.failure = error

    def _round(self) -> None:
        """Let the model write until it ends, or calls a tool."""
        name = f"{self.name}_{len(self.parts) + 1}"
        left = self.limit - sum(part.call.completion_tokens for part in self.parts)
        submit(self.fork, name, (*self.stops, CALL_CLOSE), max(left, 1))
        self.parts.append(collect(self.fork, name, self.branch, self.clock, self.watch))
        self.text += self.parts[-1].text

    def _answer(self, written: str) -> None:
        """Carry out the call that the model wrote, and add its result to the text."""
        assert self.tools
        call, start = read_call(written, self.tools.tools), self.clock.now()
        if call is None or call.tool.is_client:
            result, name, retries = f"error: no tool is called by {written.strip()[:200]!r}", "", 0
        else:
            future, name = self.tools.start(call, self.context), call.tool.name
            while not future.done() and not self.stopped.wait(ROUND_PAUSE):
                pass
            future.cancel()
            result, retries = ("", 0) if future.cancelled() else (future.result().text, future.result().retries)
            if not future.cancelled() and future.result().failed and self.tools.on_failure == "raise":
                failure = ToolFailed(f"{name}: {result}")
                raise ProgramFailed(str(self.branch), failure) from failure
        self.between.append(Call(start=round(start, 6), end=round(self.clock.now(), 6), retries=retries, tool=name))
        text = f"{CALL_CLOSE}\n<tool_response>\n{escape_response(result)}\n</tool_response>\n"
        self.text += text
        fork = self.fork
        fork += text
        if self.watch:
            self.watch(self.branch, text)


def escape_response(text: str) -> str:
    """Return a result that cannot close its own tags, or the execution's."""
    return (
        protocol.escape_tags(text).replace("</tool_response", "<\\/tool_response").replace(CALL_OPEN, "<\\tool_call>")
    )
