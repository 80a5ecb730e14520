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
    result = Match.DIFFERENT
    for match in matches:
        if match is Match.SAME:
            return match
        if match is Match.UNDECIDED:
            result = match
    return result


def all_of(matches: Iterable[Match]) -> Match:
    """SAME where all are, DIFFERENT where one is."""
    result = Match.SAME
    for match in matches:
        if match is Match.DIFFERENT:
            return match
        if match is Match.UNDECIDED:
            result = match
    return result


def at_most(limit: Match, match: Match) -> Match:
    """The limit in the place of SAME."""
    return limit if match is Match.SAME else match
