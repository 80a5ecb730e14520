"""The script that says where a Countdown bench goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.countdown_errors import cause_of_error, compare_attempts
from curation.countdown.traces import attempts_of_round
from sprint_sgl.bench.records import Record
from sprint_sgl.tasks.countdown.problem import Problem
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

PROBLEM = Problem((15, 3, 62), 80)
HITS = [each for each in attempts_of_round(PROBLEM, 1) if each.chain]
MISSES = [each for each in attempts_of_round(PROBLEM, 1) if not each.chain]


def wrong_run(*attempts: tuple[str, str]) -> Record:
    """A record of a wrong answer after attempts, each a prompt and a text."""
    prompts, executions = zip(*((Prompt(prompt), Execution(text)) for prompt, text in attempts), strict=True)
    run = Trajectory(PROBLEM.question, (Stage(prompts, executions),), "1")
    return Record("sprint", "1", 0, "3 numbers", PROBLEM.question, "80", "1", False, "", "", run)


def test_attempts_are_compared_with_those_of_the_search() -> None:
    hit, miss = HITS[0], MISSES[0]
    run = wrong_run((hit.prompt, hit.text), (miss.prompt, miss.text + "?"), ("Sing", "la"))
    assert [(each.round, each.exact, each.claims_hit) for each in compare_attempts(run, PROBLEM)] == [
        (1, True, True),
        (1, False, False),
    ]


@pytest.mark.parametrize(
    ("attempt", "cause"),
    [
        ((HITS[0].prompt, HITS[0].text), "a hit is written exactly, and its check or the answer goes wrong"),
        ((HITS[0].prompt, "No way."), "every hit is written with an error"),
        ((MISSES[0].prompt, "So 1+79=80."), "a hit is claimed that is none"),
        ((MISSES[0].prompt, MISSES[0].text), "no attempt that hits was planned"),
    ],
)
def test_a_wrong_run_has_a_cause(attempt: tuple[str, str], cause: str) -> None:
    assert cause_of_error(wrong_run(attempt), PROBLEM) == cause


def test_what_the_search_does_not_solve_is_told_apart() -> None:
    unsolved = Problem((1, 1, 1), 77)
    run = replace(wrong_run((MISSES[0].prompt, "")), question=unsolved.question)
    assert cause_of_error(run, unsolved) == "the search does not solve it either"
