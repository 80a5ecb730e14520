"""The documentation names what there is: files, commands, and overrides that compose."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from typer.main import get_command

from sprint_sgl.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs" / "log.md")  # tells of past versions
FOLDERS = "sprint_sgl|programs|curation|training|conf|models|benchmarks|examples|tests|docs"
ENTRY_POINTS = {
    "bench": "sprint_sgl.bench.run",
    "fleet": "sprint_sgl.capacity.plan",
    "train": "training.train",
    "cost": "training.estimate.cost",
    "rl": "training.rl.run",
    "rl_cost": "training.rl.cost",
    "curate": "curation.pipeline",
    "experiment": "sprint_sgl.cli.experiment",
}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `sprint-sgl` command in a page's shell blocks."""
    for block in re.findall(r"```(?:bash|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?sprint-sgl (.*)", line.strip()):
                yield shlex.split(re.split(r" [>|;] ", found[1])[0], comments=True)


def composed(words: list[str]) -> Iterator[str]:
    """Yield the overrides of a command; of a sweep the first job's, without its launcher."""
    for word in words:
        if "=" not in word or word.startswith("hydra"):
            continue
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            word = f"{override.key_or_group}={next(override.sweep_string_iterator())}"
        yield word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(rf"(?<![\w/])(?:{FOLDERS})/[\w./-]*\w(?![\w*])", page.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {words[0] for words in commands(page)} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_override_that_a_page_names_composes(page: Path) -> None:
    for words in commands(page):
        name = {"train cost": "cost", "rl cost": "rl_cost"}.get(" ".join(words[:2]), words[0])
        if name not in ENTRY_POINTS or words[:2] == ["train", "check"] or "--config-dir" in words or "..." in words:
            continue
        importlib.import_module(ENTRY_POINTS[name])  # registers the dataclass
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            assert compose(name, list(composed(words)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_with_a_files_name_has_the_files_text(page: Path) -> None:
    """Sites could include the file; on a code host, where pages are read too, the text has to stand in the page."""
    for name, block in re.findall(r'^```\w+ title="([^"\n]+)"\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL):
        assert block == (ROOT / name).read_text(), f"copy {name} into {page.name} again"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 6 * 1024
