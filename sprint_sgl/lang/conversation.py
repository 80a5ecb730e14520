"""Conversations as one question: every program answers a question, and what was said before it is part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.calls import prompt

_TEXT = prompt("conversation")


class Turn(NamedTuple):
    """What somebody said; `name` tells several of one role apart."""

    role: str
    text: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.role} ({self.name}): {self.text}" if self.name else f"{self.role}: {self.text}"


def conversation(turns: Sequence[Turn]) -> str:
    """The one message of a user, or the last one with what was said before it. Raises BadInput."""
    if not turns:
        raise BadInput("there is no message to answer")
    *before, last = turns
    if last.role != "user":
        raise BadInput(f"the last message must be a user's, got one of role {last.role!r}")
    if not before:
        return last.text
    said = "\n\n".join(map(str, before))
    return _TEXT.substitute(conversation=said, question=last.text)
