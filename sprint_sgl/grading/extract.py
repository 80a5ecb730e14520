r"""Extract answers from model text (paper, appendix A.4: final answers stand in `\boxed{}`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sprint_sgl import protocol
from sprint_sgl.grading.prose import FINAL_ANSWER

SHORT_ANSWER = 200  # characters up to which an unboxed final answer is an answer
LONGEST_CONNECTIVE = 60  # characters between two boxes of one answer

_BOX_TOKEN = re.compile(
    r"\\?\\(?P<box>boxed|fbox)(?![A-Za-z])\s*(?:(?P<open>\{)|(?P<bare>[-+]?[\d.][^\s{}$\\]*))?|\\.|(?P<brace>[{}])",
    re.DOTALL,
)
_SIGN = re.compile(
    r"(?P<before>^|[=$(\[:,&]|\\[(\[]|(?:^|[^\\A-Za-z])[A-Za-z]{2,}[^\S\n]+)[^\S\n]*(?P<sign>[-\u2212\u2013]|\\pm)[^\S\n]?$"
)
_FACTOR_BEFORE = re.compile(r"(?:\\(?:neq?|sin|cos|tan|log|ln|mp|sqrt|not)|\bnot|\bnegative|(?<![\w\s])\d+)\s*$")
_FACTOR_BEHIND = re.compile(
    r"\s*(?:/|\^|!|\\(?:pi|cdot|times|sqrt|frac|div)(?![A-Za-z]))[^$\n]*?(?=\$|\\\)|\\\]|\n|\.\s|\.?$)"
)
_LAYOUT = re.compile(r"\\q?quad|\\[()\[\],;:! ]|\\text\s*|\$|[{}\s]")
_NAMING = re.compile(r"\\?[A-Za-z]\w*(?:_\{?\w+\}?)?(?:\([a-z]\))?\s*=\s*$")
# Words between two boxes by which they are two answers, or an answer and a reason.
_APART = re.compile(
    r"\b(?:no|not|wait|actually|but|instead|rather|wrong|check|since|because|where|when|if|with|hence|so|then|thus"
    r"|therefore)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Box:
    """The positions of a box and of its content."""

    start: int
    inside: int
    inside_end: int
    end: int


def extract_answer(text: str) -> str | None:
    r"""Return the final answer in model text, or None. Never raises on a text.

    The last `<Final_answer>` is searched, else the text after the last `</think>`, else the whole text. The answer is
    the content of the last balanced `\boxed{}`, with boxes joined to it by "and", "or" or a comma and a sign before
    it; else of the last `<answer>`; else what follows the last `####`; else a final answer of one short line.
    """
    final = _last_tagged(text, protocol.FINAL_ANSWER)
    place = final or text.rpartition(protocol.THOUGHT_CLOSE)[2].strip() or text
    found = _last_boxes(place) or _last_tagged(place, "answer") or _answer_after_hashes(place)
    if found or not final or "boxed" in final or "\n" in final or len(final) > SHORT_ANSWER:
        return found
    return final


def read_answer(final: str, thought: str = "") -> str:
    """Return the answer to grade in a response: extracted from the final part, or from the thought without one;
    else the whole final part."""
    return extract_answer(final or thought) or final.strip()


def _answer_after_hashes(text: str) -> str | None:
    """Return what follows the last "####", as in GSM8K."""
    lines = re.findall(r"^####[^\S\n]*(\S.*)$", text, re.MULTILINE)
    return lines[-1].strip() if lines and len(lines[-1]) <= SHORT_ANSWER else None


def _last_tagged(text: str, tag: str) -> str | None:
    """Return the content of the last non-blank <tag>..</tag>; at the end of the text it may be unclosed."""
    found, start = None, None
    for mark in re.finditer(rf"<(/?){tag}>", text, re.IGNORECASE):
        if not mark[1]:
            start = mark.end()
        elif start is not None:
            found, start = text[start : mark.start()].strip() or found, None
    if start is not None:
        found = text[start:].partition(protocol.THOUGHT_CLOSE)[0].strip() or found
    return found


def _last_boxes(text: str) -> str | None:
    """Return the content of the last balanced, non-blank box and of the boxes joined to it."""
    boxes = sorted(_boxes(text), key=lambda box: box.start, reverse=True)
    filled = (box for box in boxes if text[box.inside : box.inside_end].strip())
    last = next(filled, None)
    if last is None:
        return None
    stated = [found[1].strip() for found in FINAL_ANSWER.finditer(text, last.end) if "box" not in found[1]]
    if stated:
        return stated[-1]
    joined = [last]
    for box in filled:
        if not _are_joined(text, box, joined[0]):
            break
        joined.insert(0, box)
    return ", ".join(dict.fromkeys(_content(text, box) for box in joined))


def _are_joined(text: str, before: _Box, after: _Box) -> bool:
    """Return whether only "and", "or" or commas, and a few words, stand between two boxes."""
    between = text[before.end : after.start] if 0 <= after.start - before.end <= LONGEST_CONNECTIVE else "\n\n"
    words = _LAYOUT.sub(" ", _NAMING.sub("", between))
    if "\n\n" in between or _APART.search(words) or len(words.split()) > 6:
        return False
    return bool(re.search(r"[,;&]|\band\b|\bor\b|^[^A-Za-z]*$", words, re.IGNORECASE)) and not re.search(
        r"[.?!](?:\s|$)|[\d=]", words
    )


def _content(text: str, box: _Box) -> str:
    """Return what is in the box, with a sign or factor beside the box that belongs to the value."""
    content = text[box.inside : box.inside_end].strip()
    before, after = text[max(0, box.start - 20) : box.start], text[box.end : box.end + LONGEST_CONNECTIVE]
    if (factor := _FACTOR_BEFORE.search(before)) and not before[: factor.start()].endswith("\n"):
        return f"{factor[0]} {content}"
    if behind := _FACTOR_BEHIND.match(after):
        content = f"{{{content}}}{behind[0].rstrip()}"
    sign = _SIGN.search(before)
    if sign is None or (not sign["before"].strip() and before.endswith(" ")):  # the mark of a list
        return content
    return f"{sign['sign']}{content}" if sign["before"] or box.start <= len(sign[0]) else content


def _boxes(text: str) -> Iterator[_Box]:
    """Yield all balanced boxes in one pass over the text."""
    open_braces: list[tuple[int, int] | None] = []
    for token in _BOX_TOKEN.finditer(text):
        if token["bare"]:
            end = token.start("bare") + len(token["bare"].rstrip(".,;:)"))
            yield _Box(token.start(), token.start("bare"), end, end)
        elif token["open"]:
            open_braces.append((token.start(), token.end()))
        elif token["brace"] == "{":
            open_braces.append(None)
        elif token["brace"] and open_braces and (opened := open_braces.pop()) is not None:
            yield _Box(*opened, token.start(), token.end())
