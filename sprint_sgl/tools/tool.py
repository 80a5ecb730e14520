"""A tool: a function with a name, a schema of its arguments, and limits.

    @tool(time_limit=5, retries=1)
    async def weather(city: str) -> str: ...

Functions are sync or async. A sync function runs in a thread of its own, which cannot be stopped: after its time limit
it is left to end by itself and keeps its place among the tool's parallel calls until then.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

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
    is_client        whether the client carries it out: the run then ends with executions that wait
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
            try:
                object.__setattr__(self, "pattern", re.compile(self.pattern))
            except re.error as error:
                raise BadInput(f"the pattern of the tool {self.name} is not a regular expression: {error}") from error
        if isinstance(self.pattern, re.Pattern) and self.argument_names:
            for group in set(self.pattern.groupindex) - set(self.argument_names):
                raise BadInput(
                    f"the pattern of the tool {self.name} has a group {group!r}, which is not an argument of it"
                )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it were no tool."""
        return self.function(*args, **kwargs)

    @staticmethod
    def from_function(function: Callable[..., Any], **options: Any) -> Tool:
        """Return the function as a tool: name, description and arguments are its own, unless `options` name others.

        Raises BadInput for a function whose arguments have no names.
        """
        name = options.pop("name", None) or getattr(function, "__name__", type(function).__name__)
        takes_context, names, arguments = _arguments_model(name, function)
        schema = arguments.model_json_schema()
        schema.pop("title", None)
        return Tool(
            name=name,
            function=function,
            description=options.pop("description", None) or inspect.getdoc(function) or "",
            parameters=schema,
            check=_checker(arguments, names),
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
        """Return the tool of an OpenAI schema that the client carries out. Raises BadInput as `from_schema` does."""
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
    """Return a check of arguments against a JSON schema, which may come from a stranger.

    References lead nowhere outside the schema, and regular expressions are not evaluated: some take for ever.
    Raises BadInput if it is not a JSON schema.
    """
    import jsonschema
    from referencing import Registry

    schema = without_patterns(parameters)
    try:
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BadInput(f"a tool's parameters are not a JSON schema: {error.message}") from error
    except Exception as error:
        raise BadInput(f"a tool's parameters are not a JSON schema: {type(error).__name__}") from error
    validator = kind(schema, registry=Registry())

    def check(arguments: Arguments) -> Arguments:
        try:
            json.dumps(dict(arguments), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise ValueError("the values must be JSON") from error
        try:
            found = next(validator.iter_errors(dict(arguments)), None)
        except Exception as error:
            raise ValueError(f"the tool's schema cannot be used: {type(error).__name__}") from error
        if found is not None:
            where = ".".join(map(str, found.path))
            raise ValueError(f"{where}: {found.message}" if where else found.message)
        return arguments

    return check


def without_patterns(schema: Any, names: bool = False) -> Any:
    """Return the schema without regular expressions. Raises BadInput for a reference to something outside it.

    names   whether the keys are names of properties or definitions, and no keywords
    """
    if isinstance(schema, Mapping):
        reference = schema.get("$ref", "#")
        if not names and not (isinstance(reference, str) and reference.startswith("#")):
            raise BadInput(f"a tool's parameters refer to {reference!r}, which is outside their schema")
        dropped = () if names else ("pattern", "patternProperties")
        inner = ("properties", "$defs", "definitions", "dependentSchemas")
        return {
            key: without_patterns(value, not names and key in inner)
            for key, value in schema.items()
            if key not in dropped
        }
    return [without_patterns(each) for each in schema] if isinstance(schema, list) else schema


def _arguments_model(name: str, function: Callable[..., Any]) -> tuple[bool, dict[str, str], type[BaseModel]]:
    """Return whether the function takes a ToolContext first, the fields of its other arguments, and their model."""
    if isinstance(function, staticmethod | classmethod):
        raise BadInput(f"the tool {name} is a method: decorate a function, or give a bound method to the Toolbox")
    try:
        hints = get_type_hints(
            function if inspect.isroutine(function) else type(function).__call__, include_extras=True
        )
    except (NameError, TypeError, AttributeError):  # annotations that cannot be resolved here
        hints = {}
    parameters = list(inspect.signature(function).parameters.values())
    is_context = [_is_context(each.annotation, hints.get(each.name)) for each in parameters]
    if any(is_context[1:]) or (parameters and parameters[0].name == "self"):
        raise BadInput(
            f"the tool {name}: the ToolContext must be the first parameter, and the function must not take `self`"
        )
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for parameter in parameters[any(is_context) :]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadInput(f"the tool {name} has the argument {parameter}: every argument needs a name of its own")
        default = ... if parameter.default is parameter.empty else parameter.default
        place = f"argument_{len(names)}"  # any name may be an argument's, and not any name a field's
        names[place] = parameter.name
        fields[place] = (hints.get(parameter.name, Any), Field(default, alias=parameter.name))
    try:
        return any(is_context), names, create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except Exception as error:
        raise BadInput(f"the tool {name} has arguments of a type that JSON cannot carry: {error}") from error


def _is_context(annotation: object, hint: object) -> bool:
    return hint is ToolContext or annotation is ToolContext or str(annotation).strip("'\"") == ToolContext.__name__


def _checker(model: type[BaseModel], names: Mapping[str, str]) -> Callable[[Arguments], Arguments]:
    def check(arguments: Arguments) -> Arguments:
        try:
            checked = model.model_validate(dict(arguments))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return {names[place]: getattr(checked, place) for place in checked.model_fields_set}

    return check
