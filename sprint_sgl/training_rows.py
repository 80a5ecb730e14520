"""Training rows: the context as the user's message, the trained response as the assistant's."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
TREE = "tree"  # the channel of a row that is laid out as a tree (training/tree/layout.py)
TREE_OF = f"{TREE}_"  # how the channel begins in formats other than SPRINT's, before the format's name


def tree_channel(format: str) -> str:
    """Return the channel of tree rows in this format (sprint_sgl/protocol/formats.py)."""
    return TREE if format == "sprint" else TREE_OF + format


def tree_format(row: Row) -> str | None:
    """Return the name of the format of a row that is laid out as a tree; None for other rows."""
    channel = row.get("channel")
    if channel == TREE:
        return "sprint"
    return channel.removeprefix(TREE_OF) if isinstance(channel, str) and channel.startswith(TREE_OF) else None


def make_row(context: str, response: str, channel: str | None = None) -> Row:
    """Return a training row; ms-swift reports the loss of each channel."""
    messages = [{"role": "user", "content": context}, {"role": "assistant", "content": response}]
    return {"messages": messages, "channel": channel} if channel else {"messages": messages}


def row_text(row: Row) -> str:
    return "".join(message["content"] for message in row["messages"])
