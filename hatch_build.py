"""Puts conf/ and models/ into wheels, inside sprint_sgl, where sprint_sgl/storage/shipped.py looks for them."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """An editable install has the checkout's own folders and gets no copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"] |= {"conf": "sprint_sgl/conf", "models": "sprint_sgl/models"}
