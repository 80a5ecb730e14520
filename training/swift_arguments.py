"""The names of ms-swift's training arguments, read from its sources: importing them takes half a minute."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Of each package: where the dataclasses of arguments are.
SOURCES = {"swift": ("arguments/**/*.py", "**/*arg*.py"), "transformers": ("training_args*.py",)}


@cache
def argument_names() -> frozenset[str]:
    """Return every name that may be an argument of `swift sft`, and some others; none without ms-swift."""
    if find_spec("swift") is None:
        return frozenset()
    return frozenset(name for path in _source_files() for name in _annotated_names(path))


def _source_files() -> list[Path]:
    found = []
    for package, patterns in SOURCES.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [path for pattern in patterns for path in sorted(Path(spec.origin).parent.glob(pattern))]
    return found


def _annotated_names(path: Path) -> set[str]:
    """Return the names that classes of a file declare with a type, as dataclasses do."""
    classes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))
    fields = (line.target for node in classes for line in node.body if isinstance(line, ast.AnnAssign))
    return {target.id for target in fields if isinstance(target, ast.Name)}
