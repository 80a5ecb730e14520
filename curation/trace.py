"""A reasoning trace as a list of steps with their dependencies (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Step:
    """S_i = (P_i, E_i): the plan, the prompt for an executor, the execution, and a comment on the result.

    A step without an execution is plan-only and needs no prompt.

    parents           numbers (from 1, in source order) of the steps whose results this step needs
    execution_lines   number of lines that an annotator counted, which may be sentences; 0 for the lines of the text
    """

    plan: str = ""
    prompt: str = ""
    execution: str = ""
    comment: str = ""
    parents: tuple[int, ...] = ()
    execution_lines: int = 0

    @property
    def text(self) -> str:
        """Return the step's text in the sequential trace."""
        return join_lines(self.plan, self.execution, self.comment)


@dataclass(frozen=True)
class Trace:
    """A question, the steps of one trace that answers it, and the answer.

    thought     the original text, if the steps were extracted from one
    annotator   the models or rules that extracted the steps
    """

    id: str
    question: str
    steps: tuple[Step, ...]
    answer: str
    thought: str = ""
    annotator: str = "written"

    def __post_init__(self) -> None:
        for number, step in enumerate(self.steps, 1):
            if bad := [parent for parent in step.parents if not 1 <= parent < number]:
                raise ValueError(f"trace {self.id!r}: step {number} names parent {bad[0]}; parents come before it")
            if step.execution and not step.prompt:
                raise ValueError(f"trace {self.id!r}: step {number} has an execution and no prompt")

    @property
    def text(self) -> str:
        """Return the trace in sequential order: the original text, or one paragraph per step."""
        return self.thought or "\n\n".join(step.text for step in self.steps)

    def to_dict(self) -> dict[str, object]:
        row: dict[str, object] = _ADAPTER.dump_python(self, mode="json")
        return row

    @staticmethod
    def from_dict(row: Mapping[str, object]) -> Trace:
        return _ADAPTER.validate_python(row)


def join_lines(*pieces: str) -> str:
    return "\n".join(piece for piece in pieces if piece)


_ADAPTER = TypeAdapter(Trace)
