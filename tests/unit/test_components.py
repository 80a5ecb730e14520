"""Numbered lines and what LLMs write about them: nothing of a trace is lost, and a bad reply says why it is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.recorded import recorded_stages
from curation.annotate.components import Component, Reason, Refused, cover
from curation.annotate.numbering import number_lines, split_lines
from curation.annotate.reply_parser import read_components, read_parents
from curation.records import LinkedTrace, Rejection
from curation.stages.filter import Filter, Thresholds
from curation.stages.pack import merge_short, pack_record
from curation.trace import Step, Trace
from tests.fakes.scaling import takes_linear_time

RECORDED = (0, 1, 3, 4, 6, 8)


@given(st.text(alphabet=st.sampled_from("ab .!?\n\t$\\\u2028é"), max_size=400), st.integers(1, 60))
def test_the_lines_joined_are_the_text(text: str, max_chars: int) -> None:
    lines = split_lines(text, max_chars)
    assert "".join(lines) == text
    assert all(line.strip() for line in lines) or not text.strip()


def test_a_long_line_is_split_at_its_sentences_and_a_short_one_is_not() -> None:
    assert split_lines("One. Two.\n\nThree.", 40) == ["One. Two.\n\n", "Three."]
    assert split_lines("It is 3.14 now. Is it? Yes.", 10) == ["It is 3.14 now. ", "Is it? ", "Yes."]


def test_each_line_stands_between_its_number_and_its_number() -> None:
    assert number_lines(["first\n", "second"]) == "1: first :1\n2: second :2"


@st.composite
def covers(draw: st.DrawFn) -> tuple[list[str], tuple[Component, ...]]:
    """Lines, and components that cover them in order."""
    components, lines = [], 0
    for _ in range(draw(st.integers(1, 6))):
        counts = draw(st.tuples(*[st.integers(0, 3)] * 3).filter(any))
        spans = []
        for count in counts:
            spans.append(((lines + 1, lines + count),) if count else ())
            lines += count
        components.append(Component(spans[0], "do it", spans[1], spans[2]))
    text = "".join(draw(st.sampled_from([f"line {n}.\n", f"line {n}.\n\n"])) for n in range(lines))
    return split_lines(text), tuple(components)


@given(covers())
def test_plans_executions_and_comments_rejoined_are_the_source(drawn: tuple[list[str], tuple[Component, ...]]) -> None:
    lines, components = drawn
    rejoined = "".join(
        lines[n - 1] for c in cover(components, lines) for first, last in c.spans for n in range(first, last + 1)
    )
    assert rejoined == "".join(lines)
    steps = [component.step(lines) for component in components]
    assert "".join("".join(step.text.split()) for step in steps) == "".join("".join(lines).split())


def reply(plan: str = "Lines 1-2", execution: str = "Lines 3-5", comment: str = "Lines not found") -> str:
    return (
        "### Component 1 (Lines 1-5)\n- **Description:** Sets up.\n"
        f"- **Plan:** {plan}\n- **Prompt:** Do it.\n- **Execution:** {execution}\n- **Comment:** {comment}\n"
    )


EXPECTED = (Component(((1, 2),), "Do it.", ((3, 5),), (), "Sets up."),)


@pytest.mark.parametrize(
    "text",
    [
        reply(),
        reply("1-2", "3 - 5", "None"),
        reply("Lines 1\u20132", "Lines 3\u20145", "N/A"),
        reply("Line 1, Line 2", "lines 3 to 5", "No lines found"),
        reply("Lines 1 and 2", "Line 3 through line 5.", "-"),
        reply("Lines 1-2 (the set-up)", "`Lines 3-5`", "Lines not found."),
        reply("(Lines 1-2)", "[3-5]", "not found"),
        reply("L1-L2", "L3-L5"),
        reply("from line 1 to line 2", "Lines 3~5", "No comment"),
        reply(comment="Not found / N/A"),
        reply(comment="No lines found for this phase").replace("**Plan:**", "**Plan (Lines):**"),
        reply(execution="\n  - Lines 3-5"),
        "<think>Component 1 could have\nPlan: Line 1\n</think>\n" + reply(),
        json.dumps(
            [{"number": 1, "description": "Sets up.", "plan": [1, 2], "prompt": "Do it.", "execution": [3, 4, 5]}]
        ),
        'Lines are counted as {"a": 1}: '
        + json.dumps(
            {
                "components": [
                    {"description": "Sets up.", "plan": "1-2", "prompt": "Do it.", "execution": [[3, 3], [4, 5]]}
                ]
            }
        ),
        reply().replace("### Component 1", "1. **Component 1**"),
        reply().replace("Do it.", "\n\nDo it."),
        json.dumps(
            {
                "components": [
                    {"number": 1, "description": "Sets up.", "plan": [1, 2], "prompt": "Do it.", "execution": [3, 4, 5]}
                ]
            }
        ),
        "Here is the split.\n\n" + reply().replace("**", "") + "\nI hope this helps!",
        reply().replace("### ", "## **").replace("- **", "* **"),
        reply().replace("**Plan:**", "**Plan**:").replace("- ", ""),
        "```\n" + reply() + "```",
        json.dumps(
            {
                "components": [
                    {
                        "number": 1,
                        "description": "Sets up.",
                        "plan": {"start": 1, "end": 2},
                        "prompt": "Do it.",
                        "execution": {"start": 3, "end": 5},
                        "comment": None,
                    }
                ]
            }
        ),
    ],
)
def test_a_reply_is_understood_however_it_is_formatted(text: str) -> None:
    assert read_components(text) == EXPECTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot do that.", Reason.NO_COMPONENTS),
        ("", Reason.NO_COMPONENTS),
        (reply().replace("Component 1", "Component 2"), Reason.NUMBERING),
        (reply(plan="the first two"), Reason.UNREADABLE),
        (reply(plan="Lines 5-3"), Reason.UNREADABLE),
        (reply(execution="Lines 3-4"), Reason.GAP),
        (reply(execution="Lines 3-9"), Reason.OUT_OF_RANGE),
        (reply(plan="Lines 0-2"), Reason.OUT_OF_RANGE),
        (reply("Lines 4-5", "Lines 1-3"), Reason.ORDER),
        (reply().replace("Do it.", "Lines not found"), Reason.NO_PROMPT),
        (reply("none", "none"), Reason.EMPTY),
        (reply() + reply("Line 5", "Line 6").replace("Component 1", "Component 2"), Reason.OVERLAP),
        (reply("Line 6", "Line 7") + reply().replace("Component 1", "Component 2"), Reason.ORDER),
    ],
)
def test_a_reply_that_cannot_be_used_says_why(text: str, reason: Reason) -> None:
    with pytest.raises(Refused) as refusal:
        cover(read_components(text), [f"line {n}" for n in range(1, 6)])
    assert refusal.value.reason == reason.value
    assert str(refusal.value)


def test_a_line_that_two_phases_claim_belongs_to_the_earlier_one() -> None:
    (component,) = read_components(reply("Lines 1-5", "Lines 5-5"))
    assert component.execution == ()
    assert component.step(["a", "b", "c", "d", "e"]).prompt == ""


def test_a_rule_that_no_component_names_joins_the_phase_before_it() -> None:
    (component,) = cover(read_components(reply("Line 1", "Line 3")), ["a\n", "---\n", "b"])
    assert component.plan == ((1, 2),)


def reason_of(reply: str, read: Callable[[str], Sequence[object]]) -> str | None:
    try:
        read(reply)
    except Refused as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize(
    "text_of",
    [
        lambda size: reply("Lines 1-" + "1" * size),
        lambda size: reply().replace("Component 1", "Component " + "1" * size),
        lambda size: "{" + ": [], ".join(["1" * size, "2"]) + ": []}",
        lambda size: '{"parents": [{"component": [1], "parents": 3}]}',
        lambda size: '{"parents": [{"component": {"a": 1}, "parents": []}]}',
        lambda size: reply().replace("Do it.", "- " * size + "x"),
        lambda size: "{" * size,
        lambda size: '{"a":' * size,
        lambda size: "{" + "{1: []}" * size,
        lambda size: "<think>" * size,
    ],
    ids=range(10),
)
def test_what_a_looping_model_writes_is_read_or_refused_in_linear_time(text_of: Callable[[int], str]) -> None:
    known = {None, *(reason.value for reason in Reason)}

    def read(text: str) -> None:
        assert {reason_of(text, read_components), reason_of(text, lambda reply: read_parents(reply, 3))} <= known

    assert takes_linear_time(read, text_of, 20_000)


def test_a_prompt_of_several_paragraphs_is_kept_whole() -> None:
    (component,) = read_components(reply().replace("Do it.", "Do it.\n\nAnd check it."))
    assert component.prompt == "Do it.\n\nAnd check it."


@given(st.text(max_size=300))
def test_no_reply_makes_the_readers_raise_anything_but_a_refusal(text: str) -> None:
    known = {None, *(reason.value for reason in Reason)}
    assert {reason_of(text, read_components), reason_of(text, lambda reply: read_parents(reply, 3))} <= known


@pytest.mark.parametrize(
    "text",
    [
        "parent_dictionary = {1: [], 2: [1], 3: [1, 2]}",
        '```json\n{"1": [], "2": [1], "3": ["2"]}\n```',
        "For example {1: [], 2: []}. So:\n```python\np = {\n  1: [],\n  2: [1],  # needs 1\n  3: [2],\n}\n```",
        json.dumps({"parents": [{"component": n, "parents": [n - 1] if n > 1 else []} for n in (1, 2, 3)]}),
        '{"parents": {"1": [], "2": [1], "3": [2]}}',
        "{1: set(), 2: {1}, 3: {1, 2}}",
        "{1: {}, 2: {1}, 3: (2,)}",
        '{"Component 1": null, "Component 2": ["Component 1"], "Component 3": ["component 2"]}',
        "<think>Perhaps {1: [], 2: [], 3: []}?</think>{1: None, 2: [1], 3: [2]}",
        "{1: [], 2: [1], 3: [2], 3: [2]}",
    ],
)
def test_parents_are_read_as_a_literal_or_as_json_without_redundant_ones(text: str) -> None:
    assert read_parents(text, 3) == [(), (1,), (2,)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("They can all run at once.", Reason.NO_DICTIONARY),
        ("{1: [], 2: 1}", Reason.NO_DICTIONARY),
        ("{1: [], 2: ['x']}", Reason.NO_DICTIONARY),
        ("{1: [], 2: [__import__('os').getpid()]}", Reason.NO_DICTIONARY),
        ("{1: []}", Reason.MISSING),
        ("{1: [], 2: [1], 3: [2]}", Reason.UNKNOWN),
        ("{1: [2], 2: []}", Reason.BACKWARD),
        ("{1: [], 2: [1], 2: []}", Reason.TWICE),
        ('{"parents": [{"component": 2, "parents": [1]}, {"component": 2, "parents": []}]}', Reason.TWICE),
        ("{1: [], 2: [2]}", Reason.BACKWARD),
    ],
)
def test_a_dictionary_that_cannot_be_used_says_why(text: str, reason: Reason) -> None:
    with pytest.raises(Refused) as refusal:
        read_parents(text, 2)
    assert refusal.value.reason == reason.value


# By hand, from the recorded ranges and parents: one more than a parent's stage where the parent executes something.
STAGES_BY_HAND = {
    0: [1, 1, 2, 3, 3, 3, 3, 4, 4, 5, 5],
    1: [1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 4, 3, 4, 5, 5],
    3: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14],
    8: [1, 2, 3, 3, 2, 3, 2, 4],
}


def recorded_trace(folder: Path, number: int) -> Trace:
    """One recorded trace by its ranges and parents; each line says its number."""
    components = read_components((folder / f"component_separation_{number}.txt").read_text())
    parents = read_parents((folder / f"created_dag_{number}.json").read_text(), len(components))
    lines = [f"line {n}\n" for n in range(1, max(last for c in components for _, last in c.spans) + 1)]
    steps = tuple(c.step(lines, named) for c, named in zip(components, parents, strict=True))
    return Trace(str(number), "q", steps, "a")


def test_the_recorded_replies_give_the_stages_of_the_papers_formula(shared_data: Path) -> None:
    folder = shared_data / "curation_recorded"
    keep, dropped = Filter(Thresholds(max_chars=10**9, max_similarity=1.0)), {}
    for number in RECORDED:
        packed = pack_record(LinkedTrace(str(number), 0, "recorded", recorded_trace(folder, number)))
        if number in STAGES_BY_HAND:
            assert packed.sigma == tuple(STAGES_BY_HAND[number])
        assert len(packed.trajectory.stages) == max(packed.sigma)
        if isinstance(outcome := keep(packed), Rejection):
            dropped[number] = outcome.reason, outcome.detail.partition(";")[0]
    assert dropped == {
        3: ("ratio", "1.07 steps per stage, below 1.5"),
        4: ("ratio", "1.40 steps per stage, below 1.5"),
        6: ("ratio", "1.44 steps per stage, below 1.5"),
    }


def test_a_component_whose_plan_and_execution_are_the_same_lines_only_plans() -> None:
    reply = (
        "### Component 1\n- **Plan:** Lines 1-4\n- **Prompt:** Summarise.\n- **Execution:** Lines 1-4\n"
        "### Component 2\n- **Plan:** Line 5\n- **Prompt:** Add.\n- **Execution:** Lines 6-8\n"
    )
    first, second = read_components(reply)
    assert (first.plan, first.execution) == (((1, 4),), ())
    assert recorded_stages([first, second], [(), (1,)]) == [1, 1]


def test_an_execution_counts_its_numbered_lines_where_sentences_are_lines() -> None:
    component = Component(((1, 1),), "do", ((2, 4),))
    step = component.step(["Plan. ", "One. ", "Two. ", "Three."])
    assert step == Step("Plan.", "do", "One. Two. Three.", execution_lines=3)
    assert merge_short(step).execution == step.execution
