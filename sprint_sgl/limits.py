"""How large the numbers are that may be asked for: beyond these a runtime, a socket or a clock would fail later."""

from __future__ import annotations

import math

from sprint_sgl.errors import BadInput

COUNT_LIMIT = 2**31 - 1  # of tokens, stages and such: runtimes take no larger number
SECONDS_LIMIT = 10**6  # sockets count milliseconds in 32 bits
REQUEST_LIMIT = 600.0  # seconds that one request to a runtime may take, unless the caller gives another limit


def checked_count(name: str, value: object) -> int:
    """Raises BadInput for what is no whole number from 1 to COUNT_LIMIT."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= COUNT_LIMIT:
        return value
    raise BadInput(f"{name} must be a whole number from 1 to {COUNT_LIMIT:,}, got {value!r}")


def checked_seconds(name: str, value: object) -> float:
    """Raises BadInput for what is no number of seconds above 0 and up to SECONDS_LIMIT."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= SECONDS_LIMIT:
        return value
    raise BadInput(f"{name} must be a number of seconds above 0 and up to {SECONDS_LIMIT:,}, got {value!r}")


def checked_temperature(value: object) -> float:
    """Raises BadInput for what is no number from 0 on."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    raise BadInput(f"temperature must be a number, at least 0, got {value!r}")
