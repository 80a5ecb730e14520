"""The LLM judge, over real HTTP with the real client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sprint_sgl.errors import BadInput, RequestFailed
from sprint_sgl.tasks.base import Question
from sprint_sgl.tasks.judge import OpenAIJudge
from tests.fakes.fake_endpoint import Answer, FakeEndpoint

QUESTION = Question("1", "How much is a half and a half?", "1")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    return "JUDGE_KEY"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("right", True),
        ("Wrong.", False),
        ("Is it right? No: **wrong**", False),
        ("That is not right.", False),
        ("Incorrect", False),
        ("correct", True),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_the_last_word_of_a_reply_is_the_verdict(key: str, reply: str, verdict: bool | None) -> None:
    with FakeEndpoint(lambda request: reply) as endpoint:
        assert OpenAIJudge("m", endpoint.url, key, 5, 0)(QUESTION, "It is one.") is verdict
        (request,) = endpoint.log
        assert endpoint.keys == {"Bearer sk-secret"}
    assert request["temperature"] == 0
    asked = request["messages"][0]["content"]
    assert all(text in asked for text in (QUESTION.text, "It is one.", "\n1\n"))


def test_a_long_answer_is_shown_by_its_end(key: str) -> None:
    with FakeEndpoint(lambda request: "right") as endpoint:
        OpenAIJudge("m", endpoint.url, key, 5, 0)(QUESTION, "x" * 100_000 + "the end")
        assert 20_000 < len(endpoint.log[0]["messages"][0]["content"]) < 21_000
        assert "the end" in endpoint.log[0]["messages"][0]["content"]


def test_a_judge_that_does_not_answer_is_one_clear_error_and_a_missing_key_another(key: str) -> None:
    with FakeEndpoint(lambda request: Answer(status=500)) as endpoint:
        judge = OpenAIJudge("m", endpoint.url, key, 5, 1)
        with pytest.raises(RequestFailed, match="the judge m"):
            judge(QUESTION, "It is one.")
        assert len(endpoint.log) == 2
    for sent in ({"error": "no"}, {"choices": []}, {"choices": [{"message": None}]}):
        script = lambda request, sent=sent: Answer(sent=sent)  # noqa: E731
        with FakeEndpoint(script) as endpoint, pytest.raises(RequestFailed, match="does not answer as an OpenAI"):
            OpenAIJudge("m", endpoint.url, key, 5, 0)(QUESTION, "It is one.")
    parts = Answer(sent={"choices": [{"message": {"content": [{"type": "text", "text": "right"}]}}]})
    with FakeEndpoint(lambda request: parts) as endpoint, pytest.raises(RequestFailed, match="not answer with a text"):
        OpenAIJudge("m", endpoint.url, key, 5, 0)(QUESTION, "It is one.")
    with pytest.raises(BadInput, match="the judge has no key: set OTHER_KEY"):
        replace(judge, key="OTHER_KEY")
