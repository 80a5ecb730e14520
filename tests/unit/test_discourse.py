from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.annotate.components import Component, check_components, cover
from curation.annotate.discourse import AT_LINE, AT_PARAGRAPH, Move, annotate
from curation.annotate.instructions import is_narration, is_short
from curation.annotate.numbering import split_lines
from curation.trace import Step, Trace

QUESTION = "A rectangle is 17 cm wide and 23 cm long. What is its area?"

OPENINGS = st.sampled_from(
    [
        "Wait, ",
        "Alternatively, let's ",
        "Let me check ",
        "Case 1: ",
        "Case 2: ",
        "So the answer is ",
        "Now, ",
        "First, ",
    ]
)
ENDS = st.sampled_from(["", " ", "\n", "\n\n"])
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=30)
TEXT = st.one_of(PRINTABLE, st.sampled_from(["x = 391", "Yes, that's correct.", "we need to find 391."]))
LINES = st.lists(st.builds(lambda mark, text, end: mark + text + end, st.one_of(st.just(""), OPENINGS), TEXT, ENDS))


def annotated(*paragraphs: str) -> tuple[list[Step], list[str]]:
    """The steps of a trace of these paragraphs and what kind of move each is."""
    lines = split_lines("\n\n".join(paragraphs))
    components, parents = annotate(QUESTION, lines)
    steps = [component.step(lines, named) for component, named in zip(components, parents, strict=True)]
    return steps, [component.description for component in components]


def parents(*paragraphs: str) -> list[tuple[int, ...]]:
    """The parents of the steps of a trace of which each paragraph is meant to be one."""
    steps, _ = annotated(*paragraphs)
    assert len(steps) == len(paragraphs), [step.text for step in steps]
    return [step.parents for step in steps]


SETUP = "Okay, the rectangle has two sides and I am asked for its area."
MULTIPLY = (
    "Now, we need to multiply the sides.\nThe product of 17 and 20 is 340.\nThree more columns make 17 * 23 = 391."
)
SQUARES = "Alternatively, we can use a difference of squares.\nThe mean is 20.\nSo the area is 20^2 - 3^2 = 391."


@given(st.text(), LINES)
@example("", [])
@example("", ["x"])
@example("", [" "])
@example("", ["Case 1: let me see.\n", "Case 2: let me see.\n"])
def test_every_list_of_lines_becomes_components_that_cover_it(question: str, lines: list[str]) -> None:
    components, named = annotate(question, lines)
    check_components(components)
    assert cover(components, lines) == components
    taken = [line for c in components for first, last in c.spans for line in range(first, last + 1)]
    assert taken == list(range(1, len(lines) + 1))
    Trace("any", question, steps_of(components, named, lines), "")


def steps_of(components: tuple[Component, ...], named: list[tuple[int, ...]], lines: list[str]) -> tuple[Step, ...]:
    return tuple(component.step(lines, of) for component, of in zip(components, named, strict=True))


@given(LINES)
def test_parents_come_before_their_children_and_none_is_redundant(lines: list[str]) -> None:
    _, named = annotate(QUESTION, lines)
    edges = [(parent, child) for child, of in enumerate(named, 1) for parent in of]
    assert all(1 <= parent < child for parent, child in edges)
    assert sorted(nx.transitive_reduction(nx.DiGraph(edges)).edges) == sorted(edges)


@given(LINES)
def test_every_step_but_the_first_needs_the_setup(lines: list[str]) -> None:
    _, named = annotate(QUESTION, lines)
    assert all(of for of in named[1:])
    assert named[:1] in ([], [()])


def test_a_trace_without_marks_is_one_step() -> None:
    assert parents("The sides are known.\nTheir product is the area.\nIt is 17 * 23 = 391.") == [()]


def test_numbered_approaches_are_steps_that_do_not_need_one_another() -> None:
    steps, kinds = annotated(
        "The area is wanted.",
        "Approach 1: multiply.\n17 * 23 = 391",
        "Approach 2: split 23 into 20 and 3.\n17 * 20 + 17 * 3 = 391",
        "Option C: count the squares.\nThere are 391.",
    )
    assert kinds[1:] == [str(Move.ALTERNATIVE.value)] * 3
    assert all(step.parents == (1,) for step in steps[1:])


def test_a_step_continues_the_one_before_it() -> None:
    then = "Next, let me convert the area.\nA square decimetre has 100 square centimetres.\nThat gives 3.91."
    assert parents(SETUP, MULTIPLY, then) == [(), (1,), (2,)]


def test_a_check_depends_on_what_it_checks_and_nothing_waits_for_it() -> None:
    check = "Wait, let me verify this product.\nTen rows of 23 make 230.\nSeven rows make 161, together 391."
    then = "Now, we need to convert the area.\nA square decimetre has 100 square centimetres."
    assert parents(SETUP, MULTIPLY, check, then) == [(), (1,), (2,), (2,)]


def test_what_follows_a_check_that_finds_a_mistake_depends_on_it() -> None:
    check = "Let me verify this product.\nTen rows of 23 make 230.\nOh, I made a mistake with the other seven."
    then = "Now, we need to convert the area.\nA square decimetre has 100 square centimetres."
    assert parents(SETUP, MULTIPLY, check, then) == [(), (1,), (2,), (3,)]


def test_an_alternative_does_not_depend_on_the_attempt_before_it() -> None:
    assert parents(SETUP, MULTIPLY, SQUARES) == [(), (1,), (1,)]


def test_an_alternative_that_names_the_earlier_result_still_stands_alone() -> None:
    again = "Another way to see it is a grid of squares.\nCounting them gives 391 as before."
    assert parents(SETUP, MULTIPLY, again) == [(), (1,), (1,)]


def test_cases_depend_on_the_same_step_and_the_conclusion_on_all_of_them() -> None:
    split = "Now, we need to tell apart the signs of the root.\nIt can be negative or not."
    one = "Case 1: the root is negative.\nThen the side would be -17, which no length is."
    two = "Case 2: the root is positive.\nThen the side is 17, which fits."
    end = "Therefore, the answer is the positive root."
    assert parents(SETUP, split, one, two, end) == [(), (1,), (2,), (2,), (3, 4)]


def test_a_comparison_depends_on_the_end_of_every_branch() -> None:
    compare = "Therefore, both methods lead to the same area.\nIt is 391."
    assert parents(SETUP, MULTIPLY, SQUARES, compare) == [(), (1,), (1,), (2, 3)]


def test_a_step_depends_on_the_step_whose_result_it_uses() -> None:
    other = "Alternatively, let's work in inches.\nThe width is 17 / 2.54 = 6.693 inches."
    then = "Now, we need to compare with the other unit.\nThe area of 391 is in square centimetres."
    assert parents(SETUP, MULTIPLY, other, then) == [(), (1,), (1,), (2, 3)]


def test_a_plan_that_says_a_later_result_comes_after_the_step_that_finds_it() -> None:
    guess = "Another way to see that the area is 391.\nThe rows say so.\nThere are 23 of them."
    assert parents(SETUP, MULTIPLY, guess) == [(), (1,), (2,)]
    eight = "Now, we need to halve the sides.\nOne half is short.\nThe area = 8 then."
    ask = "Another way to see that the area is 8.\nThe rows say so.\nThere are some of them."
    count = "Another way to see the 8 corners.\nThe rows say so.\nThere are some of them."
    assert parents(SETUP, eight, ask) == [(), (1,), (2,)]
    assert parents(SETUP, eight, count) == [(), (1,), (1,)]


def test_a_step_that_derives_a_result_itself_does_not_use_it() -> None:
    other = "Alternatively, let's add up the columns.\nThere are seventeen of them."
    then = "Now, we need to sum them.\nAll columns together make 340 + 51 = 391, and 391 it is."
    assert parents(SETUP, MULTIPLY, other, then)[3] == (3,)


def test_numbers_of_the_question_make_no_dependency() -> None:
    doubled = "Now, we need to double the length.\nTwice 23 is 46, and half of that = 23."
    other = "Alternatively, let's draw the rectangle.\nThe paper is large enough."
    then = "Now, we need to measure it.\nThe longer side of 23 fits."
    assert parents(SETUP, doubled, other, then)[3] == (3,)


def test_the_opening_says_what_to_do_the_rest_does_it_and_a_closing_remark_comments() -> None:
    steps, _ = annotated(SETUP, MULTIPLY + "\nThat seems right.")
    assert steps[1].plan == "Now, we need to multiply the sides."
    assert steps[1].execution == "The product of 17 and 20 is 340.\nThree more columns make 17 * 23 = 391."
    assert steps[1].comment == "That seems right."


def test_a_remark_between_two_lines_of_work_stays_in_the_execution() -> None:
    steps, _ = annotated(
        SETUP, "Now, we need to sum the rows.\nTen rows make 230.\nYes, that's correct.\nThe rest is 161."
    )
    assert "Yes, that's correct." in steps[1].execution
    assert not steps[1].comment


def test_a_prompt_is_the_intention_of_its_plan_in_the_imperative() -> None:
    steps, _ = annotated(SETUP, MULTIPLY, SQUARES)
    assert steps[1].prompt == "Multiply the sides, as the plan above says."
    assert steps[2].prompt == "Use a difference of squares."


DO = "\nOne line.\nTwo lines."
LONGER = f"{MULTIPLY}\nFour lines.\nFive lines.\nSix lines."


@pytest.mark.parametrize(
    ("plan", "prompt"),
    [
        ("Now, let me compute the area of the triangle.", "Compute the area of the triangle."),
        ("Wait, so the area is 8?", "Check whether the area is 8."),
        ("Wait, no.", "Reconsider the steps so far and correct what is wrong in them."),
        ("Let me double-check my calculation of the height, because I am not sure.", "Double-check the calculation"),
        ("Alternatively, using Heron's formula for the area.", "Use Heron's formula for the area."),
        ("Case 2: the root is negative.", "Work out case 2: the root is negative in full."),
        ("Wait, does the order of the letters matter?", "Answer this question: does the order of the letters matter?"),
        ("Let me check that again.", "Check the results so far step by step."),
        ("Therefore, the answer is 8, I think.", "Bring the results so far together and state the answer."),
        ("Let me verify that (2 + 3 is five.", "Check the results so far step by step."),
    ],
)
def test_a_prompt_says_what_to_do_and_never_thinks_aloud(plan: str, prompt: str) -> None:
    steps, _ = annotated(SETUP, LONGER, plan + DO)
    assert steps[2].prompt.startswith(prompt.removesuffix("."))
    assert not is_narration(steps[2].prompt)
    assert not is_short(steps[2].prompt)


@given(LINES)
def test_no_prompt_is_short_or_narrates(lines: list[str]) -> None:
    prompts = [component.prompt for component in annotate(QUESTION, lines)[0] if component.execution]
    assert not [prompt for prompt in prompts if is_short(prompt) or is_narration(prompt)]


@pytest.mark.parametrize("prompt", ["Wait, no.", "So the area is 8", "I should check it", "Compute what I need here"])
def test_narration_is_told_from_instructions(prompt: str) -> None:
    assert is_narration(prompt)
    assert not is_narration("Compute the area of the triangle.")
    assert is_short("Wait, no.")


def test_a_wait_and_the_check_that_it_announces_are_one_step() -> None:
    _, moves = annotated(SETUP, MULTIPLY, "Wait.\nLet me check the product again.\nIt is 17 * 23 = 391.")
    assert moves == [Move.SETUP.value, Move.NEXT.value, Move.CHECK.value]


def test_a_curly_apostrophe_is_an_apostrophe() -> None:
    assert annotated(SETUP, "Now let\u2019s verify the width again.")[1] == [Move.SETUP.value, Move.CHECK.value]


def test_a_mark_of_a_paragraph_opens_nothing_within_one() -> None:
    paragraph = "The area is the product of the sides. " * 7 + "Now, the sides are known."
    assert len(split_lines(paragraph)) == 8
    assert len(annotated(paragraph)[0]) == 1


def test_every_move_but_the_setup_has_its_marks() -> None:
    assert {Move.SETUP, *AT_LINE, *AT_PARAGRAPH} == set(Move)
