"""Sorts what the branches of a run write into pieces of reasoning and of the answer, as it is written.

Executors write in parallel, while the reasoning is one text. Planner text is sent at once; executions are sent in the
order of the trajectory, when their stage is complete.
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

_PARTIAL_TAG = re.compile(r"<[/\w.]*$")  # a text's end that may become a tag


@dataclass(frozen=True)
class ReasoningPiece:
    text: str


@dataclass(frozen=True)
class AnswerPiece:
    text: str


@dataclass(frozen=True)
class BranchPiece:
    """Text of one branch, as it is written."""

    branch: Branch
    text: str


Piece = ReasoningPiece | AnswerPiece | BranchPiece


def reasoning_text(trajectory: Trajectory) -> str:
    """Return the trajectory up to its answer: the thought, or all stages with their tags."""
    return trajectory.thought or protocol.render_stages(trajectory).strip()


def cut_at_stop(text: str, stops: list[str]) -> str:
    """Return the text up to the first stop string."""
    ends = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


@dataclass
class PieceSorter:
    """Turns the texts that a program passes to its watcher, one thread at a time, into pieces for the client."""

    program: Program
    stops: list[str] = field(default_factory=list)
    _stage: int = 1
    _executions: dict[int, str] = field(default_factory=dict)
    _planner: str = ""  # planner text that has not been sent
    _answer: str | None = None  # the answer as far as it is written
    _sent: str = ""  # the part of the answer that has been sent

    def feed(self, branch: Branch, text: str) -> list[Piece]:
        pieces: list[Piece] = [BranchPiece(branch, text)]
        if branch.stage > self._stage:
            pieces += self._close_stage()
            self._stage = branch.stage
        if branch.prompt is not None:
            self._executions[branch.prompt] = self._executions.get(branch.prompt, "") + text
        elif self._answer is None:
            pieces += self._feed_planner(text)
        else:
            self._answer += text
            pieces += self._take_answer()
        return pieces

    def _feed_planner(self, text: str) -> list[Piece]:
        self._planner += text
        mark = self.program.answer_after
        before, found, after = self._planner.partition(mark) if mark else (self._planner, "", "")
        if found:
            self._planner, self._answer = "", after
            return [ReasoningPiece(before), *self._take_answer()] if before else self._take_answer()
        ready = len(before) - (held_back(before, mark) if mark else 0)
        self._planner = before[ready:]
        return [ReasoningPiece(before[:ready])] if ready else []

    def _close_stage(self) -> list[Piece]:
        if not self._executions:
            return []
        texts = [protocol.read_execution(text)[0] for _, text in sorted(self._executions.items())]
        self._executions = {}
        return [ReasoningPiece(protocol.render_executions(self._stage, [Execution(text) for text in texts]))]

    def _take_answer(self, whole: str | None = None) -> list[Piece]:
        """Return the unsent part of the answer, without outer white space and without a possible tag or stop string.

        `whole` is the answer of a run that has ended, all of which can be sent.
        """
        text = cut_at_stop(whole if whole is not None else (self._answer or "").lstrip(), self.stops)
        if whole is None:
            text = text[: next((tag.start for tag in find_tags(text)), len(text))]
            text = text.partition(protocol.THOUGHT_CLOSE)[0]
            text = _PARTIAL_TAG.sub("", text[: len(text) - held_back(text, self.stops)]).rstrip()
        unsent = text[len(self._sent) :] if text.startswith(self._sent) else ""
        self._sent += unsent
        return [AnswerPiece(unsent)] if unsent else []

    def finish(self, answer: str) -> list[Piece]:
        """Return what is left to send once the run has ended with this answer."""
        planner: list[Piece] = [ReasoningPiece(self._planner)] if self._planner.strip() else []
        self._planner = ""
        return [*self._close_stage(), *planner, *self._take_answer(answer)]
