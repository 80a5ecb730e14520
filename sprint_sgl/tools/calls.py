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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sprint_sgl.tools.tool import Tool, without_patterns

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


def call_grammar(tools: Iterable[Tool]) -> str:
    """Return the grammar of one call of one of these tools, as JSON, for SGLang's sampling parameter structural_tag."""
    calls = [
        {
            "type": "tag",
            "begin": f'{{"name": {json.dumps(tool.name)}, "arguments": ',
            "content": {
                "type": "json_schema",
                "json_schema": without_patterns(tool.parameters),
                "max_whitespace_cnt": 1,  # without a limit a model may write blanks for ever
            },
            "end": "}",
        }
        for tool in tools
    ]
    return json.dumps({"type": "structural_tag", "format": {"type": "or", "elements": calls}})


def _without_quotes(text: str) -> str:
    if fenced := _FENCE.fullmatch(text):
        return fenced[1].strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == "`" else text


def _json_call(text: str, tools: Mapping[str, Tool]) -> ToolCall | None:
    """Read {"name": ..., "arguments": ...}; the arguments may be a text that is JSON, as OpenAI's are."""
    try:
        whole = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
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
        except (ValueError, RecursionError):
            return ToolCall(tool, {}, f"the arguments of {name} are not JSON: {arguments!r}")
    return checked_call(tool, arguments)


def _written_call(text: str, tools: Mapping[str, Tool]) -> ToolCall | None:
    """Read name(...) with literals, or with any text if the tool takes one text."""
    match = _CALL.fullmatch(text)
    tool = tools.get(match[1]) if match else None
    if match is None or tool is None:
        return None
    names, inside = tool.argument_names, match[2]
    try:
        found, error = _literals(inside, names), ""
    except (ValueError, SyntaxError, RecursionError, MemoryError) as failure:
        if not _is_one_bracket(inside):
            return None  # such as "f(x) and f(y)"
        found, error = None, str(failure) or "not literals"
    if _takes_one_text(tool) and not (found is not None and [type(each) for each in found.values()] == [str]):
        found, error = {names[0]: inside.strip()}, ""
    if found is None:
        return ToolCall(tool, {}, f"wrong arguments for {tool.name}: {error}")
    return checked_call(tool, found)


def _is_one_bracket(inside: str) -> bool:
    """Whether no bracket closes that was not opened inside."""
    depth = 0
    for character in inside:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return True


def _takes_one_text(tool: Tool) -> bool:
    """Whether the tool's only argument is a text."""
    schemas = list(tool.parameters.get("properties", {}).values())
    return len(schemas) == 1 and _allows_text(schemas[0])


def _allows_text(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kind = schema.get("type")
    return (
        kind == "string"
        or (isinstance(kind, list) and "string" in kind)
        or any(map(_allows_text, schema.get("anyOf", ())))
    )


def _literals(inside: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the literals of an argument list by name. Raises ValueError or SyntaxError."""
    source = f"f({inside})"
    call = ast.parse(source, mode="eval").body
    whole = ast.get_source_segment(source, call) == source
    if not whole or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("not a list of literals")
    if len(call.args) > len(names):
        raise ValueError(f"{len(call.args)} values for {len(names)} arguments")
    found = {name: _literal(node) for name, node in zip(names, call.args, strict=False)}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in found:
            raise ValueError(f"{keyword.arg or 'an argument'} is given twice")
        found[keyword.arg] = _literal(keyword.value)
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)[:80]} is not a literal") from None
