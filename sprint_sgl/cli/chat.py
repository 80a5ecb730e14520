"""A conversation in the terminal: each question includes the turns before it; answers are shown stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console

from sprint_sgl.cli.solve import SolveOptions, run_sprint, say_if_unfit, say_notation, say_scope
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, ProgramFailed
from sprint_sgl.lang.calls import model_note
from sprint_sgl.lang.conversation import Turn, question_from
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.view.terminal import cost_line

NEW, QUIT, SHOW_HELP = "/new", "/quit", "/help"
HELP = f"{NEW} starts a new conversation, {QUIT} ends, {SHOW_HELP} shows this; Ctrl-C stops an answer"
PROMPT = "you: "


@dataclass
class Chat:
    """A conversation. `turns` gets a question and its answer once it is answered."""

    options: SolveOptions
    endpoint: Endpoint
    console: Console
    turns: list[Turn] = field(default_factory=list)

    def run(self) -> None:
        """Answer the lines that are typed or piped in, until /quit or the end of the input."""
        say_if_unfit(self.endpoint, self.options)
        say_scope(self.endpoint)
        say_notation(self.endpoint)
        say(HELP, style="dim")
        self.endpoint.warm_up()
        for line in self._lines():
            if line == QUIT:
                return
            if line == NEW:
                self.turns.clear()
                say("a new conversation: earlier turns are forgotten", style="dim")
            elif line == SHOW_HELP:
                say(HELP, style="dim")
            elif line.startswith("/") and " " not in line:
                say(f"unknown command {line}; {HELP}", style="red")
            else:
                self._answer_line(line)

    def ask(self, text: str) -> str:
        """Return the answer and add the turn. Raises BadInput and ProgramFailed; Ctrl-C stops the runtime's work."""
        if self.turns and model_note(self.endpoint, "single_questions"):
            self.turns.clear()
            say("this model knows single questions: the earlier turns are left out", style="dim")
        turns = [*self.turns, Turn("user", text)]
        session = self.endpoint.session()
        try:
            run = run_sprint(checked_question(question_from(turns)), self.options, self.console, session)
        except KeyboardInterrupt:
            session.close()
            raise
        answer = str(run["answer"])
        self.turns = [*turns, Turn("assistant", answer)]
        self.console.print(cost_line(run.trajectory), style="dim", highlight=False)
        return answer

    def _answer_line(self, text: str) -> None:
        try:
            self.ask(text)
        except KeyboardInterrupt:
            say("stopped; the question is not part of the conversation", style="yellow")
        except BadInput as error:
            say(f"{error}; {NEW} forgets the earlier turns", style="red")
        except ProgramFailed as error:
            say(f"{error}", style="red")

    def _lines(self) -> Iterator[str]:
        if self.console.is_terminal:
            import readline  # noqa: F401  input() then has a history and arrow keys
        while True:
            try:
                text = input(PROMPT if self.console.is_terminal else "").strip()
            except EOFError:
                return
            if text:
                yield text
