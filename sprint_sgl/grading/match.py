"""What a comparison of two answers comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Match(Enum):
    """UNDECIDED: one of the two cannot be read whole, or the limits of time and memory do not suffice."""

    SAME = "same"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """`reason` says why the match is undecided."""

    match: Match
    reason: str = ""


def any_of(matches: Iterable[Match]) -> Match:
    """SAME where one is, DIFFERENT where all are."""
    return _combine(matches, by=Match.SAME, otherwise=Match.DIFFERENT)


def all_of(matches: Iterable[Match]) -> Match:
    """SAME where all are, DIFFERENT where one is."""
    return _combine(matches, by=Match.DIFFERENT, otherwise=Match.SAME)


def _combine(matches: Iterable[Match], by: Match, otherwise: Match) -> Match:
    """Stop at the first match that settles the matter; one that is undecided leaves it open."""
    result = otherwise
    for match in matches:
        if match is by:
            return match
        if match is Match.UNDECIDED:
            result = match
    return result


def at_most(limit: Match, match: Match) -> Match:
    """The limit in the place of SAME."""
    return limit if match is Match.SAME else match
