"""Conversations as one question: programs answer a single question, so earlier turns are put into its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.question import ASKED, EARLIER


class Turn(NamedTuple):
    """A message of a conversation; `name` tells several speakers of one role apart."""

    role: str
    text: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.role} ({self.name}): {self.text}" if self.name else f"{self.role}: {self.text}"


def question_from(turns: Sequence[Turn]) -> str:
    """Return the user's last message, with the turns before it if there are any. Raises BadInput."""
    if not turns:
        raise BadInput("there is no message to answer")
    *before, last = turns
    if last.role != "user":
        raise BadInput(f"the last message must be a user's, got one of role {last.role!r}")
    if not before:
        return last.text
    earlier = "\n\n".join(map(str, before))
    return f"{EARLIER}\n\n{earlier}\n\n{ASKED}\n\n{last.text}"
