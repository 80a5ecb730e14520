"""Training rows: the context as the user's message, the trained response as the assistant's."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
TREE = "tree"  # the channel of a row that is laid out as a tree (training/tree/layout.py)


def make_row(context: str, response: str, channel: str | None = None) -> Row:
    """Return a training row; ms-swift reports the loss of each channel."""
    messages = [{"role": "user", "content": context}, {"role": "assistant", "content": response}]
    return {"messages": messages, "channel": channel} if channel else {"messages": messages}


def row_text(row: Row) -> str:
    return "".join(message["content"] for message in row["messages"])
