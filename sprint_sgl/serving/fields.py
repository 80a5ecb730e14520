"""How the fields of a request are read: supported ones are modelled, harmless ones are ignored by name, all others are
refused by their path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sprint_sgl.validation import suggestion

NOT_SUPPORTED = "not_supported"
LONGEST_NAME = 64
_PLAIN = re.compile(rf"[\w.-]{{1,{LONGEST_NAME}}}")
JSON_TYPES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    type(None): "null",
}


def _integral(value: Any) -> Any:
    """Return 2 for 2.0, which JSON Schema calls an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(_integral)


class RequestObject(BaseModel):
    """A JSON object in a request. As in OpenAI's schema, an optional field may be null.

    `ignored` names OpenAI's fields that change nothing in an answer here.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("object", "an object is expected, got {kind}", {"kind": json_type(value)})
        given = {name: field for name, field in value.items() if field is not None}
        for name in given:
            if name not in cls.model_fields and name not in cls.ignored:
                supported = cls._supported()
                message = f"not supported here{suggestion(name, supported)}; known: {', '.join(supported) or 'none'}"
                raise PydanticCustomError(
                    NOT_SUPPORTED, "{message}", {"field": printable_name(name), "message": message}
                )
        return {name: field for name, field in given.items() if name not in cls.ignored}

    @classmethod
    def _supported(cls) -> list[str]:
        fields = cls.model_fields.items()
        return [name for name, field in fields if not any(isinstance(mark, Only) for mark in field.metadata)]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of what is accepted: nulls in the place of optional fields, and the ignored fields."""
        reference = handler(schema)
        found = handler.resolve_ref_schema(reference)
        required = found.get("required", ())
        accepted = {
            name: field if name in required else {"anyOf": [field, {"type": "null"}]}
            for name, field in found.get("properties", {}).items()
        }
        ignored = {name: {"description": "ignored"} for name in sorted(cls.ignored)}
        found |= {"properties": accepted | ignored, "additionalProperties": {"type": "null"}}
        return reference


class Only:
    """Marks a field of a feature that no program has: the given values ask for nothing, all others are refused."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.values)}

    def _check(self, value: Any) -> None:
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values):
            accepted = " or ".join(json.dumps(each) for each in self.values)
            message = "not supported here, only {accepted} is accepted"
            raise PydanticCustomError(NOT_SUPPORTED, message, {"accepted": accepted})


def printable_name(name: str) -> str:
    """Return a field's name as a message can contain it: short, on one line, without halves of surrogate pairs."""
    if _PLAIN.fullmatch(name):
        return name
    return ascii(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...")


def as_list(forms: str, item: Callable[[str], Any] = str, schema: Any = str | list[str]) -> BeforeValidator:
    """Return a validator that turns a text into a list of one item; `forms` names what is expected in errors."""

    def to_list(value: Any) -> Any:
        if isinstance(value, str | list):
            return [item(value)] if isinstance(value, str) else value
        raise PydanticCustomError("form", "{forms} is expected, got {kind}", {"forms": forms, "kind": json_type(value)})

    return BeforeValidator(to_list, json_schema_input_type=schema)


def json_type(value: object) -> str:
    """Return the JSON type of a value in words."""
    return JSON_TYPES.get(type(value), "a number")
