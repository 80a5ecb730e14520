"""The door between Hydra and our code: behind it nobody sees a DictConfig, and a value left out is one clear line."""

from __future__ import annotations

from typing import Any, TypeVar

from omegaconf import OmegaConf

from sprint_sgl.errors import BadInput

T = TypeVar("T")


def settings(raw: Any, schema: type[T]) -> T:
    """The config as the dataclass that Hydra composed it by. Raises BadInput where a value is missing."""
    if missing := sorted(OmegaConf.missing_keys(raw)):
        raise BadInput(f"{missing[0]} is missing: give {' and '.join(f'{key}=...' for key in missing)}")
    config = OmegaConf.to_object(raw)
    assert isinstance(config, schema)
    return config
