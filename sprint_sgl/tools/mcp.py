"""Tools of MCP servers, through the `mcp` package: each server is connected once and closed for good."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, RuntimeUnavailable
from sprint_sgl.tools.tool import NAME, Tool, ToolError, schema_checker

CONNECT_LIMIT = 30.0  # seconds


@dataclass(eq=False)
class McpServer:
    """An MCP server: the address of one over HTTP, or a command that speaks it on its standard input and output.

    target      "http://.../mcp", a command line, or its words
    env         variables of the command, beside the few that the mcp package passes on
    only        names of the tools that are wanted; by default all
    options     of `Tool`, for all of them: time_limit, parallel, max_characters
    A tool is tried again after a failure only if its server calls it read-only or idempotent.
    """

    target: str | Sequence[str]
    env: Mapping[str, str] | None = None
    only: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    _stop: asyncio.Event | None = field(default=None, init=False, repr=False)
    task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)

    async def connect(self) -> list[Tool]:
        """Return the server's tools. Raises RuntimeUnavailable if it does not answer, BadInput for unknown names."""
        if self.task is not None:
            raise BadInput(f"{self} is connected already: an McpServer belongs to one Toolbox")
        if not self._is_http and not self._words():
            raise BadInput("an MCP server is an address or a command, got an empty one")
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Any] = loop.create_future()
        self._stop = asyncio.Event()
        self.task = loop.create_task(self._serve(ready, self._stop))
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                client, listed = await ready
        except TimeoutError as error:
            await self.close(1.0)
            raise RuntimeUnavailable(f"{self} did not answer as an MCP server within {CONNECT_LIMIT:g} s") from error
        except BadInput:
            raise
        except Exception as error:
            raise RuntimeUnavailable(f"{self} does not answer as an MCP server: {first_cause(error)}") from error
        wanted = [each for each in listed if self.only is None or each.name in self.only]
        tools = [self._tool(client, each) for each in wanted if NAME.fullmatch(each.name)]
        if odd := [each.name for each in wanted if not NAME.fullmatch(each.name)]:
            say(f"{self}: {odd[0]!r} is a name that no prompt can call; that tool is left out", style="yellow")
        if missing := set(self.only or ()) - {each.name for each in listed}:
            await self.close(CONNECT_LIMIT)
            names = ", ".join(each.name for each in listed)
            raise BadInput(f"{self} has no tool {sorted(missing)[0]!r}; it has {names}")
        return tools

    async def _serve(self, ready: asyncio.Future[Any], stop: asyncio.Event) -> None:
        """Hold the connection until `stop`: the package wants it opened and closed by one task."""
        try:
            from mcp import Client, StdioServerParameters, stdio_client
        except ImportError:
            ready.set_exception(BadInput("tools of MCP servers need the package mcp: pip install 'sprint-sgl[tools]'"))
            return

        with tempfile.TemporaryFile("w+") as log:  # what a command says on its standard error
            if self._is_http:
                server: Any = self.target
            else:
                words = self._words()
                command = sys.executable if words[0] == "python" else words[0]
                env = dict(self.env) if self.env else None
                server = stdio_client(StdioServerParameters(command=command, args=words[1:], env=env), errlog=log)
            try:
                async with Client(server) as client:
                    ready.set_result((client, await _all_tools(client)))
                    await stop.wait()
            except Exception as error:
                if not ready.done():
                    log.seek(0)
                    said = log.read().strip().rpartition("\n")[2]
                    ready.set_exception(RuntimeError(said) if said else error)

    @property
    def _is_http(self) -> bool:
        return isinstance(self.target, str) and re.match(r"https?://", self.target) is not None

    def _words(self) -> list[str]:
        """Return the command's words. Raises BadInput for a quote that is not closed."""
        try:
            return shlex.split(self.target) if isinstance(self.target, str) else list(self.target)
        except ValueError as error:
            raise BadInput(f"{self.target!r} is not a command: {error}") from error

    async def close(self, limit: float) -> None:
        """End the connection, and the command with it."""
        if self.task is None or self._stop is None:
            return
        self._stop.set()
        await asyncio.wait([self.task], timeout=limit)
        self.task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.task
        self.task = None

    def _tool(self, client: Any, listed: Any) -> Tool:
        parameters = listed.input_schema
        notes = listed.annotations
        repeatable = bool(notes and (notes.read_only_hint or notes.idempotent_hint))
        options = {"retries": 1 if repeatable else 0, **self.options}
        description = listed.description or ""
        call = _caller(client, listed.name)
        return Tool(listed.name, call, description, parameters, schema_checker(parameters), **options)

    def __str__(self) -> str:
        return self.target if isinstance(self.target, str) else shlex.join(self.target)


async def _all_tools(client: Any) -> list[Any]:
    """Return the tools of all pages of a server's list."""
    page = await client.list_tools()
    found = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        found += page.tools
    return found


def _caller(client: Any, name: str) -> Callable[..., Any]:
    async def call(**arguments: Any) -> str:
        result = await client.call_tool(name, arguments)
        text = "\n".join(map(_block_text, result.content))
        if not text and result.structured_content is not None:
            text = json.dumps(result.structured_content, ensure_ascii=False)
        if result.is_error:
            raise ToolError(text or "the tool failed without a word")
        return text

    return call


def _block_text(block: Any) -> str:
    """Return a block of a result as text; what is not text is named."""
    if block.type == "text":
        return str(block.text)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return str(block.resource.text)
    return f"[{block.type}]"


def first_cause(error: BaseException) -> str:
    """Return the first error of a group in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
