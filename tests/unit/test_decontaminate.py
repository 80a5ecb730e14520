"""No question of a benchmark is trained on, however it is set in type, and no other question is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.records import RawTrace, Rejection
from curation.stages.decontaminate import collect_grams
from curation.stages.verify import Verify

TRAINS = "Two trains leave a station at the same time, one of them at 60 miles an hour and one at 45."
TRACE = RawTrace("t", 0, "What is 2 + 2?", "2 + 2 = 4", "\\boxed{4}", "4", "traces")
WORDS = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=10, max_size=30)


@pytest.mark.parametrize(
    "question",
    [
        TRAINS,
        TRAINS.upper().replace(",", " ;\n"),
        f"A riddle. {TRAINS} How far apart are they after two hours?",
        "Two trains leave a station at the same time, one of them in the rain.",
    ],
)
def test_a_question_that_shares_ten_words_in_a_row_is_found(question: str) -> None:
    assert collect_grams([TRAINS]).find_in(question)


@pytest.mark.parametrize(
    ("benchmark", "question"),
    [
        (TRAINS, "Two ships leave a port at the same time, one of them under sail."),
        ("What is 2 + 2?", "What is 2 - 2?"),
        ("What is 2 + 2?", "What is 2 + 2 in binary, if you count on the fingers of one hand?"),
        (r"Simplify $\frac{1}{2}$.", r"Simplify $\frac{1}{3}$."),
    ],
)
def test_a_question_of_its_own_is_not(benchmark: str, question: str) -> None:
    assert collect_grams([benchmark]).find_in(question) is None


def test_a_short_question_is_found_when_it_is_the_same_in_other_type() -> None:
    assert collect_grams([r"Simplify $\dfrac{1}{2}$."]).find_in(r"simplify \( \frac{1}{2} \)")


@given(WORDS, WORDS, WORDS)
def test_whatever_stands_around_it_a_benchmarks_question_is_found(
    before: list[str], of: list[str], after: list[str]
) -> None:
    assert collect_grams([" ".join(of)]).find_in(" ".join([*before, *of, *after]))


def test_it_is_dropped_at_the_stage_that_costs_nothing() -> None:
    verify = Verify(benchmarks=collect_grams([TRAINS]))
    outcome = verify(replace(TRACE, question=TRAINS))
    assert isinstance(outcome, Rejection)
    assert (outcome.stage, outcome.reason) == ("verify", "in a benchmark")
    assert verify(TRACE) == TRACE
