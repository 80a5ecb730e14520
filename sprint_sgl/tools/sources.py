"""Tools by name: what stands in conf/program and on the command line.

calculator, python              the shipped ones
my_tools.py                     a file: its list TOOLS, or all its Tool objects; and its function `route`, if any
servers.json                    {"mcpServers": {NAME: {"command": ..., "args": [...], "env": {...}}}}, or with "url"
http://localhost:8000/mcp       an MCP server over HTTP
"mcp: uvx some-server --flag"   an MCP server that is started
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.tools.calculator import calculator
from sprint_sgl.tools.mcp import McpServer
from sprint_sgl.tools.python import python
from sprint_sgl.tools.tool import Tool
from sprint_sgl.tools.toolbox import Router, Toolbox
from sprint_sgl.validation import suggestion

SHIPPED = {"calculator": calculator, "python": python}
Source = Tool | Callable[..., Any] | McpServer | str
Tools = Toolbox | Iterable[Source]


@dataclass
class NamedTools:
    """The tools of some sources, and the router of the last file that has one."""

    tools: list[Tool | Callable[..., Any] | McpServer] = field(default_factory=list)
    router: Router | None = None


def read_sources(sources: Iterable[Source]) -> NamedTools:
    """Return the tools that the sources name. Raises BadInput."""
    named = NamedTools()
    for source in sources:
        if not isinstance(source, str):
            named.tools.append(source)
        elif source in SHIPPED:
            named.tools.append(SHIPPED[source])
        elif source.startswith(("http://", "https://")):
            named.tools.append(McpServer(source))
        elif source.startswith("mcp:"):
            named.tools.append(McpServer(source.removeprefix("mcp:").strip()))
        elif source.endswith(".py"):
            _read_python(Path(source), named)
        elif source.endswith(".json"):
            named.tools += _read_servers(Path(source))
        else:
            near = suggestion(source, list(SHIPPED)) or ":"
            raise BadInput(
                f"unknown tool {source!r}{near} give {', '.join(SHIPPED)}, a file FILE.py or FILE.json, "
                "the address of an MCP server, or 'mcp: COMMAND'"
            )
    return named


def _read_python(path: Path, named: NamedTools) -> None:
    if not path.is_file():
        raise BadInput(f"{path} does not exist: --tools FILE.py names a file that defines tools")
    try:
        content = runpy.run_path(str(path))
    except Exception as error:
        raise BadInput(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = content.get("TOOLS", [value for value in content.values() if isinstance(value, Tool)])
    if not found:
        raise BadInput(f"{path} defines no tools: decorate functions with sprint_sgl.tools.tool, or list them as TOOLS")
    named.tools += found
    named.router = content.get("route", named.router)


def _read_servers(path: Path) -> list[McpServer]:
    try:
        servers = json.loads(path.read_text())["mcpServers"]
        return [_server(entry) for entry in servers.values()]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f'{path} must be {{"mcpServers": {{NAME: {{"command": ...}} or {{"url": ...}}}}}}') from error


def _server(entry: Mapping[str, Any]) -> McpServer:
    if url := entry.get("url"):
        return McpServer(url)
    env = {name: os.path.expandvars(value) for name, value in (entry.get("env") or {}).items()}
    return McpServer([entry["command"], *entry.get("args", ())], env=env)


_shared: dict[tuple[str, ...], Toolbox] = {}
_lock = threading.Lock()


def shared_toolbox(sources: tuple[str, ...]) -> Toolbox:
    """Return the process's one box of these names; it is closed when the process ends."""
    with _lock:
        if sources not in _shared:
            named = read_sources(sources)
            _shared[sources] = Toolbox(named.tools, router=named.router)
            atexit.register(_shared[sources].close)
        return _shared[sources]


@contextmanager
def toolbox_for(tools: Tools | None) -> Iterator[Toolbox | None]:
    """Yield the box itself, a box of the tools for the time of the `with`, or None for no tools.

    Tools that are all given by name are in a box that the whole process shares, so that servers are started once.
    """
    if tools is None or isinstance(tools, Toolbox):
        yield tools
        return
    given = tuple(tools)
    if not given:
        yield None
    elif all(isinstance(each, str) for each in given):
        yield shared_toolbox(tuple(map(str, given)))
    else:
        named = read_sources(given)
        with Toolbox(named.tools, router=named.router) as box:
            yield box


def checked_tools(name: str, value: object) -> object:
    """Return the value if it is a Toolbox or a list of tools and their names. Raises BadInput."""
    if isinstance(value, str) or not isinstance(value, Toolbox | Iterable):
        raise BadInput(f"{name} must be a Toolbox or a list of tools, got {value!r}")
    return value
