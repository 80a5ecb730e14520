"""Entry points for Hydra: settings arrive as a typed dataclass, and a mistake in them is one line on stderr."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar, get_args, get_type_hints

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sprint_sgl.config_reference import command_groups
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.output_folders import KINDS, output_folder
from sprint_sgl.storage.package_files import CONF, conf_names
from sprint_sgl.validation import suggestion

T = TypeVar("T")


def entry_point(name: str, schema: type[T]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """Return a decorator that makes a function of its settings a command.

    The settings are composed from conf/NAME.yaml, which lists the schema as NAME_schema, and the command line.
    """
    ConfigStore.instance().store(f"{name}_schema", schema)

    def decorate(function: Callable[[T], None]) -> Callable[[], None]:
        def job(raw: Any) -> None:
            with one_line_errors():
                function(typed_settings(raw, schema))

        def main() -> None:
            if function.__module__ == "__main__":  # run under the module's real name, which other processes can import
                module = importlib.import_module(sys.modules["__main__"].__spec__.name)  # type: ignore[union-attr]
                getattr(module, function.__name__)()
                return
            if {"--help", "-h"} & {*sys.argv[1:]}:
                from sprint_sgl.config_help import print_help

                with one_line_errors():
                    print_help(name, schema.__module__, schema.__name__, screen(), chosen_files(name, sys.argv[1:]))
                return
            os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them
            with one_line_errors():
                sys.argv[1:] = open_overrides(schema, sys.argv[1:])
                try:
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
                except (HydraException, OmegaConfBaseException) as error:
                    raise BadInput(hydra_message(error)) from error
                except ValueError as error:
                    if not str(error).startswith("Only one of"):
                        raise
                    raise BadInput(str(error)) from error
                except RuntimeError as error:
                    if "slurm" not in str(error):
                        raise
                    raise BadInput(f"hydra/launcher=submitit_slurm: {error}") from error

        return main

    return decorate


def command_line() -> str | None:
    """Return the command of this run, in a sweep that of this job; None if the settings did not come through Hydra."""
    if not HydraConfig.initialized():
        return None
    hydra_config = HydraConfig.get()
    return shlex.join(["sprint-sgl", str(hydra_config.job.config_name), *hydra_config.overrides.task])


def open_overrides(schema: type, words: Sequence[str]) -> list[str]:
    """Return the words of a command line as Hydra needs them.

    Overrides may add keys to the schema's dictionaries without a `+` (recipe.args.KEY=VALUE, source.where={KEY: 1}).
    --multirun may stand anywhere: Hydra's parser accepts no overrides after it if there are some before it.
    Raises BadInput for an option that Hydra does not have.
    """
    for word in words:
        if word.startswith("-") and (name := word.partition("=")[0]) not in HYDRA_OPTIONS:
            raise BadInput(f"no option {name}: settings are written {name.strip('-')}=VALUE, and --help lists them")
    opened = tuple(f"{key}{mark}" for key in dictionary_keys(schema) for mark in (".", "={"))
    found = [f"++{plain}" if (plain := word.lstrip("+")).startswith(opened) else word for word in words]
    return sorted(found, key=lambda word: word not in ("--multirun", "-m"))


def dictionary_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a dataclass's fields, at any depth, that are dictionaries open to new keys.

    A field with the metadata {"closed": True} takes only the keys that a file has given it.
    """
    kinds = get_type_hints(schema)
    for each in fields(schema):
        if each.default_factory is dict and not each.metadata.get("closed"):
            yield prefix + each.name
        for kind in (kinds[each.name], *get_args(kinds[each.name])):  # X of X | None
            if isinstance(kind, type) and is_dataclass(kind):
                yield from dictionary_keys(kind, f"{prefix}{each.name}.")


class SweepFolder(Callback):
    """Hydra callback: refuse a sweep folder that does not belong to the command; name jobs by the swept keys alone."""

    def __init__(self, command: str) -> None:
        self.kind = next(kind for kind in KINDS if kind.command == command)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """End the process with one line if the folder is refused; Hydra would turn an exception into a warning."""
        with one_line_errors():
            output_folder(config.hydra.sweep.dir, self.kind)
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        fixed = [each.key_or_group for each in overrides if not each.is_sweep_override()]
        excluded = [*config.hydra.job.config.override_dirname.exclude_keys, *fixed]
        with read_write(config):  # each job's settings are composed with these overrides
            config.hydra.overrides.hydra.append(
                f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys(excluded))}]"
            )


HYDRA_OPTIONS = {
    *("--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--hydra-help", "--version"),
    *("--multirun", "-m", "--run", "-r", "--experimental-rerun", "--shell-completion", "-sc"),
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
}
MISSING_FILE = re.compile(r"Could not find '(?P<group>\w+)/(?P<name>[^']+)'")
UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")
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


def chosen_files(command: str, words: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return group and name of each GROUP=NAME among the words of a command line, and that file's values.

    Raises BadInput for a name that the group does not have.
    """
    found = {}
    groups = {group.name for group in command_groups(command)}
    for group, _, name in (word.partition("=") for word in words):
        if group in groups and name:
            if name not in (names := conf_names(group)):
                near = suggestion(name, names)
                raise BadInput(f"{group}={name}: conf/{group} has no such file, but {', '.join(names)}{near}")
            found[group, name] = flatten_settings(compose_file(group, name))
    return found


def typed_settings(raw: Any, schema: type[T]) -> T:
    """Return the config as its dataclass. Raises BadInput if a value is missing."""
    if missing := sorted(OmegaConf.missing_keys(raw)):
        raise BadInput(f"{missing[0]} is missing: give {' and '.join(f'{key}=...' for key in missing)}")
    config = OmegaConf.to_object(raw)
    assert isinstance(config, schema)
    return config


def hydra_message(error: Exception) -> str:
    """Return Hydra's message in one line; for an unknown key, with the keys that exist."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} does not read as KEY=VALUE"
    text = str(error).partition("Config search path:")[0].partition("\nSee https:")[0]
    if missing := MISSING_FILE.search(text):
        text = f"{text.rstrip()}{suggestion(missing['name'], conf_names(missing['group']))}"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        names = sorted(map(str, cause.parent_node))
        keys = ", ".join(names) or "the keys, since there are none"
        text = f"{text.partition(chr(10))[0]} {cause.key!r} is none of {keys}{suggestion(str(cause.key), names)}"
    elif cause is not None and cause is not error:
        text += f": {str(cause).partition(chr(10))[0]}"
    head, *listed = (line.strip() for line in text.splitlines() if line.strip())
    return f"{head}. {' '.join(listed[:1])} {', '.join(listed[1:])}".strip() if listed else head


def instantiate_target(node: Any, key: str) -> Any:
    """Return the object that a config names as `_target_`. Raises BadInput if its values are refused."""
    try:
        return instantiate(node, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from error
        if unknown := UNKNOWN_ARGUMENT.search(str(error.__cause__)):
            keys = sorted(set(node) - {"_target_", unknown[1]})
            raise BadInput(f"{key} has no key {unknown[1]!r}; it has {', '.join(keys)}") from error
        raise BadInput(f"{key}: {str(error.__cause__ or error).partition(chr(10))[0]}") from error


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, keys of `before` first."""
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dictionary with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flatten_settings(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
