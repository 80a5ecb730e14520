"""Conversations: what was said before is part of the next question, and what goes wrong costs one question only."""

import io
import os
import signal
import threading

import pytest
from rich.console import Console

from sprint_sgl.cli.chat import Chat
from sprint_sgl.cli.solve import SolveOptions
from sprint_sgl.errors import BadInput, ProgramFailed
from sprint_sgl.lang.conversation import Turn, question_from
from sprint_sgl.tasks.countdown.checker import verdict_on
from sprint_sgl.tasks.question import MAX_CHARACTERS, last_question
from tests.fakes.scripted import ScriptedBackend


class Scripted(ScriptedBackend):
    """A runtime that answers with the number of its questions so far, and fails at the word FAIL."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__(self.answer, pause=lambda context: pause)
        self.asked, self.closed = threading.Event(), threading.Event()

    def answer(self, context: str) -> str:
        if "FAIL" in context.rpartition("Now answer this")[2]:
            raise RuntimeError("no such thing")
        return f"<Final_answer>\nanswer {len(self.requests) + 1}\n</Final_answer>\n</think>"

    def session(self) -> "Scripted":
        return self

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        self.closed.set()

    def _wait(self, seconds: float, request_id: str | None) -> bool:
        self.asked.set()
        return self.closed.wait(seconds)


def chat_with(backend: Scripted) -> Chat:
    return Chat(SolveOptions(), backend, Console(file=io.StringIO(), width=100))  # type: ignore[arg-type]


def hold(chat: Chat, monkeypatch: pytest.MonkeyPatch, *lines: str) -> str:
    typed = iter(lines)

    def read(prompt: str = "") -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    chat.run()
    assert isinstance(chat.console.file, io.StringIO)
    return chat.console.file.getvalue()


def test_what_was_said_is_part_of_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Scripted()
    shown = hold(chat_with(backend), monkeypatch, "first?", "", "second?")
    assert "[answer]\n  answer 1" in shown
    assert "sequential of" in shown
    assert "first?" not in backend.requests[1].context.partition("What was said before")[0]
    assert "user: first?\n\nassistant: answer 1" in backend.requests[1].context
    assert "second?" in backend.requests[1].context


def test_new_forgets_and_quit_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Scripted()
    hold(chat_with(backend), monkeypatch, "first?", "/new", "second?", "/quit", "third?")
    assert len(backend.requests) == 2
    assert "first?" not in backend.requests[1].context


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_failure_costs_its_own_question_only(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, chat = Scripted(), None
    chat = chat_with(backend)
    hold(chat, monkeypatch, "first?", "Now answer this FAIL", "x" * (MAX_CHARACTERS + 1), "second?")
    assert [turn.text for turn in chat.turns if turn.role == "user"] == ["first?", "second?"]
    with pytest.raises(ProgramFailed, match="no such thing"):
        chat.ask("Now answer this FAIL")


def test_ctrl_c_stops_an_answer_and_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Scripted(pause=60)
    chat = chat_with(backend)

    def interrupt() -> None:
        backend.asked.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    hold(chat, monkeypatch, "first?")
    assert backend.closed.is_set()
    assert chat.turns == []


def test_the_last_question_of_a_conversation_is_the_one_that_is_judged() -> None:
    turns = [
        Turn("user", "Use 5, 20 and 4 to make 80"),
        Turn("assistant", "4*20"),
        Turn("user", "Use 15, 3 and 62 to make 80"),
    ]
    found = verdict_on(question_from(turns), "(3+62)+15")
    assert found
    assert found.correct
    assert last_question(question_from(turns)) == last_question(turns[-1].text) == turns[-1].text


def test_a_conversation_ends_with_a_users_message() -> None:
    assert question_from([Turn("user", "only this")]) == "only this"
    with pytest.raises(BadInput, match="role 'assistant'"):
        question_from([Turn("user", "q"), Turn("assistant", "a")])
