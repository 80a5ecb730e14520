"""Methods that can be compared: programs with their settings, one a file in conf/program/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sprint_sgl.config import compose_file, instantiate_target
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.calls import model_name, model_note
from sprint_sgl.lang.defaults import TEMPERATURE
from sprint_sgl.lang.program import Program
from sprint_sgl.storage.package_files import CONF, conf_names


@dataclass(frozen=True)
class Method:
    """A program whose arguments are set, under the name that records carry."""

    name: str
    program: Program
    temperature: float
    settings: Mapping[str, Any]

    def choose_temperature(self, given: float | None) -> float:
        """Return the given temperature; for None, the method's own."""
        return self.temperature if given is None else given


def misfit(method: Method, backend: Any) -> str | None:
    """Return a line if the model was trained on other rows than the program needs; None if not, or if unknown."""
    needs, trained_on = method.program.needs, model_note(backend, "trained_on")
    if not needs or not trained_on or needs == trained_on:
        return None
    return (
        f"{model_name(backend)} was trained on {trained_on} rows, and the program {method.name} needs a model trained "
        f"on {needs} rows: expect wrong answers"
    )


def method_names() -> list[str]:
    return conf_names("program")


def build_method(settings: Mapping[str, Any]) -> Method:
    """Build a method from a file's content with its overrides. Raises BadInput for an unknown argument."""
    whole = {"temperature": TEMPERATURE, **settings}
    arguments = {key: value for key, value in whole.items() if key not in ("name", "temperature")}
    return Method(whole["name"], instantiate_target(arguments, "program"), whole["temperature"], whole)


def named_method(name: str) -> Method:
    """Build the method of conf/program/NAME.yaml. Raises BadInput with the known names."""
    if name not in method_names():
        raise BadInput(f"unknown program {name!r}; known: {', '.join(method_names())}")
    return build_method(compose_file("program", name))


def weights_for(model: str, method: str) -> str:
    """Return whose weights a method runs on: those that the family conf/models/MODEL.yaml names, else `model` itself.

    Raises BadInput if the family has none for the method.
    """
    family = CONF / "models" / f"{model}.yaml"
    if not family.is_file():
        return model
    named = yaml.safe_load(family.read_text())
    if found := named.get(method, named["default"]):
        return str(found)
    raise BadInput(f"model={model} has no weights for {method}: give weights.{method}=...")
