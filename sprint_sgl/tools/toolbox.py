"""A box of tools: which of them carries out a prompt, and the event loop in which their calls run side by side."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar

from pydantic_core import to_jsonable_python

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput
from sprint_sgl.threads import run_in_thread
from sprint_sgl.tools.calls import ToolCall, read_call
from sprint_sgl.tools.mcp import McpServer
from sprint_sgl.tools.tool import Tool, ToolContext, ToolError
from sprint_sgl.validation import suggestion

T = TypeVar("T")
Router = Callable[[str], ToolCall | None]
CLOSE_LIMIT = 10.0  # seconds for calls to notice that they are cancelled, and for servers to end


@dataclass(frozen=True)
class ToolResult:
    """What a call returned, as text, or the error that a model can read.

    start, end   on the perf_counter clock; `start` is when the call was made, before it waited for a place
    """

    text: str
    failed: bool
    start: float
    end: float
    retries: int = 0


class Toolbox:
    """Tools with their router and the thread of their event loop; a context manager.

    tools        functions, Tool objects, or MCP servers, which are connected here and closed with the box
    router       returns a prompt's call, or None to leave the prompt to `read_call` and then to the model
    on_failure   what a failed call is: an execution that says why, or an error of the run
    in_text      whether executors of the model may call the tools within their texts, as <tool_call>{...}</tool_call>
    Raises BadInput for two tools of one name or for what is not a tool, RuntimeUnavailable for a server that does not
    answer.
    """

    def __init__(
        self,
        tools: Iterable[Tool | Callable[..., Any] | McpServer],
        *,
        router: Router | None = None,
        on_failure: Literal["mark", "raise"] = "mark",
        in_text: bool = False,
    ) -> None:
        self.router, self.on_failure, self.in_text = router, on_failure, in_text
        self._slots: dict[str, _Places] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._worker = _LoopThread()
        self._servers: list[McpServer] = []
        self.tools: dict[str, Tool] = {}
        try:
            for source in tools:
                self._add(source)
        except BaseException:
            self.close()
            raise

    def _add(self, source: Tool | Callable[..., Any] | McpServer) -> None:
        if isinstance(source, McpServer):
            self._servers.append(source)
            found = self._worker.submit(source.connect()).result()
        elif isinstance(source, Tool) or callable(source):
            found = [source if isinstance(source, Tool) else Tool.from_function(source)]
        else:
            raise BadInput(f"{source!r} is not a tool: give a function, a Tool or an McpServer")
        for each in found:
            if each.name in self.tools:
                raise BadInput(f"two tools are named {each.name}: give one of them another name")
            self.tools[each.name] = each

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __getitem__(self, name: str) -> Tool:
        if name not in self.tools:
            raise BadInput(f"no tool is named {name!r}{suggestion(name, list(self.tools))}")
        return self.tools[name]

    @property
    def listing(self) -> str:
        """The list of tools for the planner's instruction, one a line; tools with a pattern are left out."""
        told = [tool for tool in self.tools.values() if not tool.pattern]
        return "\n".join(f"- {tool.signature}: {(tool.description or 'a tool').splitlines()[0]}" for tool in told)

    def beside(self, tools: Iterable[Tool]) -> Toolbox:
        """Return a box of these tools and of this box's, which stays the one to close. Raises BadInput for one name
        twice."""
        wider = copy(self)
        wider.tools = dict(self.tools)
        for tool in tools:
            wider._add(tool)
        return wider

    def route(self, prompt: str) -> ToolCall | None:
        """Return the call that a prompt is, or None if it is for the model."""
        try:
            call = self.router(prompt) if self.router else None
        except Exception as error:
            raise BadInput(f"the toolbox's router failed on {prompt[:80]!r}: {describe(error)}") from error
        if not isinstance(call, ToolCall | None):
            raise BadInput(f"the toolbox's router must return a ToolCall or None, got {call!r}")
        return call or read_call(prompt, self.tools)

    def start(
        self, call: ToolCall, context: ToolContext | None = None, on_end: Callable[[str], None] | None = None
    ) -> Future[ToolResult]:
        """Begin a call; cancelling the future cancels it. `on_end` gets the result's text before the future ends."""
        if call.error:
            return failed_call(call.error, on_end)
        return self._worker.submit(self._carry_out(call, context or ToolContext(), on_end))

    async def _carry_out(
        self, call: ToolCall, context: ToolContext, on_end: Callable[[str], None] | None
    ) -> ToolResult:
        task = asyncio.current_task()
        assert task
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        result = await self._attempts(call, context)
        if on_end:
            on_end(result.text)
        return result

    async def _attempts(self, call: ToolCall, context: ToolContext) -> ToolResult:
        tool, start, error = call.tool, time.perf_counter(), ""
        for attempt in range(tool.retries + 1):
            try:
                text = shorten(await self._attempt(call, context), tool.max_characters)
                return ToolResult(text, False, start, time.perf_counter(), attempt)
            except Exception as failure:
                error = describe(failure)
        text = shorten(f"error: {error}", tool.max_characters)
        return ToolResult(text, True, start, time.perf_counter(), tool.retries)

    async def _attempt(self, call: ToolCall, context: ToolContext) -> str:
        """Call the function once, in one of the tool's places, and return its value as text.

        Raises what the function raises, or ToolError.
        """
        tool = call.tool
        slots = self._slots.setdefault(tool.name, _Places(tool.parallel))
        function = partial(tool.function, *([context] if tool.takes_context else []), **call.arguments)
        await slots.enter(tool.time_limit)
        thread: asyncio.Future[Any] | None = None
        limit = asyncio.timeout(tool.time_limit)
        try:
            async with limit:
                if inspect.iscoroutinefunction(tool.function):
                    value = await function()
                else:
                    thread = run_in_thread(function, f"tool {tool.name}")
                    value = await asyncio.shield(thread)
                    value = await value if inspect.isawaitable(value) else value
                if not isinstance(value, str):  # its JSON may take long
                    thread = run_in_thread(partial(text_of, value), f"tool {tool.name}")
                    value = await asyncio.shield(thread)
                return str(value)
        except TimeoutError as error:
            if limit.expired():
                raise ToolError(f"no result within {tool.time_limit:g} s") from error
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise ToolError("the tool cancelled itself") from error
        except Exception:
            raise
        except BaseException as error:  # it would end the event loop, and all other calls with it
            raise ToolError(f"the tool called for the program's end ({type(error).__name__})") from error
        finally:
            slots.leave(thread)

    def close(self) -> None:
        """Cancel the calls under way, end the servers and the thread. Closing twice is not an error."""
        self._worker.close(self._end, CLOSE_LIMIT + 5)

    async def _end(self) -> None:
        calls = set(self._calls)
        for task in calls:
            task.cancel()
        if calls:
            await asyncio.wait(calls, timeout=CLOSE_LIMIT)
        for server in self._servers:
            await server.close(CLOSE_LIMIT)
        await asyncio.get_running_loop().shutdown_asyncgens()


class _Places:
    """The calls of a tool that may run at the same time. A thread that goes on after its limit keeps its place."""

    def __init__(self, count: int) -> None:
        self._count, self._free = count, asyncio.Semaphore(count)
        self._left = 0  # places of threads that nobody waits for any more

    async def enter(self, patience: float) -> None:
        """Wait for a place. Raises ToolError if none can be had since all are kept by threads that do not end."""
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._free.acquire()
                    return
            except TimeoutError:
                if self._left >= self._count:
                    raise ToolError(f"all {self._count} places are taken by calls that do not end") from None

    def leave(self, thread: asyncio.Future[Any] | None) -> None:
        if thread is None or thread.done():
            self._free.release()
            return
        self._left += 1
        thread.add_done_callback(self._forget)

    def _forget(self, thread: asyncio.Future[Any]) -> None:
        if not thread.cancelled():
            thread.exception()  # marked as retrieved
        self._left -= 1
        self._free.release()


def failed_call(error: str, on_end: Callable[[str], None] | None = None) -> Future[ToolResult]:
    """Return the ended future of a call that was never made."""
    now, text = time.perf_counter(), f"error: {error}"
    if on_end:
        on_end(text)
    future: Future[ToolResult] = Future()
    future.set_result(ToolResult(text, True, now, now))
    return future


class _LoopThread:
    """An event loop in a daemon thread, which begins with its first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin the coroutine. Raises BadInput once the thread has ended."""
        with self._lock:
            if self._closed:
                work.close()
                raise BadInput("this toolbox is closed: make another one, or use it inside its `with`")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="tools", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]], limit: float) -> None:
        """Run the last coroutine and end the thread. Closing twice is not an error."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed or self._loop is None or self._thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(last(), self._loop).result(limit)
        except TimeoutError:
            say("a tool blocks the event loop of its toolbox: its thread is left behind", style="yellow")
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def text_of(value: object) -> str:
    """Return a tool's value as text: a text itself, anything else as JSON, or by its `str` if it has no JSON.

    Raises ToolError for an iterator, which may have no end.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Iterator | AsyncIterator):
        raise ToolError(f"the tool returned a {type(value).__name__}: it has to return a value")
    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)


def describe(error: Exception) -> str:
    """Return an error in one line."""
    try:
        text = str(error).strip()
    except Exception:
        text = ""
    if isinstance(error, ToolError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shorten(text: str, limit: int) -> str:
    """Return the text as UTF-8 can carry it, with a mark in the place of what is beyond the limit."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit:,} more characters were cut off]"
