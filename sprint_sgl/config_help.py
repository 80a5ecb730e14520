"""`COMMAND --help` for commands that take Hydra overrides: examples, groups and keys of that command."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import yaml
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sprint_sgl.config_reference import (
    REQUIRED,
    command_groups,
    command_keys,
    field_meanings,
    key_comments,
    lead_of,
    resolve,
)
from sprint_sgl.storage.package_files import CONF

HYDRA = "--multirun KEY=A,B runs every combination, --cfg job prints the composed values, --hydra-help lists the rest."
MORE = "GROUP=NAME beside --help shows the keys of that file too."
FileValues = Mapping[tuple[str, str], Mapping[str, object]]  # of conf/GROUP/NAME.yaml, with dotted keys


def help_page(command: str, module: str, class_name: str, chosen: FileValues) -> Group:
    """Return the help of the command with the file conf/COMMAND.yaml, whose dataclass `module` uses, and the keys of
    the chosen files."""
    header = str(yaml.safe_load((CONF / f"{command}.yaml").read_text())["hydra"]["help"]["header"]).strip()
    schema = resolve(module, class_name)
    lead = lead_of(schema) if schema else ""
    parts: list[Text | Table] = [Text(f"{lead}\n\n{header}\n".lstrip())]
    groups = command_groups(command)
    if groups:
        table = _table()
        for group in groups:
            default = () if group.default in ("???", "null") else ((f"  [{group.default}]", "dim"),)
            table.add_row(f"{group.name}=", Text.assemble(f"{group.meaning}:\n{', '.join(group.names)}", *default))
        parts += [Text("Groups, each a folder of conf/", style="bold"), table, Text(MORE), Text()]
    table, named = _table(), {group.name for group in groups}
    for key in command_keys(command, module, class_name):
        if key.name not in named:
            table.add_row(key.name, Text.assemble(key.meaning, (shown_default(key.default), "dim")))
    parts += [Text("Keys, as KEY=VALUE, with their defaults", style="bold"), table, Text()]
    for (folder, name), values in chosen.items():
        table = _table()
        for label, meaning, value in file_keys(folder, name, values):
            table.add_row(label, Text.assemble(meaning, (shown_value(value), "dim")))
        parts += [Text(f"Keys of {folder}={name}", style="bold"), table, Text()]
    return Group(*parts, Text(HYDRA))


def file_keys(group: str, name: str, values: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    """Yield the keys of conf/GROUP/NAME.yaml, what its class or its comments say of them, and their values."""
    meanings = key_comments(CONF / group / f"{name}.yaml")
    module, _, target = str(values.get("_target_", "")).rpartition(".")
    if target and (schema := resolve(module, target)):
        meanings = field_meanings(ast.get_docstring(schema) or "") | meanings
    for key, value in values.items():
        if not key.endswith("_target_"):
            yield f"{group}.{key}", meanings.get(key, ""), value


def shown_default(default: str) -> str:
    """Return a default as it is given on the command line, in brackets; "" for an empty value or an expression."""
    if default == "???":
        return f"  [{REQUIRED}]"
    if default in ("", REQUIRED, "null"):
        return f"  [{default}]" if default else ""
    try:
        return shown_value(ast.literal_eval(default))
    except ValueError:
        return ""


def shown_value(value: object) -> str:
    if value in ("", [], {}):
        return ""
    return f"  [{'null' if value is None else value}]"


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_help(command: str, module: str, class_name: str, console: Console, chosen: FileValues) -> None:
    console.print(help_page(command, module, class_name, chosen), highlight=False)
