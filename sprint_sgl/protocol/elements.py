"""Stages of a text as a model wrote them, correct or not; `model_output` turns them into a trajectory."""

from __future__ import annotations

from dataclasses import dataclass, field

from sprint_sgl.protocol.lexer import TagKey


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
