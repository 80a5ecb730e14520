"""What the configuration's keys mean, read from the dataclasses that check them and from the files in conf/.

Only syntax trees are read, so that nothing of the project has to be installed. Both `COMMAND --help` and the reference
among the documents are made from this.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sprint_sgl.storage.package_files import CONF, conf_names

ROOT = Path(__file__).parents[1]
REQUIRED = "required"
GROUPS = {  # folders of conf/
    "device": "the GPU or CPU of an estimate",
    "experiment": "commands to run in a row",
    "judge": "a model that grades answers which the rules cannot read",
    "models": "the weights of each program",
    "program": "the method that answers the questions",
    "recipe": "how a model is trained: ms-swift's arguments",
    "reward": "what a rollout earns",
    "runtime": "the SGLang server to start; by default for the GPU if there is one, else for the CPU",
    "source": "where the traces are read from",
    "task": "the questions, and the checker of answers",
    "teacher": "the LLM that annotates traces, or rules",
    "worker": "speed and size of one worker",
}
_MEANING = re.compile(r"^(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*) {2,}(?P<text>\S.*)$")
_GROUP = re.compile(r"^  - (?!override )/?(?P<group>\w+): *(?P<name>[^ #\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """A configuration key: its dotted name, type, default and meaning."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class ConfigGroup:
    """A group of files in conf/ from which a command takes one; `default` is a name, null or ???."""

    name: str
    default: str

    @property
    def meaning(self) -> str:
        return GROUPS[self.name]

    @property
    def names(self) -> list[str]:
        return conf_names(self.name)


def command_groups(command: str) -> list[ConfigGroup]:
    """Return the groups that the defaults list of conf/COMMAND.yaml names."""
    text = (CONF / f"{command}.yaml").read_text()
    return [ConfigGroup(found["group"], found["name"]) for found in _GROUP.finditer(text)]


def command_keys(command: str, module: str, class_name: str) -> Iterator[Key]:
    """Yield the keys of a command whose dataclass `module` uses, with comments from conf/COMMAND.yaml for the rest."""
    schema = resolve(module, class_name)
    assert schema
    comments = key_comments(CONF / f"{command}.yaml")
    for key in dataclass_keys(owner(module, class_name), schema):
        yield key if key.meaning else replace(key, meaning=comments.get(key.name, ""))


@cache
def source(module: str) -> str:
    """Return a module's text; "" for a module of another project."""
    path = ROOT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file.read_text() for file in files if file.is_file()), "")


@cache
def syntax(module: str) -> ast.Module:
    return ast.parse(source(module))


def owner(module: str, name: str) -> str:
    """Return the module in which a class that `module` uses is defined."""
    for node in ast.walk(syntax(module)):
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return owner(node.module, name)
    return module


def resolve(module: str, name: str) -> ast.ClassDef | None:
    """Return the definition of a class that `module` uses, from there or from where it is imported."""
    tree = syntax(owner(module, name))
    return next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name), None)


def dataclass_keys(module: str, schema: ast.ClassDef, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a dataclass, those of nested dataclasses with dotted names."""
    for base in schema.bases:
        if isinstance(base, ast.Name) and (parent := resolve(module, base.id)):
            yield from dataclass_keys(owner(module, base.id), parent, prefix)
    meanings = field_meanings(ast.get_docstring(schema) or "")
    for node in schema.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name, kind = node.target.id, ast.unparse(node.annotation)
        nested = resolve(module, kind)
        meaning = meanings.get(name) or _comment_behind(module, node)
        if nested and is_dataclass(nested):
            yield Key(prefix + name, kind, "", meaning or lead_of(nested))
            yield from dataclass_keys(owner(module, kind), nested, f"{prefix}{name}.")
        else:
            yield Key(prefix + name, kind, default_of(node.value), meaning)


def _comment_behind(module: str, node: ast.stmt) -> str:
    line = source(module).splitlines()[(node.end_lineno or node.lineno) - 1]
    return line[node.end_col_offset :].strip().lstrip("# ")


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
        return REQUIRED
    if is_call_of(value, "field"):
        assert isinstance(value, ast.Call)
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        factory = given.get("default_factory", given.get("default"))
        text = ast.unparse(factory.body if isinstance(factory, ast.Lambda) else factory) if factory else ""
        return {"list": "[]", "dict": "{}"}.get(text, text)
    text = ast.unparse(value)
    return "null" if text == "None" else text


def lead_of(schema: ast.ClassDef) -> str:
    """Return a docstring's first paragraph."""
    return " ".join((ast.get_docstring(schema) or "").partition("\n\n")[0].split())


def opening_comment(path: Path) -> str:
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
