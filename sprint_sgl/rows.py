"""Training rows: one user's and one assistant's message, the context and what is trained."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
TREE = "tree"  # the channel of a row that is laid out as a tree (training/tree/layout.py)


def make_row(context: str, response: str, channel: str | None = None) -> Row:
    """Return a row; ms-swift can report the loss of each channel."""
    messages = [{"role": "user", "content": context}, {"role": "assistant", "content": response}]
    return {"messages": messages, "channel": channel} if channel else {"messages": messages}


def row_text(row: Row) -> str:
    return "".join(message["content"] for message in row["messages"])
