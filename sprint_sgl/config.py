"""The door between Hydra and our code: behind it nobody sees a DictConfig, and a mistake before it is one line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sprint_sgl.console import one_line_errors
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.output_folders import KINDS, output_folder
from sprint_sgl.storage.shipped import CONF

T = TypeVar("T")


def entry_point(name: str, schema: type[T]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """Makes a function of its settings a command: they are composed from conf/NAME.yaml and the command line.

    The schema is there for the file's defaults as NAME_schema.
    """
    ConfigStore.instance().store(f"{name}_schema", schema)

    def decorate(function: Callable[[T], None]) -> Callable[[], None]:
        def job(raw: Any) -> None:
            with one_line_errors():
                function(settings(raw, schema))

        def main() -> None:
            if function.__module__ == "__main__":  # by the name under which launchers' other processes find it
                module = importlib.import_module(sys.modules["__main__"].__spec__.name)  # type: ignore[union-attr]
                getattr(module, function.__name__)()
                return
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print, and we print it
            with one_line_errors():
                try:
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
                except (HydraException, OmegaConfBaseException) as error:
                    raise BadInput(said_by_hydra(error)) from error
                except RuntimeError as error:
                    if "slurm" not in str(error):
                        raise
                    raise BadInput(f"hydra/launcher=submitit_slurm: {error}") from error

        return main

    return decorate


class SweepFolder(Callback):
    """Hydra calls it before it writes into a sweep's folder, which is to be one of the command's own."""

    def __init__(self, command: str) -> None:
        self.kind = next(kind for kind in KINDS if kind.command == command)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the process with one line where it is not: Hydra would turn an error into a warning."""
        with one_line_errors():
            output_folder(config.hydra.sweep.dir, self.kind)


_COMPOSING = Lock()  # Hydra loads its plugins at the first use


def compose_file(group: str, name: str) -> dict[str, Any]:
    """Return the content of conf/GROUP/NAME.yaml as a Hydra command composes it, its defaults list included.

    Unlike `hydra.compose` it works in any thread, whether or not a Hydra application runs in this process.
    """
    with _COMPOSING:
        return deepcopy(_composed_file(group, name))


@lru_cache
def _composed_file(group: str, name: str) -> dict[str, Any]:
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    composed = loader.load_configuration(f"{group}/{name}", [], RunMode.RUN)
    return OmegaConf.to_container(composed[group], resolve=True)  # type: ignore[return-value]


def settings(raw: Any, schema: type[T]) -> T:
    """The config as the dataclass that Hydra composed it by. Raises BadInput where a value is missing."""
    if missing := sorted(OmegaConf.missing_keys(raw)):
        raise BadInput(f"{missing[0]} is missing: give {' and '.join(f'{key}=...' for key in missing)}")
    config = OmegaConf.to_object(raw)
    assert isinstance(config, schema)
    return config


def said_by_hydra(error: Exception) -> str:
    """Hydra's message in one line, with the keys that there are in the place of one that is not."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} does not read as KEY=VALUE"
    said = str(error).partition("Config search path:")[0].partition("\nSee https:")[0]
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        there = ", ".join(sorted(map(str, cause.parent_node))) or "the keys, since there are none"
        said = f"{said.partition(chr(10))[0]} {cause.key!r} is none of {there}"
    elif cause is not None and cause is not error:
        said += f": {str(cause).partition(chr(10))[0]}"
    head, *listed = (line.strip() for line in said.splitlines() if line.strip())
    return f"{head}. {' '.join(listed[:1])} {', '.join(listed[1:])}".strip() if listed else head


def made(node: Any, key: str) -> Any:
    """The object that a config names as `_target_`. Raises BadInput where it refuses its values."""
    try:
        return instantiate(node, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from error
        raise BadInput(f"{key}: {str(error.__cause__ or error).partition(chr(10))[0]}") from error


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, those of before first."""
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
