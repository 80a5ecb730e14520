"""Pages of the site that are made from the repository when it is built: configuration, Python API, contributing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from generate_configuration import ROOT, configuration_page, module_name

PACKAGES = {
    "sprint_sgl": "The library.",
    "programs": "SGLang programs, one method a file.",
    "curation": "From reasoning traces to training rows.",
    "training": "Fine-tuning through ms-swift.",
}
LEFT_OUT = "sprint_sgl.cli"  # `sprint-sgl --help` says it; its docstrings have a terminal's markup
TOP = "sprint_sgl"  # a package that is large enough for a page for each of its sub-packages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each package under the heading `Python API`."""
    pages = ["api/index.md", *({name: f"api/{name}.md"} for name in api_pages())]
    replace(config.nav or [], "Python API", pages)
    return config


def replace(nav: list[Any], title: str, pages: list[Any]) -> None:
    """Give the entry of that title these pages, wherever it stands."""
    for entry in nav:
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if name == title:
                entry[name] = pages
            elif isinstance(value, list):
                replace(value, title, pages)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, text in generated_pages():
        files.append(File.generated(config, uri, content=text))
    return files


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield each page's place and its Markdown."""
    yield "configuration.md", configuration_page()
    yield "contributing.md", (ROOT / "CONTRIBUTING.md").read_text().replace("](docs/", "](")
    listed = [f"- [`{name}`]({name}.md): {PACKAGES.get(name) or lead(name)}" for name in api_pages()]
    yield "api/index.md", "# Python API\n\nGenerated from docstrings.\n\n" + "\n".join(listed) + "\n"
    for name, modules in api_pages().items():
        yield f"api/{name}.md", f"# `{name}`\n\n" + "\n".join(f"::: {module}\n" for module in modules)


def api_pages() -> dict[str, list[str]]:
    """Return the modules that each page writes out."""
    pages: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = module_name(path)
            if (path.parent / "__init__.py").is_file() and not name.startswith(LEFT_OUT):
                inner = package == TOP and len(path.relative_to(ROOT).parts) > 2
                pages.setdefault(".".join(name.split(".")[: 1 + inner]), []).append(name)
    return pages


def lead(package: str) -> str:
    """Return the first line of a package's docstring."""
    source = (ROOT / package.replace(".", "/") / "__init__.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
