"""Claims about the tag protocol: exact inverses, repairs by rule, and nothing that a model writes raises."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprint_sgl import protocol
from sprint_sgl.protocol import (
    RepairKind,
    escape_tags,
    merge_repairs,
    parse,
    read_execution,
    read_plan,
    render,
    unescape_tags,
)
from sprint_sgl.protocol.lexer import find_tags
from sprint_sgl.protocol.model_output import match_executions
from sprint_sgl.protocol.prompts import prompt_style, style_names
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.rows import rows

FRAGMENTS = (
    *"<>/\\_. \n\t1234a\u017f\u212a",
    *("\r\n", "\x85", "\xa0", "\u2028", "-----", "\n-----\n", "No prompt to execute.", "Based on execution_1.1:"),
    *("Plan_1>", "prompt_1.1", "Execution", "execution_", "Final_answer>", "think", "Question>", "plan 1", "prompt>"),
    *("<Plan_1>", "</Plan_1>", "<prompt_1.1>", "</prompt_1.1>", "<Execution_1>", "</Execution_1>", "<\\Plan_1>"),
    *("<execution_1.1>", "</execution_1.1>", "<execution_1.2>", "</execution_1.2>", "<prompt_1.2>", "</prompt_1.2>"),
    *("<Plan_2>", "</Plan_2>", "<prompt_2.1>", "</prompt_2.1>", "<Execution_2>", "</Execution_2>", "<\\\\/think>"),
    *(
        "<Final_answer>",
        "</Final_answer>",
        "<think>",
        "</think>",
        "<Question>",
        "</Question>",
        "< /plan_2 >",
        "</prompt>",
    ),
)
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)
prompts = st.builds(Prompt, texts.filter(str.strip), texts)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    tasks = draw(st.lists(prompts, max_size=3))
    return Stage(tuple(tasks), tuple(Execution(draw(texts)) for _ in tasks), draw(texts))


trajectories = st.builds(Trajectory, texts, st.lists(stages(), max_size=3).map(tuple), texts)
stops = st.sampled_from(["", "length", "abort", *protocol.STOPS])


def shape(trajectory: Trajectory) -> list[tuple[list[tuple[str, str, str]], str]]:
    """The texts of all stages: (lead, prompt, execution) by prompt, and the tail."""
    return [
        ([(p.lead, p.text, e.text) for p, e in zip(s.prompts, s.executions, strict=True)], s.tail)
        for s in trajectory.stages
    ]


def whole(body: str) -> str:
    return f"<Question>\nq\n</Question>\n\n<think>\n{body}\n<Final_answer>\nans\n</Final_answer>\n</think>"


STORY = Trajectory(
    "q",
    (
        Stage(
            (Prompt("p1.1", "l1.1"), Prompt("p1.2", "l1.2"), Prompt("p1.3")),
            (Execution("e1.1"), Execution("e1.2"), Execution("e1.3")),
        ),
        Stage((Prompt("p2.1"), Prompt("p2.2")), (Execution("e2.1"), Execution("e2.2")), tail="t2"),
        Stage(tail="t3"),
    ),
    "ans",
)


# Writing and reading are inverses


@given(texts)
def test_restore_undoes_neutralise(text: str) -> None:
    assert unescape_tags(escape_tags(text)) == text


@given(texts)
def test_nothing_in_a_neutralised_text_is_a_tag_or_a_stop_string(text: str) -> None:
    assert find_tags(escape_tags(text)) == []
    assert not any(stop in escape_tags(text) for stop in protocol.STOPS)


@given(trajectories)
@example(Trajectory(""))
@example(Trajectory("q", (Stage(), Stage(tail="x"), Stage())))
@example(Trajectory("a <", (Stage((Prompt("b <", "c <\\"),), (Execution("d </"),), "e <"),), "f <Plan_"))
def test_parse_is_the_inverse_of_render(trajectory: Trajectory) -> None:
    assert parse(render(trajectory)) == trajectory


@given(texts, texts.filter(str.strip), texts.filter(str.strip))
@example("q", "a thought", "an answer that ends as a tag begins: </Fin")
def test_a_sequential_trajectory_comes_back_too(question: str, thought: str, answer: str) -> None:
    trajectory = Trajectory(question, thought=thought, final_answer=answer)
    assert parse(render(trajectory)) == trajectory


@given(trajectories, st.sampled_from(style_names()))
def test_an_instruction_before_the_question_changes_nothing(trajectory: Trajectory, style: str) -> None:
    opening = protocol.planner_opening(trajectory.question, prompt_style(style))
    assert parse(opening + render(trajectory).partition("<think>\n")[2]) == trajectory


@given(trajectories)
def test_the_tags_around_the_thought_may_be_missing(trajectory: Trajectory) -> None:
    body = render(trajectory).partition("<think>\n")[2].removesuffix("</think>")
    read = parse(body)
    assert (read.stages, read.final_answer, read.repairs) == (trajectory.stages, trajectory.final_answer, ())


def test_a_stage_without_prompts_says_so_as_released_models_do() -> None:
    assert protocol.render_stage(2, Stage(tail="done")) == (
        "<Plan_2>\ndone\n</Plan_2>\n\n<Execution_2>\nNo prompt to execute.\n</Execution_2>\n\n"
    )


def test_the_layout_is_the_one_of_released_models() -> None:
    stage = Stage((Prompt("do it", "think"),), (Execution("done"),), "so")
    assert render(Trajectory("q", (stage,), "5")) == (
        "<Question>\nq\n</Question>\n\n<think>\n"
        "<Plan_1>\nthink\n<prompt_1.1> do it </prompt_1.1>\nso\n</Plan_1>\n\n"
        "<Execution_1>\n<execution_1.1>\ndone\n</execution_1.1>\n</Execution_1>\n\n"
        "<Final_answer>\n5\n</Final_answer>\n</think>"
    )


# Whatever a model writes


@given(texts | st.text())
def test_parse_takes_any_text_and_what_it_returns_is_well_formed(text: str) -> None:
    read = parse(text)
    again = parse(render(read))
    assert (shape(again), again.final_answer, again.question) == (shape(read), read.final_answer, read.question)
    assert again.thought == read.thought
    assert again.repairs == ((("missing_answer", 1),) if read.thought and not read.final_answer else ())
    assert {kind for kind, _ in read.repairs} <= set(RepairKind)


@given(texts | st.text(), st.integers(1, 3), st.integers(1, 3), stops)
def test_read_plan_takes_any_text(text: str, i: int, first: int, closed_by: str) -> None:
    read = read_plan(text, i, first, closed_by)
    assert all(prompt.text for prompt in read.prompts)
    assert merge_repairs(read.repairs) == read.repairs


@given(texts | st.text())
def test_an_executors_text_stays_as_it_is_but_for_tags_that_open_it_again(text: str) -> None:
    read, repairs = read_execution(text)
    assert unescape_tags(text).strip().endswith(read)
    assert dict(repairs).get("nested", 0) == len(find_tags(text))


@given(trajectories, st.data())
def test_a_cut_leaves_alone_what_is_complete(trajectory: Trajectory, data: st.DataObject) -> None:
    text = render(trajectory)
    cut = data.draw(st.integers(0, len(text)))
    complete = sum(f"</Execution_{i}>" in text[:cut] for i in range(1, len(trajectory.stages) + 1))
    assert parse(text[:cut]).stages[:complete] == trajectory.stages[:complete]
    if "</Final_answer>" not in text[:cut]:
        assert {"truncated", "missing_answer"} & dict(parse(text[:cut]).repairs).keys()


@given(st.integers(1, 5), st.data())
def test_an_executed_prompt_keeps_its_own_execution_whichever_others_are_missing(n: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(1, n + 1)))
    written = order[: data.draw(st.integers(0, n))]
    block = "".join(f"<execution_1.{j}>\ne{j}\n</execution_1.{j}>\n" for j in written)
    plan = protocol.render_plan(1, [Prompt(f"p{j}") for j in range(1, n + 1)])
    read = parse(whole(f"{plan}<Execution_1>\n{block}</Execution_1>"))
    (stage,) = read.stages
    assert [e.text for e in stage.executions] == [f"e{j}" if j in written else "" for j in range(1, n + 1)]
    assert [e.status for e in stage.executions] == ["ok" if j in written else "failed" for j in range(1, n + 1)]
    assert dict(read.repairs).get("missing_execution", 0) == n - len(written)


def test_no_execution_goes_to_another_prompt_when_any_two_tags_are_lost() -> None:
    text = render(STORY)
    for one, two in combinations(find_tags(text), 2):
        read = parse(text[: one.start] + text[one.end : two.start] + text[two.end :])
        for prompts, _ in shape(read):
            for _, prompt, execution in prompts:
                named = set(re.findall(r"\bp(\d\.\d)", prompt)), set(re.findall(r"\be(\d\.\d)", execution))
                assert named[0] & named[1] or not named[1], (one.text, two.text)


def test_no_execution_goes_to_another_prompt_when_a_number_is_repeated() -> None:
    text = render(STORY)
    for one, two in combinations([tag for tag in find_tags(text) if tag.kind in ("prompt", "execution")], 2):
        if (one.kind, one.i, one.closing) == (two.kind, two.i, two.closing):
            read = parse(text[: two.start] + one.text + text[two.end :])
            assert shape(read) == shape(STORY), (one.text, two.text)
            assert dict(read.repairs)["wrong_number"] >= 1


# The rules, one by one

P1 = "<Plan_1>\ngo\n<prompt_1.1> a </prompt_1.1>\n</Plan_1>\n"
E1 = "<Execution_1>\n<execution_1.1>\ndid\n</execution_1.1>\n</Execution_1>\n"
TWO = "<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n<prompt_1.2> b </prompt_1.2>\n</Plan_1>\n"
ONE = [([("go", "a", "did")], "")]
A_B = [([("", "a", "x"), ("", "b", "y")], "")]


def block(*written: tuple[str, str]) -> str:
    inside = "".join(f"<execution_{number}>{text}</execution_{number}>" for number, text in written)
    return f"<Execution_1>{inside}</Execution_1>"


BOTH = block(("1.1", "x"), ("1.2", "y"))


@pytest.mark.parametrize(
    ("body", "expected", "repairs"),
    [
        pytest.param(P1 + E1, ONE, {}, id="well-formed"),
        pytest.param((P1 + E1).replace("_1>", "_4>"), ONE, {"wrong_number": 1}, id="a stage's number"),
        pytest.param(P1.replace("1.1", "1.3") + E1, ONE, {"wrong_number": 1}, id="a prompt's number"),
        pytest.param(TWO.replace("1.2", "1.1") + BOTH, A_B, {"wrong_number": 1}, id="a prompt's number twice"),
        pytest.param(TWO.replace("1.2", "1.5") + BOTH, A_B, {"wrong_number": 1}, id="a prompt's number skipped"),
        pytest.param(
            TWO.replace("1.2", "1.5") + block(("1.1", "x"), ("1.5", "y")),
            A_B,
            {"wrong_number": 1},
            id="skipped alike by prompt and execution",
        ),
        pytest.param(TWO + block(("1.1", "x"), ("1.1", "y")), A_B, {"wrong_number": 1}, id="execution number twice"),
        pytest.param(
            TWO + block(("1.2", "y"), ("1.1", "x")), A_B, {"wrong_number": 1}, id="executions in another order"
        ),
        pytest.param(P1.replace("</prompt_1.1>", "</prompt_1.2>") + E1, ONE, {"wrong_number": 1}, id="closing number"),
        pytest.param(
            P1 + P1.replace("1.1", "2.1").replace("_1>", "_2>") + E1 + E1.replace("_1", "_2").replace("did", "too"),
            [*ONE, ([("go", "a", "too")], "")],
            {},
            id="two plans, then their executions",
        ),
        pytest.param(P1.replace("</prompt_1.1>", "") + E1, ONE, {"unclosed": 1}, id="prompt unclosed"),
        pytest.param(P1.replace("</Plan_1>", "") + E1, ONE, {"unclosed": 1}, id="plan unclosed"),
        pytest.param(P1 + E1.replace("</execution_1.1>", ""), ONE, {"unclosed": 1}, id="execution unclosed"),
        pytest.param(P1 + E1.replace("</Execution_1>", ""), ONE, {"unclosed": 1}, id="block unclosed"),
        pytest.param(TWO.replace("</prompt_1.1>", "") + BOTH, A_B, {"unclosed": 1}, id="a prompt ends at the next"),
        pytest.param(
            TWO + BOTH.replace("</execution_1.1>", ""), A_B, {"unclosed": 1}, id="an execution ends at the next"
        ),
        pytest.param(P1 + "</Plan_1>" + E1 + "</Execution_1>", ONE, {"unopened": 2}, id="closed twice"),
        pytest.param(
            P1.replace("go", "go</prompt> ") + E1, ONE, {"unopened": 1, "variant": 1}, id="closed before opened"
        ),
        pytest.param(
            P1.replace("<Plan_1>\ngo", "") + E1, [([("", "a", "did")], "")], {"unopened": 1}, id="plan unopened"
        ),
        pytest.param(P1 + E1.replace("<Execution_1>", ""), ONE, {"unopened": 1}, id="block unopened"),
        pytest.param(P1 + E1.replace("<execution_1.1>", ""), ONE, {"unopened": 1}, id="execution unopened"),
        pytest.param(
            P1 + "<Execution_1>\ndid\n</Execution_1>", ONE, {"unopened": 1}, id="bare text for the only prompt"
        ),
        pytest.param(
            P1.replace("</Plan_1>", "") + "<prompt_1.2> b </prompt_1.2></Plan_1>" + BOTH,
            [([("go", "a", "x"), ("", "b", "y")], "")],
            {},
            id="the plan may go on",
        ),
        pytest.param(
            P1 + "<prompt_1.2> b </prompt_1.2>" + BOTH,
            [([("go", "a", "x"), ("", "b", "y")], "")],
            {"unopened": 1},
            id="a prompt after its plan",
        ),
        pytest.param(
            TWO.replace("</Plan_1>", "<execution_1.1> own </Plan_1>") + BOTH,
            A_B,
            {"nested": 1},
            id="the planner executes itself, and the executor too",
        ),
        pytest.param(TWO.replace("</Plan_1>", f"{BOTH}</Plan_1>"), A_B, {"nested": 1}, id="only the planner executes"),
        pytest.param(
            P1 + E1.replace("did", "did <Plan_1> </prompt_1.1> <Final_answer>"),
            [([("go", "a", "did <Plan_1> </prompt_1.1> <Final_answer>")], "")],
            {"nested": 3},
            id="tags in an execution",
        ),
        pytest.param(
            P1.replace(" a ", " see <execution_1.1> "),
            [([("go", "see <execution_1.1>", "")], "")],
            {"nested": 1, "missing_execution": 1},
            id="a tag in a prompt",
        ),
        pytest.param(P1.replace("<Plan_1>", "<Plan_1><Plan_1>") + E1, ONE, {"nested": 1}, id="opened twice"),
        pytest.param(P1 + E1 + "<Plan_2>\n</Plan_2>", ONE, {}, id="an empty plan before the answer"),
        pytest.param("<Plan_1></Plan_1>" + P1 + E1, ONE, {"empty_plan": 1, "wrong_number": 1}, id="empty plan"),
        pytest.param("<Plan_1>t</Plan_1>" + E1, [([], "t")], {"extra_execution": 1, "no_prompt": 1}, id="no prompt"),
        pytest.param("<Plan_1>t</Plan_1>", [([], "t")], {}, id="only thoughts before the answer"),
        pytest.param(
            "<Plan_1>t</Plan_1><Execution_1>\nNo prompt to execute.\n</Execution_1>", [([], "t")], {}, id="said so"
        ),
        pytest.param(
            P1 + "<Execution_1>\nNo prompt to execute.\n</Execution_1>",
            [([("go", "a", "")], "")],
            {"missing_execution": 1},
            id="wrongly said so",
        ),
        pytest.param(
            TWO.replace("</prompt_1.1>", "</prompt_1.1> c").replace(" b ", " ") + "t" + BOTH,
            [([("", "a", "x")], "c\nt")],
            {"empty_prompt": 1, "stray_text": 1},
            id="an empty prompt, and text after the plan",
        ),
        pytest.param(
            TWO.replace(" a ", "") + BOTH, [([("", "b", "y")], "")], {"empty_prompt": 1}, id="first prompt empty"
        ),
        pytest.param(P1 + block(("1.1", "did"), ("1.2", "y")), ONE, {"extra_execution": 1}, id="an execution too many"),
        pytest.param(P1 + E1 + "so\n<Plan_2>t</Plan_2>", [*ONE, ([], "so\nt")], {"stray_text": 1}, id="before a plan"),
        pytest.param(P1 + E1 + "so", [*ONE, ([], "so")], {"stray_text": 1}, id="before the answer"),
        pytest.param(
            P1.replace("</Plan", "< /plan").replace("<prompt_1.1>", "<Prompt 1.1>") + E1,
            ONE,
            {"variant": 2},
            id="variants",
        ),
        pytest.param(P1.replace("_1.1", "").replace("_1", "") + E1, ONE, {"variant": 4}, id="without numbers"),
    ],
)
def test_a_malformed_stage_is_repaired_and_counted(body: str, expected: list[object], repairs: dict[str, int]) -> None:
    read = parse(whole(body))
    assert (read.question, read.final_answer) == ("q", "ans")
    assert [(prompts, tail.replace("\n\n", "\n")) for prompts, tail in shape(read)] == expected
    assert dict(read.repairs) == repairs


@pytest.mark.parametrize(
    ("ending", "answer", "repairs"),
    [
        ("<Final_answer>\n5\n</Final_answer>\n</think>", "5", {}),
        ("<Final_answer>5</Final_answer>", "5", {}),
        ("</think>\n<Final_answer>5</Final_answer>", "5", {}),
        ("<Final_answer>5</Final_answer></think>\nBye. <Final_answer>6</Final_answer>", "5", {"text_after_answer": 1}),
        ("<Final_answer>5</Final_answer><Plan_2>x</Plan_2>", "5", {"text_after_answer": 1}),
        ("<Final_answer>5</think>", "5", {"unclosed": 1}),
        ("<Final_answer>5", "5", {"truncated": 1}),
        ("<Final_answer>5 </Final_an", "5", {"truncated": 1}),
        ("</final answer >5</Final_answer>", "5", {"stray_text": 1, "unopened": 2, "variant": 1}),
        ("<Final_Answer>a <b and b < c</Final_Answer>", "a <b and b < c", {"variant": 2}),
        ("<Final_answer>see <prompt_1.1></Final_answer>", "see <prompt_1.1>", {"nested": 1}),
        ("</think>\nIt is 5.", "It is 5.", {"missing_answer": 1}),
        ("", "", {"missing_answer": 1}),
    ],
)
def test_the_answer_is_what_a_reader_would_take_for_it(ending: str, answer: str, repairs: dict[str, int]) -> None:
    read = parse(P1 + E1 + ending)
    assert (shape(read), read.final_answer, dict(read.repairs)) == (ONE, answer, repairs)


@pytest.mark.parametrize(
    ("cut", "statuses"),
    [
        ("<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n<prompt_1.2> b", ["failed", "failed"]),
        (TWO + "<Execution_1>\n<execution_1.1>\nx", ["truncated", "failed"]),
        (TWO + "<Execution_1>\n<execution_1.1>\nx\n</execution_1.1>\n<execu", ["ok", "failed"]),
    ],
)
def test_a_text_that_is_cut_keeps_what_it_has(cut: str, statuses: list[str]) -> None:
    read = parse(cut)
    assert [p.text for p in read.stages[0].prompts] == ["a", "b"]
    assert [e.status for e in read.stages[0].executions] == statuses
    expected = {"truncated": 1, "missing_answer": 1, "missing_execution": statuses.count("failed")}
    assert dict(read.repairs) == expected


@pytest.mark.parametrize("text", ["if a < b and c > d", "<b>", "x<Plan", "\\(1 < x\\)", "<Planet_1>", "a <prompting>"])
def test_a_less_than_sign_is_no_tag(text: str) -> None:
    assert find_tags(text) == []
    assert parse(whole(P1.replace("go\n", f"{text}\n") + E1)).stages[0].prompts[0].lead == text


def test_a_sequential_text_is_a_thought() -> None:
    read = parse("<Question>q</Question>\n\n<think>\nFirst this, then that.\n</think>\n\nIt is 5.")
    assert (read.thought, read.final_answer, read.stages, read.repairs) == (
        "First this, then that.",
        "It is 5.",
        (),
        (),
    )


@pytest.mark.parametrize(
    ("text", "question", "repairs"),
    [
        ("Between <Question> and </Question>.\n<Question>1 < 2?</Question>\n<think>\n", "1 < 2?", {}),
        ("<Question>q\n<think>", "q", {"unclosed": 1}),
        ("<Question>q", "q", {"truncated": 1}),
        ("q</Question><think>", "q", {"unopened": 1}),
        ("<Question>what is <Plan_1>?</Question><think>", "what is <Plan_1>?", {"nested": 1}),
    ],
)
def test_the_question_is_the_last_one_before_the_thought(text: str, question: str, repairs: dict[str, int]) -> None:
    read = parse(text)
    assert read.question == question
    assert dict(read.repairs) == {**repairs, "missing_answer": 1}


def test_executions_match_by_number_and_by_place_only_where_a_number_does_not_help() -> None:
    assert match_executions([1, 2, 3], [3, 1]) == [2, 0]
    assert match_executions([2, 3], [1, 2]) == [0, 1]
    assert match_executions([1, 2, 3], [2, 2, 3]) == [0, 1, 2]
    assert match_executions([1, 2, 3], [2, 2]) == [1, None]
    assert match_executions([None, None], [None, None]) == [0, 1]
    assert match_executions([1, 2], [1, 2, 3]) == [0, 1, None]


# The live program's calls


def test_a_plan_is_read_call_by_call() -> None:
    first = read_plan("<Plan_2>\nl\n<prompt_2.1> a ", 2, closed_by="</prompt_")
    second = read_plan("m\n<prompt_2.2> b ", 2, first=2, closed_by="</prompt_")
    last = read_plan("so <\\Plan_1>\n", 2, first=3, closed_by="</Plan_")
    assert (first.prompts, second.prompts) == ((Prompt("a", "l"),), (Prompt("b", "m"),))
    assert (last.prompts, last.tail, last.answer) == ((), "so <Plan_1>", None)
    assert first.repairs == second.repairs == last.repairs == ()


@pytest.mark.parametrize(
    ("body", "closed_by", "written", "repairs"),
    [
        ("<Plan_1>\n<prompt_1.1> a\n", "</Plan_", ["a"], {"unclosed": 1}),
        ("<Plan_1>\n<prompt_1.1> a\n<prompt_1.2> b", "</prompt_", ["a", "b"], {"unclosed": 1}),
        ("<Plan_1>\n<prompt_1.1> a", "", ["a"], {"unclosed": 2}),
        ("<Plan_1>\n<prompt_1.1> a </pro", "length", ["a"], {"truncated": 1}),
        ("<Plan_1>\nl <prompt_1.1> ", "</prompt_", [], {"empty_prompt": 1}),
        ("<Plan_7>\n<prompt_1.4> a ", "</prompt_", ["a"], {"wrong_number": 2}),
        ("<plan_1>\n<prompt_1.1> a ", "</prompt_", ["a"], {"variant": 1}),
        ("<prompt_1.1> a ", "</prompt_", ["a"], {"unopened": 1}),
        ("<Plan_1>\nl", "</Plan_", [], {"no_prompt": 1}),
        ("<Plan_1>\n", "</Plan_", [], {"empty_plan": 1}),
        (
            "<Plan_1>\n<prompt_1.1> a\n<Execution_1>\n<execution_1.1>\nx",
            "</Execution_",
            ["a"],
            {"nested": 1, "unclosed": 1},
        ),
        ("<Plan_1>\n<execution_1.1>\nx\n</execution_1.1>\n<prompt_1.1> a", "</prompt_", ["a"], {"nested": 1}),
        ("<Plan_1>\nl <Final_answer>\n5", "</Final_answer>", [], {"unclosed": 1}),
        ("<Plan_1>\n<Final_answer>\n5", "</Final_answer>", [], {}),
        ("<Plan_1>\nIt is 5.", "</Final_answer>", [], {"unopened": 1}),
    ],
)
def test_a_malformed_plan_is_repaired_and_counted(
    body: str, closed_by: str, written: list[str], repairs: dict[str, int]
) -> None:
    read = read_plan(body, 1, closed_by=closed_by)
    assert [prompt.text for prompt in read.prompts] == written
    assert "x" not in read.tail + "".join(prompt.lead for prompt in read.prompts)
    assert dict(read.repairs) == repairs


@pytest.mark.parametrize(
    ("body", "closed_by", "answer"),
    [
        ("<Final_answer>\n5\n", "</Final_answer>", "5"),
        ("<Final_answer>\n5", "", "5"),
        ("<Final_answer>\n", "</Final_answer>", ""),
        ("<Final_answer>\n</think>", "</Final_answer>", ""),
        ("<Plan_1>\nIt is 5.", "</Final_answer>", "It is 5."),
        ("<Plan_1>\nso\n</think>\n\nIt is 5.", "", "It is 5."),
        ("<Plan_1>\nIt is 5.", "</Plan_", None),
    ],
)
def test_an_answer_ends_the_run_and_anything_else_does_not(body: str, closed_by: str, answer: str | None) -> None:
    assert read_plan(body, 1, closed_by=closed_by).answer == answer


@pytest.mark.parametrize(
    ("raw", "text", "nested"),
    [
        ("\nx\n", "x", 0),
        ("<execution_1.1>\nx", "x", 1),
        ("x <Plan_2> </prompt_1.1>", "x <Plan_2> </prompt_1.1>", 2),
        ("as <\\Plan_1> says", "as <Plan_1> says", 0),
    ],
)
def test_an_executor_writes_text_only(raw: str, text: str, nested: int) -> None:
    assert read_execution(raw) == (text, (("nested", nested),) if nested else ())


def test_repairs_add_up_by_kind() -> None:
    assert merge_repairs((("nested", 1), ("variant", 2)), (), (("nested", 3),)) == (("nested", 4), ("variant", 2))


# What a released model wrote


def test_released_trajectories_read_as_they_are_written(shared_data: Path) -> None:
    released, repaired = rows(shared_data / "sprint_trajectories_dev.jsonl"), 0
    for row in released:
        read = parse(row["response"])
        assert read.question == row["problem"].strip()
        assert read.final_answer
        repaired += bool(read.repairs)
        if not read.repairs:
            lines = [[line for line in text.split("\n") if line] for text in (render(read), row["response"])]
            assert lines[0] == lines[1]
    assert (len(released), repaired) == (120, 2)


def test_released_trajectories_may_be_cut_anywhere(shared_data: Path) -> None:
    first = json.loads((shared_data / "sprint_trajectories_dev.jsonl").read_text().partition("\n")[0])["response"]
    stages = parse(first).stages
    for cut in range(0, len(first), 97):
        complete = len(re.findall(r"</Execution_\d+>", first[:cut]))
        assert parse(first[:cut]).stages[:complete] == stages[:complete]


def test_the_patterns_for_unfinished_text_find_the_tags_and_prompts_that_are_rendered() -> None:
    plan = protocol.render_plan(1, (Prompt("Add 2\nand 3", "Split it."), Prompt("Name 4")), "Then add.")
    prompts = re.findall(protocol.PROMPT_PATTERN, plan)
    assert [(i, j, text.strip()) for i, j, text in prompts] == [("1", "1", "Add 2\nand 3"), ("1", "2", "Name 4")]
    assert re.findall(protocol.PROMPT_PATTERN, "<prompt_1.1> Ad") == [("1", "1", " Ad")]
    rest = re.sub(protocol.PROMPT_PATTERN, "", plan) + protocol.render_executions(1, (Execution("5"),))
    assert re.sub(protocol.TAG_PATTERN, "", rest).split() == ["Split", "it.", "Then", "add.", "5"]


def test_a_context_says_which_execution_it_opens() -> None:
    assert protocol.open_execution_numbers(protocol.close_plan(2) + protocol.open_execution(2, 3)) == (2, 3)
    assert protocol.open_execution_numbers(protocol.render_executions(1, (Execution("5"),))) is None
