"""A tool: a function with a name, a schema of its arguments, and limits.

    @tool(time_limit=5, retries=1)
    async def weather(city: str) -> str: ...

Functions are sync or async. A sync function runs in a thread of its own, which cannot be stopped: after its time limit
it is left to end by itself and keeps its place among the tool's parallel calls until then.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from sprint_sgl.errors import BadInput
from sprint_sgl.validation import checked_count, checked_seconds

Arguments = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class ToolError(Exception):
    """What a tool raises to say in its own words why it failed: the model reads these words."""


@dataclass(frozen=True)
class ToolContext:
    """Where a call comes from; a function whose first parameter has this annotation receives it.

    stage, number   of the prompt, from 1, as in <prompt_2.3>
    """

    question: str = ""
    prompt: str = ""
    stage: int = 1
    number: int = 1


@dataclass(frozen=True)
class Tool:
    """What carries out prompts in the model's place.

    parameters       JSON schema of the arguments
    check            returns the arguments as the function takes them; raises ValueError for others
    pattern          prompts that match it as a whole are calls; its named groups are the arguments
    time_limit       seconds for one attempt
    parallel         calls that may run at the same time
    retries          further attempts after a failure; only for tools that may safely be called twice
    max_characters   of a result; the rest is cut off, with a mark
    is_client        whether whoever asked the question carries it out: the run then ends with executions that wait
    """

    name: str
    function: Callable[..., Any]
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Arguments], Arguments] = dict
    pattern: str | re.Pattern[str] | None = None
    time_limit: float = 30.0
    parallel: int = 8
    retries: int = 0
    max_characters: int = 8000
    takes_context: bool = False
    is_client: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadInput(f"a tool's name has letters, digits, '_', '.' or '-', at most 64, got {self.name!r}")
        checked_seconds("time_limit", self.time_limit)
        for name in ("parallel", "max_characters"):
            checked_count(name, getattr(self, name))
        if not isinstance(self.retries, int) or self.retries < 0:
            raise BadInput(f"retries must be a whole number, at least 0, got {self.retries!r}")
        if isinstance(self.pattern, str):
            object.__setattr__(self, "pattern", re.compile(self.pattern))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it were no tool."""
        return self.function(*args, **kwargs)

    @staticmethod
    def from_function(function: Callable[..., Any], **options: Any) -> Tool:
        """Return the function as a tool: name, description and arguments are its own, unless `options` name others.

        Raises BadInput for a function whose arguments have no names.
        """
        name = options.pop("name", None) or getattr(function, "__name__", type(function).__name__)
        takes_context, arguments = _arguments_model(name, function)
        schema = arguments.model_json_schema()
        schema.pop("title", None)
        return Tool(
            name=name,
            function=function,
            description=options.pop("description", None) or inspect.getdoc(function) or "",
            parameters=schema,
            check=_checker(arguments),
            takes_context=takes_context,
            **options,
        )

    @staticmethod
    def from_schema(schema: Mapping[str, Any], function: Callable[..., Any], **options: Any) -> Tool:
        """Return a tool from an OpenAI function-calling schema, with the function that carries it out.

        Raises BadInput for anything but {"type": "function", "function": {"name": ..., "parameters": ...}} or its
        inner object.
        """
        inner = schema.get("function", schema)
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise BadInput(f"a tool's schema is {{'type': 'function', 'function': {{'name': ...}}}}, got {schema!r}")
        parameters = inner.get("parameters") or {"type": "object", "properties": {}}
        description = str(inner.get("description") or "")
        return Tool(inner["name"], function, description, parameters, schema_checker(parameters), **options)

    @staticmethod
    def of_client(schema: Mapping[str, Any]) -> Tool:
        """Return the tool of an OpenAI schema that whoever asks carries out. Raises BadInput as `from_schema` does."""
        return Tool.from_schema(schema, _nowhere, is_client=True)

    @property
    def signature(self) -> str:
        """The name with the names of the arguments: "weather(city, day)"."""
        return f"{self.name}({', '.join(self.argument_names)})"

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as OpenAI's function-calling schema."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    @property
    def argument_names(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("properties", {}))


@overload
def tool(function: Callable[..., Any]) -> Tool: ...


@overload
def tool(**options: Any) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(function: Callable[..., Any] | None = None, **options: Any) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Decorate a function: `@tool`, or `@tool(time_limit=5)` with the options of `Tool`."""
    if function is None:
        return lambda function: Tool.from_function(function, **options)
    return Tool.from_function(function, **options)


def _nowhere(**arguments: Any) -> None:
    raise ToolError("this tool is the client's own: it is not carried out here")


def schema_checker(parameters: Mapping[str, Any]) -> Callable[[Arguments], Arguments]:
    """Return a check of arguments against a JSON schema. Raises BadInput if the schema is none."""
    import jsonschema

    try:
        validator = jsonschema.validators.validator_for(dict(parameters))
        validator.check_schema(dict(parameters))
    except jsonschema.SchemaError as error:
        raise BadInput(f"a tool's parameters are no JSON schema: {error.message}") from error

    def check(arguments: Arguments) -> Arguments:
        for error in validator(dict(parameters)).iter_errors(dict(arguments)):
            where = ".".join(map(str, error.path))
            raise ValueError(f"{where}: {error.message}" if where else error.message)
        return arguments

    return check


def _arguments_model(name: str, function: Callable[..., Any]) -> tuple[bool, type[BaseModel]]:
    """Return whether the function takes a ToolContext first, and its other arguments as a model."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations that cannot be resolved here, or an object that has none
        hints = {}
    parameters = list(inspect.signature(function).parameters.values())
    takes_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
    fields: dict[str, Any] = {}
    for parameter in parameters[takes_context:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadInput(f"the tool {name} has the argument {parameter}: every argument needs a name of its own")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return takes_context, create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _checker(model: type[BaseModel]) -> Callable[[Arguments], Arguments]:
    def check(arguments: Arguments) -> Arguments:
        try:
            checked = model.model_validate(dict(arguments))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return {name: getattr(checked, name) for name in checked.model_fields_set}

    return check
