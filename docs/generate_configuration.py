"""Write the configuration reference: every key of every command, from the dataclasses and files that define them.

    python docs/generate_configuration.py > configuration.md

A command is a call of `entry_point(NAME, Class)`; NAME is a file of conf/, Class the dataclass that checks the values.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from sprint_sgl.config_reference import (
    GROUPS,
    REQUIRED,
    ROOT,
    command_groups,
    command_keys,
    is_call_of,
    lead_of,
    opening_comment,
    owner,
    resolve,
    syntax,
)

PACKAGES = ("sprint_sgl", "curation", "training", "benchmarks")
COMMANDS = {
    "bench": "sprint-sgl bench",
    "train": "sprint-sgl train",
    "cost": "sprint-sgl train cost",
    "rl": "sprint-sgl rl",
    "rl_cost": "sprint-sgl rl cost",
    "curate": "sprint-sgl curate",
    "fleet": "sprint-sgl fleet",
    "experiment": "sprint-sgl experiment",
}
HEADER = """# Configuration

Commands that run experiments take [Hydra](https://hydra.cc) overrides: `key=value`, `group=name` for a file of
`conf/GROUP/`, `--multirun` for sweeps. `COMMAND --help` lists groups and keys,
`--cfg job` prints the composed values, and `sprint-sgl list` the names.
This page is generated from the dataclasses that check the values, and from the files in `conf/`.
"""


def entry_points() -> dict[str, tuple[str, str]]:
    """Return for each config NAME its command's module and dataclass; the command in the dataclass's module wins."""
    found: dict[str, tuple[str, str]] = {}
    modules = [module_name(path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    for module in modules:
        for node in ast.walk(syntax(module)):
            if isinstance(node, ast.Call) and is_call_of(node, "entry_point") and isinstance(node.args[1], ast.Name):
                name, schema = ast.literal_eval(node.args[0]), node.args[1].id
                defined_in = owner(module, schema)
                if resolve(module, schema) and (name not in found or defined_in == module):
                    found[name] = (defined_in, schema)
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def command_section(name: str, module: str, schema: str) -> Iterator[str]:
    command, node = COMMANDS.get(name, f"python -m {module}"), resolve(module, schema)
    assert node
    yield f"## `{command}`\n"
    yield f"{lead_of(node)} File `conf/{name}.yaml`, checked by `{module}`.\n".lstrip()
    for group in command_groups(name):
        default = {"???": "must be given", "null": "none by default"}.get(
            group.default, f"by default `{group.default}`"
        )
        yield f"- `{group.name}=NAME` takes a file of [`conf/{group.name}/`](#{group.name}), {default}."
    yield "\n| key | type | default | meaning |\n|---|---|---|---|"
    groups = {group.name for group in command_groups(name)}
    for key in command_keys(name, module, schema):
        if key.name in groups:
            continue
        default = f"`{key.default}`" if key.default not in ("", REQUIRED) else key.default
        yield f"| `{key.name}` | `{cell(key.type)}` | {cell(default)} | {cell(key.meaning)} |"
    yield ""


def group_section(folder: Path) -> Iterator[str]:
    meaning = GROUPS[folder.name]
    yield f"### {folder.name}\n\n{meaning[0].upper()}{meaning[1:]}.\n\n| name | what |\n|---|---|"
    for path in sorted(folder.glob("*.yaml")):
        yield f"| `{path.stem}` | {cell(opening_comment(path))} |"
    yield ""
    for path in sorted(folder.glob("*.yaml")):
        yield f'??? note "conf/{folder.name}/{path.name}"\n\n    ```yaml'
        yield from (f"    {line}".rstrip() for line in path.read_text().splitlines())
        yield "    ```\n"


def configuration_page() -> str:
    """Return the page as Markdown."""
    points = entry_points()
    lines = [HEADER]
    for name in [*COMMANDS, *sorted(points.keys() - COMMANDS)]:
        lines += command_section(name, *points[name])
    lines.append("## Groups\n")
    lines.append("A group is a folder of `conf/`, a name in it a file: `recipe=paper` is `conf/recipe/paper.yaml`.\n")
    for folder in sorted(path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        lines += group_section(folder)
    return "\n".join(lines)


if __name__ == "__main__":
    print(configuration_page())
