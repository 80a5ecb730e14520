"""Results: which value is one, and which step uses the result of which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.annotate.results import LaterResult, add_result_parents, find_later_results
from curation.records import LinkedTrace, PackedTrace, Rejection
from curation.report.shapes import shape_statistics
from curation.stages.filter import Filter, Thresholds
from curation.stages.pack import pack_record
from curation.trace import Step, Trace

QUESTION = "A rectangle is 17 cm wide and 23 cm long. What is its area?"
FOUND = Step("Multiply the sides.", "Multiply.", "Rows and columns.\n17 * 23 = 391.\nSo the area is 391.", parents=())


def step(plan: str = "Go on.", execution: str = "a\nb\nc", *parents: int) -> Step:
    return Step(plan, "Do as planned.", execution, parents=parents)


@pytest.mark.parametrize(
    ("user", "values"),
    [
        (step("So the area is 391?"), ["391"]),
        (step("Check that 17 * 23 = 391."), ["391"]),
        (step(execution="We know that 391 is it.\nb\nc"), ["391"]),
        (step(execution="340 + 51 = 391.\nNow 391 it is.\nc"), []),
        (step(execution="Counting gives 391 as before.\nb\nc"), []),
        (step(execution="However, from our first approximation the area = 391.\nb\nc"), ["391"]),
        (step(execution="Earlier we found that it is 391. So half = 195.5.\nb\nc"), ["391"]),
        (step("Look at the width of 17."), []),
        (step("See line 2.", "a^{391}\nx_{391}\nCase 391"), []),
        (step("In x391 there is 3911 and 0.391."), []),
        (step("Divide 391.0 by 2."), ["391"]),
    ],
)
def test_a_step_uses_what_its_plan_says_and_what_it_takes_as_given(user: Step, values: list[str]) -> None:
    assert [use.value for use in find_later_results([FOUND, user], QUESTION)] == values


@pytest.mark.parametrize(
    ("found", "plan", "used"),
    [
        ("The area = 8 then.", "So the area is 8?", True),
        ("The area = 8 then.", "Look at the 8 corners.", False),
        ("We see 8 corners.", "So the area is 8?", False),
        ("The area = 2 then.", "So the area is 2?", False),
        ("It is 1,250 in all.", "Take 1250 and go on.", True),
        ("1. Begin here.\n14. Go on.", "Take the 14 of them.", False),
        ("So x = 2\\sqrt{3} then.", "Square 2\\sqrt{3} now.", True),
    ],
)
def test_common_numbers_are_results_only_where_they_are_stated(found: str, plan: str, used: bool) -> None:
    steps = [step(execution=f"a\nb\n{found}"), step(plan)]
    assert bool(find_later_results(steps, QUESTION)) is used


def test_what_an_ancestor_says_may_be_used() -> None:
    between = step("Go on from there.", "a\nb\nc", 1)
    assert find_later_results([FOUND, between, step("Halve 391.", "a\nb\nc", 2)], QUESTION) == []
    assert find_later_results([FOUND, between, step("Halve 391.")], QUESTION) == [LaterResult(3, 1, "391")]


VALUES = st.sampled_from(["391", "46.5", "so it is 77", "= 77", "x = 3y+5", "nothing"])


@given(st.lists(st.tuples(VALUES, VALUES), max_size=7))
def test_an_attached_trace_has_no_use_left(texts: list[tuple[str, str]]) -> None:
    steps = [step(plan, execution) for plan, execution in texts]
    parents = add_result_parents(steps, QUESTION)
    assert all(parent < number for number, named in enumerate(parents, 1) for parent in named)
    linked = [step(*pair, *named) for pair, named in zip(texts, parents, strict=True)]
    assert find_later_results(linked, QUESTION) == []


def record(*parents: int) -> PackedTrace:
    steps = (step("Set up."), step("Multiply.", "a\nb\n17 * 23 = 391.", 1), step("So it is 391?", "d\ne\nf", *parents))
    trace = Trace("t", QUESTION, steps, "391")
    return pack_record(LinkedTrace("t", 0, "model", trace))


def test_a_later_result_in_a_models_annotation_is_counted_or_rejected() -> None:
    keep, reject = Filter(Thresholds(min_ratio=1)), Filter(Thresholds(min_ratio=1, reject_later_results=True))
    assert keep(record(1)) == record(1)
    refusal = reject(record(1))
    assert isinstance(refusal, Rejection)
    assert (refusal.reason, refusal.detail) == (
        "later result",
        "step 3 uses 391 of step 2, on which it does not depend",
    )
    assert reject(record(2)) == record(2)
    assert shape_statistics([record(1), record(2)]).fault_shares["steps that use a later result"] == (1, 6)
