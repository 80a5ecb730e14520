"""Claims about the tree: who imports whom, what an import costs, and that names agree across files."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sprint_sgl", "programs", "curation", "training")
SOURCES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MAY_IMPORT_SGLANG = (
    "sprint_sgl/runtime/frontend.py",
    "sprint_sgl/runtime/plugins/register.py",
    "sprint_sgl/runtime/plugins/cpu_attention.py",
    "sprint_sgl/runtime/plugins/cpu_models/",
)


# The floors of the library, lowest first: a package imports those before it, and nothing of those after it.
FLOORS = (
    *(
        "errors",
        "validation",
        "threads",
        "trajectory",
        "training_rows",
        "storage",
        "console",
        "progress",
        "config_reference",
        "config_help",
        "config",
        "protocol",
        "grading",
        "tasks",
        "view",
    ),
    *("tools", "runtime", "lang", "bench", "serving", "capacity", "cli"),
)


def tree_of(source: Path) -> ast.Module:
    return ast.parse((ROOT / source).read_text(), str(source))


def imported(source: Path) -> set[str]:
    """The top-level packages that a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(source.parts[0] if node.level else (node.module or "").partition(".")[0])
    return names


def config_names(source: Path) -> Iterator[str]:
    """The names of primary configs in calls of `entry_point`."""
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "entry_point":
            yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_packages_import_only_themselves_and_sprint_sgl(source: Path) -> None:
    assert imported(source) & set(PACKAGES) <= {source.parts[0], "sprint_sgl"}


def library_imports(source: Path) -> set[str]:
    """The files and folders of sprint_sgl that a file imports, by their names there."""
    names: set[str] = set()
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "sprint_sgl":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sprint_sgl."):
            names.add((node.module or "").split(".")[1])
    return names


def test_every_file_of_the_library_is_on_a_floor() -> None:
    assert {path.stem for path in (ROOT / "sprint_sgl").glob("[a-z]*")} - {"conf", "models"} == set(FLOORS)


def test_the_architecture_lists_the_floors_in_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = page.partition("```text\n")[2].partition("```")[0]
    assert tuple(block.split()) == FLOORS


def test_a_class_name_stands_once() -> None:
    names = Counter(
        node.name for source in SOURCES for node in ast.walk(tree_of(source)) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_tags_are_written_by_the_protocol_alone() -> None:
    tag = re.compile(r"</?(?:Plan|prompt|[Ee]xecution|Final_answer)[_>]")
    outside = [source for source in SOURCES if source.parts[:2] != ("sprint_sgl", "protocol")]
    found = {source.as_posix() for source in outside for text in _texts(tree_of(source)) if tag.search(text)}
    assert found == set()


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the string literals of a module, without docstrings."""
    bodies = (node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
    documentation = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("source", [s for s in SOURCES if s.parts[0] == "sprint_sgl" and len(s.parts) > 1], ids=str)
def test_the_library_imports_downwards(source: Path) -> None:
    if (own := Path(source.parts[1]).stem) in FLOORS:
        assert library_imports(source) - {own} <= set(FLOORS[: FLOORS.index(own)])


@pytest.mark.parametrize("source", [s for s in SOURCES if not s.as_posix().startswith(MAY_IMPORT_SGLANG)], ids=str)
def test_sglang_is_imported_only_where_it_runs(source: Path) -> None:
    assert "sglang" not in imported(source)


# Attributes of SGLang's StreamExecutor that are no part of its interface, and our own one.
EXECUTOR_INSIDE = {"text_", "variable_event", "meta_info", "default_sampling_para", "worker", "sid", "call_options"}


@pytest.mark.parametrize("source", [s for s in SOURCES if s.name != "executor.py"], ids=str)
def test_one_file_knows_the_inside_of_sglangs_executor(source: Path) -> None:
    nodes = [node for node in ast.walk(tree_of(source)) if isinstance(node, ast.Attribute)]
    of_executors = [n for n in nodes if ast.unparse(n.value).rpartition(".")[2] in ("s", "executor", "stream_executor")]
    assert not {node.attr for node in of_executors} & EXECUTOR_INSIDE


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_a_test_file_imports_no_other(test: Path) -> None:
    nodes = [node for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not {(node.module or "").rpartition(".")[2] for node in nodes} & {path.stem for path in TESTS}


def test_every_primary_config_belongs_to_an_entry_point_and_every_entry_point_has_one() -> None:
    primary = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    measuring = [path.relative_to(ROOT) for path in (ROOT / "benchmarks").glob("*.py")]
    assert {name for source in (*SOURCES, *measuring) for name in config_names(source)} == primary


def test_the_version_is_the_newest_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
