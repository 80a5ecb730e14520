"""Which tool a prompt calls, and with what arguments.

    {"name": "search", "arguments": {"query": "SPRINT"}}     JSON; also OpenAI's {"function": {...}}
    search("SPRINT", limit=3)                                a name and literals
    calculator(12*(3+4))                                     for a tool with one text as its argument, the text itself

A prompt that names no tool of the box is for the model. One that names a tool with wrong arguments is a failed call.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sprint_sgl.tools.tool import Tool

_CALL = re.compile(r"([A-Za-z_][\w.-]*)\s*\((.*)\)", re.DOTALL)
_FENCE = re.compile(r"```\w*\n(.*)\n```", re.DOTALL)


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; `error` says why its arguments cannot be used."""

    tool: Tool
    arguments: Mapping[str, Any]
    error: str = ""

    def __str__(self) -> str:
        return f"{self.tool.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def read_call(prompt: str, tools: Mapping[str, Tool]) -> ToolCall | None:
    """Return the call that a prompt is, or None if it is for the model."""
    text = _without_quotes(prompt.strip())
    for tool in tools.values():
        if isinstance(tool.pattern, re.Pattern) and (match := tool.pattern.fullmatch(text)):
            return checked_call(tool, {name: value for name, value in match.groupdict().items() if value is not None})
    return _json_call(text, tools) or _written_call(text, tools)


def checked_call(tool: Tool, arguments: object) -> ToolCall:
    """Return the call with its arguments as the tool takes them, or with what is wrong with them."""
    if not isinstance(arguments, Mapping):
        return ToolCall(tool, {}, f"the arguments of {tool.name} must be an object, got {arguments!r}")
    try:
        return ToolCall(tool, tool.check(arguments))
    except ValueError as error:
        return ToolCall(tool, arguments, f"wrong arguments for {tool.name}: {error}")


def _without_quotes(text: str) -> str:
    if fenced := _FENCE.fullmatch(text):
        return fenced[1].strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == "`" else text


def _json_call(text: str, tools: Mapping[str, Tool]) -> ToolCall | None:
    """Read {"name": ..., "arguments": ...}; the arguments may be a text that is JSON, as OpenAI's are."""
    try:
        whole = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return None
    inner = whole.get("function", whole) if isinstance(whole, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    name = inner.get("name")
    tool = tools.get(name) if isinstance(name, str) else None
    if tool is None:
        return None
    arguments = inner.get("arguments", inner.get("parameters")) or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return ToolCall(tool, {}, f"the arguments of {name} are no JSON: {arguments!r}")
    return checked_call(tool, arguments)


def _written_call(text: str, tools: Mapping[str, Tool]) -> ToolCall | None:
    """Read name(...) with literals, or with any text if the tool takes one text."""
    match = _CALL.fullmatch(text)
    tool = tools.get(match[1]) if match else None
    if match is None or tool is None:
        return None
    names = tool.argument_names
    try:
        return checked_call(tool, _literals(match[2], names))
    except (ValueError, SyntaxError, RecursionError) as error:
        types = [schema.get("type") for schema in tool.parameters.get("properties", {}).values()]
        if types == ["string"]:
            return checked_call(tool, {names[0]: match[2].strip()})
        return ToolCall(tool, {}, f"wrong arguments for {tool.name}: {str(error) or 'not literals'}")


def _literals(inside: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the literals of an argument list by name. Raises ValueError or SyntaxError."""
    call = ast.parse(f"f({inside})", mode="eval").body
    if not isinstance(call, ast.Call) or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError("not a list of literals")
    if len(call.args) > len(names):
        raise ValueError(f"{len(call.args)} values for {len(names)} arguments")
    found = {name: ast.literal_eval(node) for name, node in zip(names, call.args, strict=False)}
    for keyword in call.keywords:
        if keyword.arg in found:
            raise ValueError(f"{keyword.arg} is given twice")
        found[str(keyword.arg)] = ast.literal_eval(keyword.value)
    return found
