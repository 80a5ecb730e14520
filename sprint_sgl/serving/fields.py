"""How fields of a request are read: those that mean something are modelled, harmless ones are passed over by name,
all others are refused by their path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NOT_OFFERED = "not_offered"
SIMILARITY = 0.73  # how alike a name has to be to be suggested, from 0 to 1: as max_tokens is to max_output_tokens
LONGEST_NAME = 64
_PLAIN = re.compile(rf"[\w.-]{{1,{LONGEST_NAME}}}")
JSON_TYPES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    type(None): "null",
}


class RequestObject(BaseModel):
    """An object of a request. As in OpenAI's schema, what may be left out may be null.

    `ignored` names the fields that OpenAI has and that change nothing of an answer here.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_known(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("object", "an object is expected, got {kind}", {"kind": json_type(value)})
        given = {name: field for name, field in value.items() if field is not None}
        for name in given:
            if name not in cls.model_fields and name not in cls.ignored:
                said = refusal_message(name, cls._offered())
                raise PydanticCustomError(NOT_OFFERED, "{said}", {"field": printable_name(name), "said": said})
        return {name: field for name, field in given.items() if name not in cls.ignored}

    @classmethod
    def _offered(cls) -> list[str]:
        fields = cls.model_fields.items()
        return [name for name, field in fields if not any(isinstance(mark, Only) for mark in field.metadata)]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of what is taken: nulls for what may be left out, and the fields that are passed over."""
        reference = handler(schema)
        found = handler.resolve_ref_schema(reference)
        required = found.get("required", ())
        taken = {
            name: field if name in required else {"anyOf": [field, {"type": "null"}]}
            for name, field in found.get("properties", {}).items()
        }
        ignored = {name: {"description": "ignored"} for name in sorted(cls.ignored)}
        found |= {"properties": taken | ignored, "additionalProperties": {"type": "null"}}
        return reference


class Only:
    """Marks a field that no program has: the values that ask for nothing are taken, all others are refused."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._taken)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.values)}

    def _taken(self, value: Any) -> None:
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values):
            taken = " or ".join(json.dumps(each) for each in self.values)
            raise PydanticCustomError(NOT_OFFERED, "not offered here, only {taken} is taken", {"taken": taken})


def refusal_message(name: str, offered: Collection[str]) -> str:
    near = get_close_matches(name, offered, n=1, cutoff=SIMILARITY)
    return f"not offered here, did you mean {near[0]}?" if near else "not offered here"


def printable_name(name: str) -> str:
    """A field's name as a message can carry it: short, on one line, without halves of surrogate pairs."""
    if _PLAIN.fullmatch(name):
        return name
    return ascii(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...")


def as_list(forms: str, item: Callable[[str], Any] = str, schema: Any = str | list[str]) -> BeforeValidator:
    """Reads a text as a list of one, so that only lists go on; `forms` says what is expected."""

    def listed(value: Any) -> Any:
        if isinstance(value, str | list):
            return [item(value)] if isinstance(value, str) else value
        raise PydanticCustomError("form", "{forms} is expected, got {kind}", {"forms": forms, "kind": json_type(value)})

    return BeforeValidator(listed, json_schema_input_type=schema)


def json_type(value: object) -> str:
    """What a JSON value is, in words."""
    return JSON_TYPES.get(type(value), "a number")
