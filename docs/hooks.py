"""Pages of the site that are made from the repository when it is built: configuration, Python API, contributing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from generate_configuration import ROOT, configuration_page, module_name

API = {
    "sprint_sgl": "The library: protocol, runtime, what a program is made of, grading, tasks, benchmarks, serving.",
    "programs": "SGLang programs, one method a file.",
    "curation": "From reasoning traces to training rows.",
    "training": "Fine-tuning through ms-swift.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, text in generated_pages():
        files.append(File.generated(config, uri, content=text))
    return files


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield each page's place and its Markdown."""
    yield "configuration.md", configuration_page()
    yield "contributing.md", (ROOT / "CONTRIBUTING.md").read_text().replace("](docs/", "](")
    packages = [f"- [`{name}`]({name}.md): {what}" for name, what in API.items()]
    yield "api/index.md", "# Python API\n\nGenerated from docstrings.\n\n" + "\n".join(packages) + "\n"
    for name in API:
        yield f"api/{name}.md", api_page(name)


def api_page(package: str) -> str:
    """Return a page that has mkdocstrings write out every module of a package."""
    modules = [module_name(path) for path in sorted((ROOT / package).rglob("*.py"))]
    return f"# `{package}`\n\n" + "\n".join(f"::: {name}\n" for name in modules)
