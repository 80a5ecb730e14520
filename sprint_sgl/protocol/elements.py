"""What the reader collects of a text, before it becomes a trajectory: elements as written, right or wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sprint_sgl.protocol.lexer import Key, Kind


@dataclass
class WrittenPrompt:
    key: Key
    text: str
    lead: str


@dataclass
class WrittenExecution:
    """What stands for an execution; `spare` if the planner wrote it into its plan, `cut` if the text ends in it."""

    key: Key
    text: str
    spare: bool
    cut: bool = False


@dataclass
class WrittenStage:
    """A stage before its prompts are numbered and its executions matched.

    written    a tag opened the plan; else its text or prompts stood alone
    blocked    an execution block has followed the plan
    noted      that block says that there is no prompt
    excused    an answer or the end of the text has followed the plan: it needs neither prompt nor block
    """

    number: int | None
    position: int
    written: bool = True
    prompts: list[WrittenPrompt] = field(default_factory=list)
    executions: list[WrittenExecution] = field(default_factory=list)
    tail: str = ""
    blocked: bool = False
    noted: bool = False
    excused: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that mean this stage."""
        return (self.position,) if self.number is None else (self.position, self.number)


@dataclass
class Element:
    """An open element; `written` if a tag opened it, `sealed` if its own closing tag is the next of its kind."""

    key: Key
    stage: WrittenStage
    written: bool = True
    sealed: bool = False
    spare: bool = False
    pieces: list[str] = field(default_factory=list)
    filled: bool = False
    quoted: Counter[Key] = field(default_factory=Counter)

    @property
    def kind(self) -> Kind:
        return self.key[0]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def blank(self) -> bool:
        return not self.filled and not (self.kind == "plan" and self.stage.prompts)

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.filled = self.filled or bool(text.strip())

    def take(self) -> str:
        """The text so far, which is no longer part of the element."""
        text = self.text
        self.pieces, self.filled = [], False
        return text
