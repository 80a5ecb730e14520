"""An ideal prefix cache without a size limit, as a reference for the real one on the same requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CacheRequest:
    """A request. `cached` is the number of prompt tokens found in the real cache; times are seconds on one clock."""

    prompt: Sequence[int]
    reply: Sequence[int]
    start: float
    end: float
    cached: int

    @property
    def uncached(self) -> int:
        return len(self.prompt) - self.cached


class PrefixTree:
    """Prefix tree of token sequences, with one dictionary for each token."""

    def __init__(self) -> None:
        self._root: dict[int, Any] = {}

    def match(self, ids: Iterable[int]) -> int:
        """Return the length of the longest known prefix."""
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


def ideal_uncached(requests: Sequence[CacheRequest]) -> int:
    """Return the number of prompt tokens to compute if every computed token were kept.

    A prompt is cached from its arrival on, a reply from its end on, except its last token, which was never fed to the
    model. The last token of a prompt is always computed, since it gives the reply's first token.
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
