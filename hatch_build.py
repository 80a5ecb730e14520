"""Build hook of hatch: put conf/ and models/ into wheels, where sprint_sgl/storage/package_files.py finds them."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Add conf/ and models/ to a wheel under sprint_sgl/. An editable install uses the checkout's own folders."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"] |= {"conf": "sprint_sgl/conf", "models": "sprint_sgl/models"}
