"""Checks of a program's arguments by their annotations, before a runtime is asked for anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.validation import checked_count


def checked_style(name: str, value: object) -> str:
    """Return the name of a prompt style. Raises BadInput if there is none of that name."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be the name of a prompt style, got {value!r}")
    return prompt_style(value).name


# The metadata is called with the argument's name and its value, and raises BadInput.
Count = Annotated[int, checked_count]
StyleName = Annotated[str, checked_style]


def check_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise BadInput for a value that the function's annotation rules out.

    Literals, booleans and annotations with a check, such as Count, are looked at, also as X | None. All other
    annotations, and those that cannot be resolved, are for the reader.
    """
    hints = _hints(function)
    for name, value in values.items():
        _check(name, value, hints.get(name))


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # a name that is imported for the type checker alone
        return {}


def _check(name: str, value: Any, hint: Any) -> None:
    members = get_args(hint)
    if get_origin(hint) is Annotated:
        if callable(members[1]):
            members[1](name, value)
    elif get_origin(hint) is Literal:
        if value not in members:
            raise BadInput(f"{name} must be one of {', '.join(map(str, members))}, got {value!r}")
    elif hint is bool:
        if not isinstance(value, bool):
            raise BadInput(f"{name} must be true or false, got {value!r}")
    elif NoneType in members and value is not None:
        others = [member for member in members if member is not NoneType]
        _check(name, value, others[0] if len(others) == 1 else None)
