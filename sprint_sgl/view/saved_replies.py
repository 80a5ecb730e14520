"""Answers of `sprint-sgl serve`, saved as they came: the trajectory of one that was asked for with its trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sprint_sgl.trajectory import Trajectory


def is_stream(text: str) -> bool:
    """Whether a text is a stream of server-sent events."""
    return text.startswith(("data:", "event:"))


def is_reply(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("sprint"), Mapping)


def trajectory_from_reply(row: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a whole answer, of any of OpenAI's shapes. Raises ValueError."""
    if "trajectory" not in row["sprint"]:
        raise ValueError('the answer came without its trajectory: ask with {"sprint": {"trajectory": true}}')
    return Trajectory.from_dict(row["sprint"]["trajectory"])


def trajectory_from_stream(text: str) -> Trajectory:
    """The trajectory of a stream, which its last figures carry. Raises ValueError."""
    lines = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    bodies = [event.get("response", event) for event in events if isinstance(event, Mapping)]
    replies = [body for body in bodies if is_reply(body)]
    figures = [reply for reply in replies if "role" not in reply["sprint"]]
    if not figures:
        raise ValueError("the stream ended before its figures")
    return trajectory_from_reply(figures[-1])
