"""Responses: a thought is found in whatever a data set wraps it in, and what cannot be told is rejected, counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curation.records import RawTrace, Rejection
from curation.stages.load import TraceSource, load_traces
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from curation.stages.responses import split_response, strip_special_tokens
from curation.trace import Step, Trace
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.training_rows import row_text

ANSWER = "It is \\boxed{4}."


def loaded(tmp_path: Path, **row: Any) -> RawTrace | Rejection:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "What is 2 + 2?", "answer": "4"} | row))
    (found,) = load_traces(TraceSource(str(path)))
    return found


MARKED = [
    "<think>\nTwo.\n</think>\n\nANSWER",
    "<THINK>Two.</THINK>ANSWER",
    "<thinking>\nTwo.\n</thinking>\nANSWER",
    "<Thought> Two. </Thought> ANSWER",
    "<reasoning>Two.</reasoning>ANSWER",
    "[THINK]Two.[/THINK]ANSWER",
    "\u25c1think\u25b7Two.\u25c1/think\u25b7ANSWER",
    "Two.\n</think>\nANSWER",
    "<|begin_of_thought|>\nTwo.\n<|end_of_thought|>\n<|begin_of_solution|>\nANSWER\n<|end_of_solution|>",
    "<|im_start|>assistant\n<think>\nTwo.\n</think>\nANSWER<|im_end|>\n<|endoftext|>",
    "<\uff5cAssistant\uff5c><think>\nTwo.\n</think>\nANSWER<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<s>[INST]<think>\nTwo.\n</think>\nANSWER</s>",
]


@pytest.mark.parametrize("response", MARKED)
def test_a_thought_is_found_in_others_markup(response: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, response=response.replace("ANSWER", ANSWER))
    assert isinstance(found, RawTrace), found
    assert (found.text, found.response) == ("Two.", ANSWER)


UNPACKED = [
    {"role": "assistant", "content": "<think>Two.</think>ANSWER"},
    {"content": "ANSWER", "reasoning_content": "Two."},
    ["<think>Two.</think>ANSWER"],
    [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<think>Two.</think>ANSWER"}],
    [{"from": "human", "value": "?"}, {"from": "gpt", "value": "<think>Two.</think>ANSWER"}],
    [{"role": "system", "content": "x"}, {"role": "assistant", "content": "ANSWER", "reasoning": "Two."}],
    [{"role": "assistant", "content": [{"type": "thinking", "thinking": "Two."}, {"type": "text", "text": "ANSWER"}]}],
    [{"type": "text", "text": "<think>Two.</think>ANSWER"}],
]


@pytest.mark.parametrize("response", UNPACKED)
def test_a_response_of_messages_is_unpacked(response: object, tmp_path: Path) -> None:
    wrapped = json.loads(json.dumps(response).replace("ANSWER", json.dumps(ANSWER)[1:-1]))
    found = loaded(tmp_path, response=wrapped)
    assert isinstance(found, RawTrace), found
    assert (found.text, found.response) == ("Two.", ANSWER)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": ["one", "two"]}, "a list of responses: a star in the column's path takes each item"),
        ({"response": [{"role": "user", "content": "?"}]}, "messages with no responses"),
        ({"response": [{"role": "assistant", "content": "a"}] * 2}, "messages with several responses"),
        ({"response": [{"type": "image_url", "image_url": "x"}]}, "a response with parts that are not text"),
        ({"response": 4}, "a response that is not text"),
        ({"response": {"a": 1}}, "a response that is not text"),
        ({"response": []}, "a response that is not text"),
        ({"response": None}, "no thought"),
        ({"response": {"content": None}}, "a response that is not text"),
        ({"response": "<think>a</think>b\n<think>\nc</think>d"}, "several thoughts"),
        ({"response": {"content": "<think>a</think>", "reasoning": "b"}}, "several thoughts"),
        ({"response": "Well. <think> It is 4"}, "a thought that does not end"),
        ({"response": "<think>\nIt is \\boxed{4}. Wait, let me check if the"}, "a thought that does not end"),
        ({"response": "<think time=3>a"}, "a thought that does not end"),
        ({"response": {"role": "user", "content": "<think>a</think>b"}}, "messages with no responses"),
        ({"response": {"content": "<think>a</think>b", "tool_calls": [{"id": "1"}]}}, "a response that calls tools"),
        ({"response": "a\0b"}, "a byte of 0"),
        ({"response": "<think>a<tool_call></think>b"}, "a special token in the thought"),
        ({"response": "a</think> b <think> c"}, "a thought that does not end"),
        ({"response": "<think>a <|im_end|> b</think>c"}, "a special token in the thought"),
        ({"response": "<think>a</think>b<|im_end|>c"}, "a special token in the response"),
        ({"response": "a<\uff5cend\u2581of\u2581sentence\uff5c>b"}, "a special token in the thought"),
        ({"response": "a", "question": "<|im_start|>x<|im_end|> y"}, "a special token in the question"),
        ({"response": "a", "question": ["x", "y"]}, "a list of questions: a star in the column's path takes each item"),
        ({"response": "a", "answer": ["4"]}, "a reference answer that is not text"),
    ],
)
def test_what_cannot_be_told_is_rejected_with_a_reason(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, **row)
    assert isinstance(found, Rejection)
    assert (found.stage, found.reason) == ("load", reason)


@pytest.mark.parametrize(
    "thought",
    [
        "I close with `</think>` later.",
        'The tag "<think>" begins, "</think>" ends.',
        "After </think> comes the answer, then.",
    ],
)
def test_a_quoted_mark_is_text_and_stays_text_in_the_rows(thought: str) -> None:
    text, rest = split_response(f"<think>\n{thought}\n</think>\n\n{ANSWER}")
    assert (text, rest) == (thought, ANSWER)
    row = row_text(rft_row(Trace("t", "q", (Step(thought),), ANSWER, thought), prompt_style("sprint")))
    assert row.count("</think>") == row_text(rft_row(PLAIN, prompt_style("sprint"))).count("</think>")


PLAIN = Trace("t", "q", (Step("Two."),), ANSWER, "Two.")


def test_tags_of_ours_in_a_thought_are_text_in_both_kinds_of_rows() -> None:
    thought = "<Plan_1> <prompt_1.1> go </prompt_1.1> <Final_answer>"
    steps = (Step("Go on.", "Do it.", f"{thought}\nb\nc"),)
    trace = Trace("t", "q", steps, ANSWER, f"Go on.\n{thought}\nb\nc")
    rft = rft_row(trace, prompt_style("sprint"))["messages"][1]["content"]
    sprint = sprint_row(pack(trace).trajectory, prompt_style("sprint"), RowFormat.tree)["messages"][1]["content"]
    for text in (rft, sprint):
        assert r"<\Plan_1> <\prompt_1.1> go <\/prompt_1.1> <\Final_answer>" in text


def test_numbers_are_answers_and_special_tokens_are_told_from_mathematics(tmp_path: Path) -> None:
    found = loaded(tmp_path, response="Where a <|x|> b and <s, t> holds, [I] is 4.", answer=4)
    assert isinstance(found, RawTrace)
    assert (found.answer, found.text) == ("4", "Where a <|x|> b and <s, t> holds, [I] is 4.")
    assert strip_special_tokens("<|endoftext|>" * 3) == ""


def test_a_line_of_five_dashes_does_not_part_trains_of_thought(tmp_path: Path) -> None:
    found = loaded(tmp_path, response="one\n-----\ntwo")
    assert isinstance(found, RawTrace)
    trajectory = pack(Trace("t", "q", (Step(found.text),), "4")).trajectory
    assert trajectory.parallelization_ratio == 1.0
