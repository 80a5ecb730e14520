"""Who carries out a prompt: a call of the model in a fork, or a call of a tool. The planner waits for both alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sprint_sgl import protocol
from sprint_sgl.errors import ProgramFailed, RequestFailed, ToolFailed
from sprint_sgl.lang.calls import Branch, Clock, collect
from sprint_sgl.lang.forks import end_forks
from sprint_sgl.lang.joining import JoinPolicy
from sprint_sgl.runtime.executor import abort_calls, wait_for_calls
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tools.toolbox import ToolResult
from sprint_sgl.trajectory import Call, Execution

Repairs = tuple[tuple[str, int], ...]


class Executor(Protocol):
    """One prompt that is being carried out; `launched` is when it began, on the perf_counter clock."""

    launched: float

    def wait(self) -> float:
        """Wait for the end; return when it was, on the perf_counter clock."""

    def abort(self) -> None:
        """Cut it off. What has ended already is not an error."""

    def execution(self, stopped: bool) -> tuple[Execution, Repairs]:
        """Wait for the execution and return it with its repairs; `stopped` tells that a policy cut it off.

        Raises ProgramFailed.
        """

    def end(self) -> None:
        """Leave nothing behind."""


@dataclass
class ModelExecutor:
    """A call of the model, in a fork of the planner's state."""

    fork: ProgramState
    name: str
    branch: Branch
    clock: Clock
    joining: JoinPolicy
    on_failure: Literal["raise", "mark"]
    format: protocol.Format
    launched: float = field(default_factory=time.perf_counter)
    forwarding: threading.Thread | None = None

    def wait(self) -> float:
        return wait_for_calls(self.fork, self.launched)

    def abort(self) -> None:
        abort_calls(self.fork)

    def execution(self, stopped: bool) -> tuple[Execution, Repairs]:
        try:
            written = collect(self.fork, self.name, self.branch, self.clock)
        except ProgramFailed:
            if self.on_failure == "raise":
                raise
            return Execution("", status="failed"), (("failed_execution", 1),)
        finally:
            if self.forwarding:
                self.forwarding.join()
        text, repairs = self.format.read_execution(written.text)
        if self.joining.was_cut_off(written.call, stopped):
            return Execution(text + self.joining.suffix, "cancelled", written.call), repairs
        if written.truncated:
            return Execution(text, "truncated", written.call), protocol.merge_repairs(repairs, (("truncated", 1),))
        return Execution(text, "ok", written.call), repairs

    def end(self) -> None:
        end_forks([self.fork])


@dataclass
class ToolExecutor:
    """A call of a tool. Its text is what the tool returned: it is no model's, and its tags are data."""

    future: Future[ToolResult]
    tool: str
    branch: Branch
    clock: Clock
    joining: JoinPolicy
    on_failure: Literal["raise", "mark"]
    forget: Callable[[], None]
    launched: float = field(default_factory=time.perf_counter)

    def wait(self) -> float:
        wait([self.future])
        return time.perf_counter() if self.future.cancelled() else self.future.result().end

    def abort(self) -> None:
        self.future.cancel()

    def execution(self, stopped: bool) -> tuple[Execution, Repairs]:
        try:
            result = self.future.result()
        except CancelledError:
            if not stopped:
                raise ProgramFailed(str(self.branch), RequestFailed(f"{self.tool} was cancelled")) from None
            now = self.clock.now()
            call = Call(start=self.launched - self.clock.zero, end=now, finish="abort", tool=self.tool)
            return Execution(self.joining.suffix, "cancelled", call), ()
        if result.failed and self.on_failure == "raise":
            raise ProgramFailed(str(self.branch), ToolFailed(f"{self.tool}: {result.text}"))
        zero = self.clock.zero
        start, end = round(result.start - zero, 6), round(result.end - zero, 6)
        call = Call(start=start, end=end, retries=result.retries, tool=self.tool)
        return Execution(without_control_tokens(result.text), "failed" if result.failed else "ok", call), ()

    def end(self) -> None:
        self.future.cancel()
        self.forget()


def without_control_tokens(text: str) -> str:
    """Return a tool's text in which no token of a chat template begins, such as <|im_end|>: it would end the turn."""
    return text.replace("<|", "<\\|")


@dataclass
class PendingExecutor:
    """A call of a tool that the client has to carry out: its execution is pending."""

    tool: str
    clock: Clock
    launched: float = field(default_factory=time.perf_counter)

    def wait(self) -> float:
        return self.launched

    def abort(self) -> None:
        pass

    def execution(self, stopped: bool) -> tuple[Execution, Repairs]:
        at = round(self.launched - self.clock.zero, 6)
        return Execution("", "pending", Call(start=at, end=at, tool=self.tool)), ()

    def end(self) -> None:
        pass
