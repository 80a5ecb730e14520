"""The wheel, installed into an environment of its own and used from an empty folder, without the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest

from tests.fakes.commands import served

pytestmark = pytest.mark.runtime
ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its `sprint-sgl`; what it depends on is taken from the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    for words in (
        ["build", "--quiet", "--out-dir", str(folder), str(ROOT)],  # the wheel from the source distribution
        ["venv", "--quiet", "--python", sys.executable, str(environment)],
    ):
        subprocess.run([UV, *words], check=True)
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)], check=True)
    where = "import sprint_sgl; print(sprint_sgl.__file__)"
    imported = subprocess.run([python, "-c", where], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert str(environment) in imported
    return str(python.with_name("sprint-sgl"))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(command: str, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([command, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_an_installed_wheel_says_its_version_and_what_can_be_named(command: str, empty: Path) -> None:
    assert ran(command, "--version").stdout.startswith("sprint-sgl ")
    named = ran(command, "list").stdout
    for name in (
        "cpu",
        "a100",
        "countdown-mini-sprint",
        "sprint_barrier",
        "math500",
        "paper",
        "openai",
        "self_training",
    ):
        assert f"  {name} " in named
    assert ran(command, "list", "recipe").stdout.split()[0] == "recipe"


def test_an_installed_wheel_solves_a_question_with_the_models_in_it(command: str, empty: Path) -> None:
    done = ran(command, "solve", "--json", "--temperature", "0", "Use 80, 42 and 46 to make 84")
    assert json.loads(done.stdout)["stages"]


def test_an_installed_wheel_serves(command: str, empty: Path) -> None:
    asked = {"messages": [{"role": "user", "content": "Use 80, 42 and 46 to make 84"}], "temperature": 0}
    with served(command=[command]) as (_, address):
        answer = httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=300)
    assert answer.status_code == 200
    assert answer.json()["sprint"]["stages"] >= 1


def test_an_installed_wheel_benchmarks_curates_and_composes_a_training(command: str, empty: Path) -> None:
    ran(command, "bench", "task=countdown", "task.problems=1", "task.numbers=[3]", "temperature=0", "out=bench")
    assert len((empty / "bench" / "records.jsonl").read_text().splitlines()) == 1
    ran(command, "curate", f"source.path={ROOT / 'examples' / 'traces.jsonl'}", "out=rows")
    assert (empty / "rows" / "README.md").is_file()
    words = ["model=countdown-mini-sprint", "recipe=countdown_mini", "dataset=rows/sprint", "out=run", "dry_run=true"]
    assert "swift" in ran(command, "train", *words).stdout
