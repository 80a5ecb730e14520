"""Where the seconds of runs go: what each answer waited for, by the runtime's own time stamps.

A run's wall clock is the sum of the calls on its critical path and of the gaps between them, which are our Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from statistics import fmean

from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.timeline import bars_by_clock


@dataclass(frozen=True)
class Profile:
    """Seconds per question on the critical path, on which `calls` requests wrote `tokens` tokens.

    decode      writing the tokens
    prefill     computing prompts at forks and joins
    queue       waiting for other requests
    tokenising  from a request's arrival to the scheduler
    http        both ways, and detokenising the reply
    tools       calls of tools
    program     before, between and after the calls: Python on our side
    """

    decode: float
    prefill: float
    queue: float
    tokenising: float
    http: float
    tools: float
    program: float
    tokens: float
    calls: float

    @property
    def seconds(self) -> float:
        return self.decode + self.prefill + self.queue + self.tokenising + self.http + self.tools + self.program

    @property
    def step(self) -> float:
        """Return the seconds per token on the critical path."""
        return self.decode / self.tokens if self.tokens else 0.0


def profile(trajectory: Trajectory) -> Profile | None:
    """Return where a run's time went; None if its calls have no times or the runtime did not stamp its requests."""
    bars = sorted((bar for bar in bars_by_clock(trajectory) if bar.critical), key=lambda bar: bar.start)
    timings = [bar.timing for bar in bars if bar.timing is not None]
    tools = sum(bar.end - bar.start for bar in bars if bar.tool)
    if (
        not bars
        or any(bar.timing is None and not bar.tool for bar in bars)
        or any(bar.end <= bar.start for bar in bars)
        or trajectory.seconds <= 0
    ):
        return None
    inside = sum(timing.total - timing.reply for timing in timings)
    called = sum(min(bar.end, after.start) - bar.start for bar, after in pairwise(bars)) + bars[-1].end - bars[-1].start
    return Profile(
        decode=sum(timing.decode for timing in timings),
        prefill=sum(timing.prefill for timing in timings),
        queue=sum(timing.queue for timing in timings),
        tokenising=sum(timing.tokenising for timing in timings),
        http=called - inside - tools,
        tools=tools,
        program=trajectory.seconds - called,
        tokens=sum(bar.tokens for bar in bars),
        calls=len(bars),
    )


def mean_profile(profiles: Sequence[Profile]) -> Profile:
    """Return the mean of at least one profile."""
    return Profile(*map(fmean, zip(*map(astuple, profiles), strict=True)))
