"""Traces to curate, and `sprint-sgl curate` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from curation.jsonl import read_jsonl
from tests.fakes.fake_endpoint import FakeEndpoint

ROOT = Path(__file__).parents[2]


ROWS = ("sprint.train.jsonl", "sprint.valid.jsonl", "rft.train.jsonl", "rft.valid.jsonl")


PARAGRAPH = "First, let me compute {n} + {k}.\nThe units add up to {u}.\nThe tens stay as they are.\nSo it is {v}.\n"


def trace(number: int) -> dict[str, Any]:
    """A thought of several paragraphs about a sum; every fifth ends in a wrong answer."""
    moves = [PARAGRAPH.format(n=number, k=k, u=(number + k) % 10, v=number + k) for k in range(1, 8)]
    thought = "Okay, I need to add numbers.\n\n" + "\nAlternatively, another way.\n".join(moves)
    said = number + 7 + (number % 5 == 0)
    return {
        "question": f"What is {number} + 7, worked out in at least a handful of quite different ways by you?",
        "response": f"<think>\n{thought}\n</think>\nThe answer is \\boxed{{{said}}}.",
        "answer": str(number + 7),
    }


def command(source: Path, out: Path, *options: str, endpoint: FakeEndpoint | None = None) -> list[str]:
    words = [f"source.path={source}", f"out={out}", "filter.min_ratio=1", *options]
    if endpoint:
        words += ["teacher=sglang", "models.extract=m", "models.dag=m", f"teacher.base_url={endpoint.url}"]
        words += ["teacher.structured=false", f"teacher.cache={out.parent / 'cache'}", "teacher.max_retries=1"]
    return [sys.executable, "-m", "curation.pipeline", *sorted(words, key=lambda word: not word.startswith("--"))]


def curate(
    source: Path, out: Path, *options: str, endpoint: FakeEndpoint | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    words = command(source, out, *options, endpoint=endpoint)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def ids(path: Path) -> list[str]:
    return [record["id"] for record in read_jsonl(path)]


def fates(out: Path) -> list[str]:
    """The ids of all kept traces and of all rejections, each as often as it stands there."""
    rejected = [id for path in sorted((out / "rejected").glob("*.jsonl")) for id in ids(path)]
    return sorted(ids(out / "filter.jsonl") + rejected)
