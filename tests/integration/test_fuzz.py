"""A slice of the fuzz (benchmarks/fuzz.py) that is the same every time."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import TARGETS
from benchmarks.fuzzing.cases import Target, draw_case, run_cases

CASES = {"page": 25, "screen": 25, "view FILE": 50}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_odd_cases_do_no_harm(target: Target) -> None:
    found = run_cases(target, 20, range(CASES.get(target.name, 200)))
    assert not found.failures


def test_a_failure_is_named_by_a_number_that_brings_it_back() -> None:
    def check(number: int) -> None:
        if number % 10 == 0:
            raise ValueError("a multiple of ten")

    target = Target("tens", 1.0, lambda rng: rng.randrange(1000), check)
    failures = run_cases(target, 0, range(500)).failures
    assert len(failures) > 10
    assert {failure.message for failure in failures} == {"ValueError: a multiple of ten"}
    assert all(draw_case(target, 0, failure.number) % 10 == 0 for failure in failures)
