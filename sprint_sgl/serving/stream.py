"""What the branches of a run write, sorted as it appears: reasoning in its order, the answer, and who wrote what.

Executors write side by side; a reader of the reasoning wants one text. Planner text goes out at once, executions where
they stand in the trajectory, when their stage is complete.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sprint_sgl import protocol
from sprint_sgl.lang.calls import Branch
from sprint_sgl.lang.program import Program
from sprint_sgl.protocol.lexer import find_tags
from sprint_sgl.runtime.messages import held_back
from sprint_sgl.trajectory import Execution, Trajectory

_PARTIAL_TAG = re.compile(r"<[/\w.]*$")  # what may become a tag


@dataclass(frozen=True)
class ReasoningPiece:
    text: str


@dataclass(frozen=True)
class AnswerPiece:
    text: str


@dataclass(frozen=True)
class BranchPiece:
    """What one branch has written, as it writes it."""

    branch: Branch
    text: str


Piece = ReasoningPiece | AnswerPiece | BranchPiece


def reasoning_text(trajectory: Trajectory) -> str:
    """The trajectory up to its answer: the thought, or all stages with their tags."""
    return trajectory.thought or protocol.render_stages(trajectory).strip()


def cut_at_stop(text: str, stops: list[str]) -> str:
    """The text up to the first of the stop strings."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


@dataclass
class PieceSorter:
    """Takes what a program's watcher is told, from one thread at a time, and says what a client is to be sent."""

    program: Program
    stops: list[str] = field(default_factory=list)
    _stage: int = 1
    _executions: dict[int, str] = field(default_factory=dict)
    _planner: str = ""  # of its text, what has not been sent
    _answer: str | None = None  # the answer as far as it is written
    _sent: str = ""  # of the answer

    def feed(self, branch: Branch, text: str) -> list[Piece]:
        pieces: list[Piece] = [BranchPiece(branch, text)]
        if branch.stage > self._stage:
            pieces += self._close_stage()
            self._stage = branch.stage
        if branch.prompt is not None:
            self._executions[branch.prompt] = self._executions.get(branch.prompt, "") + text
        elif self._answer is None:
            pieces += self._plan(text)
        else:
            self._answer += text
            pieces += self._answered()
        return pieces

    def _plan(self, text: str) -> list[Piece]:
        self._planner += text
        mark = self.program.answer_after
        before, found, after = self._planner.partition(mark) if mark else (self._planner, "", "")
        if found:
            self._planner, self._answer = "", after
            return [ReasoningPiece(before), *self._answered()] if before else self._answered()
        ready = len(before) - (held_back(before, mark) if mark else 0)
        self._planner = before[ready:]
        return [ReasoningPiece(before[:ready])] if ready else []

    def _close_stage(self) -> list[Piece]:
        if not self._executions:
            return []
        texts = [protocol.read_execution(text)[0] for _, text in sorted(self._executions.items())]
        self._executions = {}
        return [ReasoningPiece(protocol.render_executions(self._stage, [Execution(text) for text in texts]))]

    def _answered(self, whole: str | None = None) -> list[Piece]:
        """What of the answer can be sent: not white space at its ends, nothing that may become a tag or a stop."""
        known = cut_at_stop(whole if whole is not None else (self._answer or "").lstrip(), self.stops)
        if whole is None:
            known = known[: next((tag.start for tag in find_tags(known)), len(known))]
            known = known.partition(protocol.THOUGHT_CLOSE)[0]
            known = _PARTIAL_TAG.sub("", known[: len(known) - held_back(known, self.stops)]).rstrip()
        rest = known[len(self._sent) :] if known.startswith(self._sent) else ""
        self._sent += rest
        return [AnswerPiece(rest)] if rest else []

    def finish(self, answer: str) -> list[Piece]:
        """What is left to send once the run has ended with that answer."""
        left: list[Piece] = [ReasoningPiece(self._planner)] if self._planner.strip() else []
        self._planner = ""
        return [*self._close_stage(), *left, *self._answered(answer)]
