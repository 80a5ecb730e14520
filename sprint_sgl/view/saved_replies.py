"""Read trajectories from saved replies of `sprint-sgl serve`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sprint_sgl.trajectory import Trajectory


def is_stream(text: str) -> bool:
    """Return whether a text is a stream of server-sent events."""
    return text.startswith(("data:", "event:"))


def is_reply(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("sprint"), Mapping)


def trajectory_from_reply(row: Mapping[str, Any]) -> Trajectory:
    """Return the trajectory of a whole reply, of any OpenAI endpoint. Raises ValueError without one."""
    if "trajectory" not in row["sprint"]:
        raise ValueError('the reply has no trajectory: ask with {"sprint": {"trajectory": true}}')
    return Trajectory.from_dict(row["sprint"]["trajectory"])


def trajectory_from_stream(text: str) -> Trajectory:
    """Return the trajectory of a stream, from its last event with figures. Raises ValueError without one."""
    lines = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    bodies = [event.get("response", event) for event in events if isinstance(event, Mapping)]
    replies = [body for body in bodies if is_reply(body)]
    figures = [reply for reply in replies if "role" not in reply["sprint"]]
    if not figures:
        raise ValueError("the stream ended before its figures")
    return trajectory_from_reply(figures[-1])
