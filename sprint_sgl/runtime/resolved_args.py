"""The arguments that a runtime really has: SGLang changes some as it resolves them, and tells its log alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_PREFIX_CACHE = (
    "runs without a radix cache: every fork computes its whole context again. Start it without disable-radix-cache; "
    "with deterministic inference only the attention backends triton, fa3 and fa4 keep it"
)

NO_SEEDS = (
    "this runtime ignores seeds: at a temperature above 0 another run gives other answers. Only a runtime with "
    "enable-deterministic-inference honours them, such as conf/runtime/a100_seeded.yaml"
)

Plain = str | int | float  # and bool, which is an int


def changed_arguments(asked: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """Return a line for each server argument that the runtime's /server_info has with another value than asked for.

    Lists, mappings and arguments that it does not report under their own names are skipped.
    """
    lines = []
    for name, value in asked.items():
        has = info.get(name.replace("-", "_"))
        if isinstance(has, Plain) and isinstance(value, Plain) and _text(has) != _text(value):
            lines.append(f"asked for {name}={value}, SGLang has made it {has}")
    if lacks_prefix_cache(info) and not asked.get("disable-radix-cache"):
        lines.append("SGLang keeps no radix cache")
    return lines


def lacks_prefix_cache(info: Mapping[str, Any]) -> bool:
    """Whether /server_info says that no prefixes are kept; a server that says nothing is taken to keep them."""
    return bool(info.get("disable_radix_cache"))


def ignores_seeds(info: Mapping[str, Any]) -> bool:
    """Whether /server_info says that inference is not deterministic; a server that says nothing is taken to be."""
    return info.get("enable_deterministic_inference") is False


def _text(value: Any) -> str:
    """Return a number by its value, so that 3600 is 3600.0, and a switch in lower case."""
    try:
        return str(float(value)) if not isinstance(value, bool) else str(value).lower()
    except ValueError:
        return str(value).lower()
