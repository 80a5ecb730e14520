"""Split an answer's tokens at separators, operators and brackets, or into the cells of a matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sprint_sgl.grading.notation import Token, UnreadableAnswer

OPENING = ("(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil")
CLOSING = (")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil")
SEPARATORS = {",", ";"}

Part = Sequence[Token]


def end_of(found: Part, start: int) -> int:
    """Return where the bracket that opens at `start` closes, by any closing bracket of the same depth."""
    depth = 0
    for at in range(start, len(found)):
        depth += (found[at].text in OPENING) - (found[at].text in CLOSING)
        if depth == 0:
            return at
    raise UnreadableAnswer("a bracket that is not closed")


def split_at(found: Part, wanted: set[str]) -> tuple[list[Part], list[str]]:
    """Return the parts between those signs outside brackets, and the signs."""
    parts: list[Part] = []
    signs: list[str] = []
    depth = start = environments = 0
    for at, token in enumerate(found):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        environments += (token.text == r"\begin") - (token.text == r"\end")
        if depth < 0:
            raise UnreadableAnswer("a bracket that was not opened")
        if not depth and not environments and token.text in wanted:
            parts.append(found[start:at])
            signs.append(token.text)
            start = at + 1
    if depth:
        raise UnreadableAnswer("a bracket that is not closed")
    return [*parts, found[start:]], signs


def split(found: Part, signs: set[str], words: set[str] | None = None) -> list[Part]:
    """Return the parts between separators outside brackets; "a, and b" has two."""
    parts, separators = split_at(found, signs | (words or set()))
    if words and any(word in words for word in separators):
        parts = [part for part in parts if part] or parts
    return parts


def matrix_cells(found: Part) -> list[list[Part]] | None:
    """Return the cells if the tokens are one matrix, else None."""
    if not found or found[0].text != r"\begin":
        return None
    text = "".join(token.text for token in found)
    named = re.match(r"\\begin\{(?P<name>[pb]?matrix|array)\}", text)
    if named is None or not text.endswith(rf"\end{{{named['name']}}}") or text.count(r"\begin") > 1:
        return None
    body = list(found[4:-4])
    if named["name"] == "array" and body and body[0].text == "{":
        body = body[end_of(body, 0) + 1 :]
    rows = [row for row in split(body, {r"\\"}) if row]
    return [split(row, {"&"}) for row in rows]
