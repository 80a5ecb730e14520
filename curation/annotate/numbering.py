"""A thought as numbered lines, which a step names by their numbers (paper, appendix A.2).

Lossless: the lines joined with nothing between them are the text. Blank lines end the line before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_CHARS = 240
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"')\]]*\s+(?=\S)")


def split_lines(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """The text's lines in order, each with the white space that follows it; a longer one as its sentences."""
    return [piece for line in _lines(text) for piece in _sentences(line, max_chars)]


def _lines(text: str) -> Iterator[str]:
    """Lines with something in them; blank ones belong to the line before, at the start to the first."""
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


def numbered(lines: Sequence[str]) -> str:
    """What an annotator reads: each line between its number and its number again."""
    return "\n".join(f"{n}: {line.strip()} :{n}" for n, line in enumerate(lines, 1))
