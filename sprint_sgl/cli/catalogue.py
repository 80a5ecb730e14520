"""The names that the command line accepts: the files of conf/ by group, and the shipped models."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from sprint_sgl.config_reference import opening_comment
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.package_files import CONF, MODELS, conf_names, model_names

# Folders of conf/ that users choose from, and the options that take their names.
GROUPS = {
    "runtime": "--runtime NAME, runtime=NAME",
    "models": "--model NAME (serve), model=NAME (bench)",
    "program": "program=NAME, against=[NAME,...]",
    "task": "task=NAME",
    "recipe": "recipe=NAME",
    "teacher": "teacher=NAME",
    "source": "source=NAME",
    "judge": "judge=NAME",
    "experiment": "experiment=NAME",
    "device": "device=NAME",
    "worker": "worker=NAME",
}
SHIPPED = "shipped"


def first_sentence(file: Path) -> str:
    """Return the first sentence of a YAML file's opening comment; empty if there is none."""
    sentence, stop, _ = opening_comment(file).partition(". ")
    return sentence + stop.strip()


def names_table(group: str | None) -> Table:
    """Return a table of the names in one group, or in all groups. Raises BadInput for an unknown group."""
    groups = (*GROUPS, SHIPPED)
    if group is not None and group not in groups:
        raise BadInput(f"unknown group {group!r}; known: {', '.join(groups)}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, given in {**GROUPS, SHIPPED: "--model NAME, model=NAME"}.items():
        if group in (None, name):
            table.add_row(name, Text(given, style="dim"))
            for entry, what in _entries(name):
                table.add_row(f"  {entry}", Text(what))
    return table


def _entries(group: str) -> list[tuple[str, str]]:
    if group == SHIPPED:
        return [(name, str(MODELS / name)) for name in model_names()]
    return [(name, first_sentence(CONF / group / f"{name}.yaml")) for name in conf_names(group)]
