"""What can be compared: programs with their settings, one a file in conf/program/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sprint_sgl.config import instantiate_target
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.program import Program
from sprint_sgl.storage.shipped import CONF, conf_names


@dataclass(frozen=True)
class Method:
    """A program whose arguments are set, under the name that records carry."""

    name: str
    program: Program
    temperature: float
    settings: Mapping[str, Any]


def method_names() -> list[str]:
    return conf_names("program")


def method_of(settings: Mapping[str, Any]) -> Method:
    """From a file's content, overrides included. Raises BadInput for an argument that the program does not have."""
    arguments = {key: value for key, value in settings.items() if key not in ("name", "temperature")}
    return Method(settings["name"], instantiate_target(arguments, "program"), settings["temperature"], dict(settings))


def named_method(name: str) -> Method:
    """As its file has it. Raises BadInput with the names that there are."""
    if name not in method_names():
        raise BadInput(f"unknown program {name!r}; known: {', '.join(method_names())}")
    return method_of(yaml.safe_load((CONF / "program" / f"{name}.yaml").read_text()))


def weights_for(model: str, method: str) -> str:
    """Whose weights that method runs on: conf/models has families, other names stand for one model for all.

    Raises BadInput where a family has none for the method.
    """
    family = CONF / "models" / f"{model}.yaml"
    if not family.is_file():
        return model
    named = yaml.safe_load(family.read_text())
    if found := named.get(method, named["default"]):
        return str(found)
    raise BadInput(f"model={model} has no weights for {method}: give weights.{method}=...")
