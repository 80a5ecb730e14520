"""Elements of a text as a model wrote them, correct or not; `reading` turns them into a trajectory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sprint_sgl.protocol.lexer import TagKey, TagKind


@dataclass
class WrittenPrompt:
    key: TagKey
    text: str
    lead: str


@dataclass
class WrittenExecution:
    """An execution's text: `from_plan` if it stood inside the plan, `cut` if the whole text ends inside it."""

    key: TagKey
    text: str
    from_plan: bool
    cut: bool = False


@dataclass
class WrittenStage:
    """A stage before its prompts are numbered and its executions matched.

    explicit          a tag opened the plan; otherwise text or prompts outside a plan imply it
    has_block         an execution block follows the plan
    says_no_prompt    that block is the line `No prompt to execute.`
    may_lack_prompts  an answer or the end of the text follows the plan
    """

    number: int | None
    position: int
    explicit: bool = True
    prompts: list[WrittenPrompt] = field(default_factory=list)
    executions: list[WrittenExecution] = field(default_factory=list)
    tail: str = ""
    has_block: bool = False
    says_no_prompt: bool = False
    may_lack_prompts: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that may refer to this stage: its position and the number in its tag."""
        return (self.position,) if self.number is None else (self.position, self.number)


@dataclass
class Element:
    """An open element on the parser's stack.

    explicit        a tag opened the element
    has_own_close   the next tag of its kind is the closing tag with its numbers
    from_plan       it stands inside a plan, where executions do not belong
    filled          it holds more than whitespace
    quoted          opening tags kept as text in it, whose closing tags are text too
    """

    key: TagKey
    stage: WrittenStage
    explicit: bool = True
    has_own_close: bool = False
    from_plan: bool = False
    pieces: list[str] = field(default_factory=list)
    filled: bool = False
    quoted: Counter[TagKey] = field(default_factory=Counter)

    @property
    def kind(self) -> TagKind:
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
        """Remove the text so far from the element and return it."""
        text = self.text
        self.pieces, self.filled = [], False
        return text
