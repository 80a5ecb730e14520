"""`COMMAND --help` for commands that take Hydra overrides: examples, groups and keys of that command."""

from __future__ import annotations

import ast

import yaml
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sprint_sgl.config_reference import REQUIRED, command_groups, command_keys, lead_of, resolve
from sprint_sgl.storage.package_files import CONF

HYDRA = "--multirun KEY=A,B runs every combination, --cfg job prints the composed values, --hydra-help lists the rest."


def help_page(command: str, module: str, class_name: str) -> Group:
    """Return the help of the command with the file conf/COMMAND.yaml, whose dataclass `module` uses."""
    header = str(yaml.safe_load((CONF / f"{command}.yaml").read_text())["hydra"]["help"]["header"]).strip()
    schema = resolve(module, class_name)
    lead = lead_of(schema) if schema else ""
    parts: list[Text | Table] = [Text(f"{lead}\n\n{header}\n".lstrip())]
    groups = command_groups(command)
    if groups:
        table = _table()
        for group in groups:
            default = "" if group.default in ("???", "null") else f"  (default {group.default})"
            table.add_row(f"{group.name}=", Text(", ".join(group.names) + default))
        parts += [Text("Groups, each a folder of conf/", style="bold"), table, Text()]
    table, named = _table(), {group.name for group in groups}
    for key in command_keys(command, module, class_name):
        if key.name not in named:
            table.add_row(key.name, Text.assemble(key.meaning, (shown_default(key.default), "dim")))
    return Group(*parts, Text("Keys, as KEY=VALUE, with their defaults", style="bold"), table, Text(), Text(HYDRA))


def shown_default(default: str) -> str:
    """Return a default as it is given on the command line, in brackets; "" for an empty value or an expression."""
    if default == "???":
        return f"  [{REQUIRED}]"
    if default in ("", REQUIRED, "null"):
        return f"  [{default}]" if default else ""
    try:
        value = ast.literal_eval(default)
        return "" if value in ("", [], {}) else f"  [{value}]"
    except ValueError:
        return ""


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_help(command: str, module: str, class_name: str, console: Console) -> None:
    console.print(help_page(command, module, class_name), highlight=False)
