"""Write the configuration reference: every key of every command, from the dataclasses and files that define them.

    python docs/generate_configuration.py > configuration.md

Only syntax trees are read, so that no package of the project has to be installed. A command is a call of
`entry_point(NAME, Class)`; NAME is a file of conf/, Class the dataclass that checks the values.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("sprint_sgl", "curation", "training", "benchmarks")
COMMANDS = {
    "bench": "sprint-sgl bench",
    "train": "sprint-sgl train",
    "cost": "sprint-sgl train cost",
    "curate": "sprint-sgl curate",
    "fleet": "sprint-sgl fleet",
    "experiment": "sprint-sgl experiment",
}
HEADER = """# Configuration

Commands that run experiments take [Hydra](https://hydra.cc) overrides: `key=value`, `group=name` for a file of
`conf/GROUP/`, `--multirun` for sweeps. `COMMAND --help` prints the composed values and `sprint-sgl list` the names.
This page is generated from the dataclasses that check the values, and from the files in `conf/`.
"""
_MEANING = re.compile(r"^(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*) {2,}(?P<text>\S.*)$")


@dataclass(frozen=True)
class Key:
    """A configuration key: its dotted name, type, default and meaning."""

    name: str
    type: str
    default: str
    meaning: str


class Sources:
    """The modules of the packages, parsed once."""

    def __init__(self) -> None:
        files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
        self.texts = {module_name(path): path.read_text() for path in files}
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}

    def entry_points(self) -> dict[str, tuple[str, ast.ClassDef]]:
        """Return for each config NAME the module of its command and its dataclass; the first command of a name wins."""
        found: dict[str, tuple[str, ast.ClassDef]] = {}
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Call)
                    and is_call_of(node, "entry_point")
                    and isinstance(node.args[1], ast.Name)
                ):
                    schema = self.resolve(module, node.args[1].id)
                    owner = self.owner(module, node.args[1].id)
                    name = ast.literal_eval(node.args[0])
                    if schema and (name not in found or owner == module):
                        found[name] = (owner, schema)
        return found

    def owner(self, module: str, name: str) -> str:
        """Return the module in which a class that `module` uses is defined."""
        for node in ast.walk(self.trees.get(module, ast.Module([], []))):
            if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
                return self.owner(node.module, name)
        return module

    def resolve(self, module: str, name: str) -> ast.ClassDef | None:
        """Return the definition of a class that `module` uses, from there or from where it is imported."""
        tree = self.trees.get(self.owner(module, name), ast.Module([], []))
        return next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name), None)

    def keys(self, module: str, schema: ast.ClassDef, prefix: str = "") -> Iterator[Key]:
        """Yield the keys of a dataclass, those of nested dataclasses with dotted names."""
        meanings = field_meanings(ast.get_docstring(schema) or "")
        for node in schema.body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            name, kind = node.target.id, ast.unparse(node.annotation)
            nested = self.resolve(module, kind)
            meaning = meanings.get(name) or self.comment(module, node)
            if nested and is_dataclass(nested):
                yield Key(prefix + name, kind, "", meaning or lead_of(nested))
                yield from self.keys(self.owner(module, kind), nested, f"{prefix}{name}.")
            else:
                yield Key(prefix + name, kind, default_of(node.value), meaning)

    def comment(self, module: str, node: ast.stmt) -> str:
        """Return the comment at the end of a field's line."""
        line = self.texts[module].splitlines()[(node.end_lineno or node.lineno) - 1]
        return line[node.end_col_offset :].strip().lstrip("# ")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def field_meanings(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each field, from lines `name   meaning` and their continuations."""
    meanings: dict[str, str] = {}
    current: tuple[str, ...] = ()
    for line in docstring.splitlines():
        if found := _MEANING.match(line):
            current = tuple(found["names"].split(", "))
            meanings |= dict.fromkeys(current, found["text"])
        elif current and line.startswith("  "):
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in current}
        else:
            current = ()
    return meanings


def default_of(value: ast.expr | None) -> str:
    """Return a field's default as a person writes the value in an override."""
    if value is None or (isinstance(value, ast.Name) and value.id == "MISSING"):
        return "required"
    if is_call_of(value, "field"):
        assert isinstance(value, ast.Call)
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        factory = given.get("default_factory", given.get("default"))
        text = ast.unparse(factory.body if isinstance(factory, ast.Lambda) else factory) if factory else ""
        return f"`{ {'list': '[]', 'dict': '{}'}.get(text, text) }`"
    text = ast.unparse(value)
    return "`null`" if text == "None" else f"`{text}`"


def lead_of(schema: ast.ClassDef) -> str:
    """Return a docstring's first paragraph."""
    return " ".join((ast.get_docstring(schema) or "").partition("\n\n")[0].split())


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def comment_of(path: Path) -> str:
    """Return the comment that a YAML file begins with."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(line for line in lines if not line.startswith("@package"))


def key_comments(path: Path) -> dict[str, str]:
    """Return the comments behind the top-level keys of a YAML file."""
    found = re.findall(r"^(\w+):[^#\n]*[^#\n\w]# *(.+)$", path.read_text(), re.MULTILINE)
    return dict(found)


def command_section(sources: Sources, name: str, module: str, schema: ast.ClassDef) -> Iterator[str]:
    command = COMMANDS.get(name, f"python -m {module}")
    yield f"## `{command}`\n"
    yield f"{lead_of(schema)} File `conf/{name}.yaml`, checked by `{module}`.\n".lstrip()
    comments = key_comments(ROOT / "conf" / f"{name}.yaml")
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for key in sources.keys(module, schema):
        meaning = cell(key.meaning or comments.get(key.name, ""))
        yield f"| `{key.name}` | `{cell(key.type)}` | {cell(key.default)} | {meaning} |"
    yield ""


def group_section(folder: Path) -> Iterator[str]:
    yield f"### {folder.name}\n\n| name | what |\n|---|---|"
    for path in sorted(folder.glob("*.yaml")):
        yield f"| `{path.stem}` | {cell(comment_of(path))} |"
    yield ""
    for path in sorted(folder.glob("*.yaml")):
        yield f'??? note "conf/{folder.name}/{path.name}"\n\n    ```yaml'
        yield from (f"    {line}".rstrip() for line in path.read_text().splitlines())
        yield "    ```\n"


def configuration_page() -> str:
    """Return the page as Markdown."""
    sources = Sources()
    points = sources.entry_points()
    lines = [HEADER]
    for name in [*COMMANDS, *sorted(points.keys() - COMMANDS)]:
        lines += command_section(sources, name, *points[name])
    lines.append("## Groups\n")
    lines.append("A group is a folder of `conf/`, a name in it a file: `recipe=paper` is `conf/recipe/paper.yaml`.\n")
    for folder in sorted(path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        lines += group_section(folder)
    return "\n".join(lines)


if __name__ == "__main__":
    print(configuration_page())
