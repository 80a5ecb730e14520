"""Checks of what a person gives: limits of numbers, which would fail later in a runtime, a socket or a clock; names."""

from __future__ import annotations

import math
from collections.abc import Collection
from difflib import get_close_matches

from sprint_sgl.errors import BadInput

COUNT_LIMIT = 2**31 - 1  # of tokens, stages and the like; runtimes take 32-bit integers
SECONDS_LIMIT = 10**6  # sockets count milliseconds in 32 bits
REQUEST_LIMIT = 600.0  # seconds that one request to a runtime may take, unless the caller gives another limit


SIMILARITY = 0.73  # a name this similar is suggested, in [0, 1]: max_tokens and max_output_tokens are just above


def suggestion(name: str, known: Collection[str]) -> str:
    """Return ", did you mean NAME?" for the known name that is nearest, and "" if none is near."""
    near = get_close_matches(name, known, n=1, cutoff=SIMILARITY)
    return f", did you mean {near[0]}?" if near else ""


def checked_count(name: str, value: object) -> int:
    """Return the value. Raises BadInput unless it is a whole number from 1 to COUNT_LIMIT."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= COUNT_LIMIT:
        return value
    raise BadInput(f"{name} must be a whole number from 1 to {COUNT_LIMIT:,}, got {value!r}")


def checked_seconds(name: str, value: object) -> float:
    """Return the value. Raises BadInput unless it is a number in (0, SECONDS_LIMIT]."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= SECONDS_LIMIT:
        return value
    raise BadInput(f"{name} must be a number of seconds above 0 and up to {SECONDS_LIMIT:,}, got {value!r}")


def checked_temperature(value: object) -> float:
    """Return the value. Raises BadInput unless it is a finite number, at least 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    raise BadInput(f"temperature must be a number, at least 0, got {value!r}")
