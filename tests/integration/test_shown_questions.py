"""Every Countdown question that a reader is shown, in documents, help, examples and pages, is one that is solved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from programs import sprint_program
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.tasks.countdown.checker import verdict_on

ROOT = Path(__file__).parents[2]
SHOWN = ("README.md", "Makefile", "docs/**/*.md", "examples/*", "models/*/*.md", "models/*/sprint.json")
SHOWN += ("conf/**/*.yaml", "programs/**/*.py", "sprint_sgl/**/*.py", "sprint_sgl/**/*.js")
HISTORY = "log.md"  # what failed is told there, too
QUESTION = re.compile(r"Use \d+(?:, \d+)*,? and \d+ to make \d+")


def shown_questions() -> dict[str, str]:
    """Return each question with a file that shows it."""
    files = [
        path for pattern in SHOWN for path in sorted(ROOT.glob(pattern)) if path.is_file() and path.name != HISTORY
    ]
    return {question: path.name for path in files for question in QUESTION.findall(path.read_text())}


@pytest.mark.runtime
def test_every_question_that_is_shown_is_solved(endpoint: Endpoint) -> None:
    shown = shown_questions()
    assert len(shown) >= 5
    runs = sprint_program.run_batch(list(shown), num_threads=4, backend=endpoint, temperature=0)
    verdicts = {question: verdict_on(question, run["answer"]) for question, run in zip(shown, runs, strict=True)}
    wrong = {question: shown[question] for question, verdict in verdicts.items() if not (verdict and verdict.correct)}
    assert wrong == {}
