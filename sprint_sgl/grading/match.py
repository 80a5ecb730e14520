"""The result of comparing two answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Match(Enum):
    """UNDECIDED: an answer cannot be read completely, or the limits of time and memory were reached."""

    SAME = "same"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """`reason` says why the match is undecided."""

    match: Match
    reason: str = ""


def any_of(matches: Iterable[Match]) -> Match:
    """Return SAME if any match is, DIFFERENT if all are, else UNDECIDED."""
    return _combine(matches, by=Match.SAME, otherwise=Match.DIFFERENT)


def all_of(matches: Iterable[Match]) -> Match:
    """Return SAME if all matches are, DIFFERENT if any is, else UNDECIDED."""
    return _combine(matches, by=Match.DIFFERENT, otherwise=Match.SAME)


def _combine(matches: Iterable[Match], by: Match, otherwise: Match) -> Match:
    """Return `by` at the first such match, UNDECIDED if any match is undecided, else `otherwise`."""
    result = otherwise
    for match in matches:
        if match is by:
            return match
        if match is Match.UNDECIDED:
            result = match
    return result


def at_most(limit: Match, match: Match) -> Match:
    """Return the match, but the limit instead of SAME."""
    return limit if match is Match.SAME else match
