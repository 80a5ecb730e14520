"""What a prefix cache without a limit would do with the same requests: what the real one is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """`cached` tokens of the prompt were not computed by the runtime; times are seconds on one clock."""

    prompt: Sequence[int]
    reply: Sequence[int]
    start: float
    end: float
    cached: int

    @property
    def uncached(self) -> int:
        return len(self.prompt) - self.cached


class PrefixTree:
    """Token sequences by their prefixes, a dictionary a token."""

    def __init__(self) -> None:
        self._root: dict[int, Any] = {}

    def match(self, ids: Iterable[int]) -> int:
        """How many of the first tokens are known."""
        node, known = self._root, 0
        for id in ids:
            if (node := node.get(id)) is None:
                break
            known += 1
        return known

    def insert(self, ids: Iterable[int]) -> None:
        node = self._root
        for id in ids:
            node = node.setdefault(id, {})


def ideal_uncached(requests: Sequence[Request]) -> int:
    """Prompt tokens that have to be computed, if every token that was ever computed is kept.

    A prompt is known from the moment it arrives, a reply when it ends, but for its last token, which nobody has fed to
    the model; the last token of a prompt is always computed, since it gives the first of the reply.
    """
    tree, uncached = PrefixTree(), 0
    events = [(r.start, 1, r) for r in requests] + [(r.end, 0, r) for r in requests]
    for _, arrives, request in sorted(events, key=lambda event: event[:2]):
        if arrives:
            known = tree.match(request.prompt)
            uncached += len(request.prompt) - min(known, len(request.prompt) - 1)
            tree.insert(request.prompt)
        else:
            tree.insert([*request.prompt, *request.reply[:-1]])
    return uncached
