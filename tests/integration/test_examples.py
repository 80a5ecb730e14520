"""The examples: programs and tasks against a scripted model, every script against a real runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.own_program import first_right_program
from examples.own_task import Sums
from tests.fakes.commands import served
from tests.fakes.scripted import ScriptedBackend

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "Use 80, 42 and 46 to make 84"


def test_the_program_answers_with_the_first_right_thought() -> None:
    backend = ScriptedBackend(lambda context: r"so</think> \boxed{80-42+46}")
    run = first_right_program.run(QUESTION, samples=3, backend=backend)
    assert run["answer"] == "80-42+46"
    assert len(run.trajectory.calls) == 3


def test_the_task_takes_its_own_solutions_and_no_others() -> None:
    task = Sums(problems=2)
    for question in task.questions():
        assert task.grade(question, question.gold).correct
        assert not task.grade(question, "1+1").correct


def test_each_script_is_short() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 5
    assert all(len(path.read_text().splitlines()) <= 40 for path in scripts)


def test_the_notebook_is_valid_and_runs_line_by_line_as_python() -> None:
    cells = json.loads((EXAMPLES / "sprint.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code
    for source in code:
        compile(source, "sprint.ipynb", "exec")


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("ask.py", "sequential of"),
        ("batch.py", "Use 5, 20 and 4 to make 80: "),
        ("own_program.py", "sequential tokens"),
        ("own_task.py", "Use 12, 13 and 14 to make 39: "),
    ],
)
def test_a_script_runs_against_a_runtime(script: str, last: str, url: str) -> None:
    assert last in run_script(script, url).splitlines()[-1]


@pytest.mark.runtime
def test_the_client_shows_every_branch(url: str) -> None:
    with served("--url", url, "--name", "countdown-mini") as (_, address):
        printed = run_script("openai_client.py", address)
    assert "answer: " in printed
    assert "planner 1.0: " in printed
    assert "executor 1.1: " in printed


def run_script(name: str, *arguments: str) -> str:
    """Return what a script prints. Fails where the script does."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=EXAMPLES.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
