"""A thought as numbered lines, by whose numbers components refer to it (paper, appendix A.2).

The lines joined together are the text. Blank lines belong to the line before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_CHARS = 240
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"')\]]*\s+(?=\S)")


def split_lines(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Split a text into lines, and lines longer than `max_chars` into sentences, each with the white space after it."""
    return [piece for line in _lines(text) for piece in _sentences(line, max_chars)]


def _lines(text: str) -> Iterator[str]:
    """Yield lines that are not blank. Blank lines join the line before, or the first line if they come before it."""
    pending = ""
    for line in text.splitlines(keepends=True):
        if line.strip() and pending.strip():
            yield pending
            pending = ""
        pending += line
    if pending:
        yield pending


def _sentences(line: str, max_chars: int) -> Iterator[str]:
    if len(line) <= max_chars:
        yield line
        return
    start = 0
    for end in (match.end() for match in _SENTENCE_END.finditer(line)):
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]


def number_lines(lines: Sequence[str]) -> str:
    """Return the text that a model reads: each line between its number and its number again."""
    return "\n".join(f"{n}: {line.strip()} :{n}" for n, line in enumerate(lines, 1))
