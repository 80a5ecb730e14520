r"""Answers taken out of model text (paper, appendix A.4: final answers stand in `\boxed{}`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHORT_ANSWER = 200  # characters of an unboxed final answer that still count as an answer
LONGEST_CONNECTIVE = 60  # characters between two boxes that are one answer

_BOX_TOKEN = re.compile(
    r"\\?\\(?P<box>boxed|fbox)(?![A-Za-z])\s*(?:(?P<open>\{)|(?P<bare>[-+]?[\d.][^\s{}$\\]*))?|\\.|(?P<brace>[{}])",
    re.DOTALL,
)
_MINUS = re.compile(r"(?:^|[=$(\[:,&]|\\[(\[]|[A-Za-z]{2,})\s*-\s?$")
_LAYOUT = re.compile(r"\\q?quad|\\[()\[\],;:! ]|\\text\s*|\$|[{}\s]")
_NAMING = re.compile(r"\\?[A-Za-z]\w*(?:_\{?\w+\}?)?(?:\([a-z]\))?\s*=\s*$")
_NEGATIONS = re.compile(
    r"\b(?:no|not|wait|actually|but|instead|rather|wrong|check|hence|so|then|thus|therefore)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Box:
    """Where a box and its content start and end."""

    start: int
    inside: int
    inside_end: int
    end: int


def extract_answer(text: str) -> str | None:
    r"""The final answer in model text, or None if there is none to recognise. Raises on no text.

    Looked for in the last `<Final_answer>`, else in what follows the last `</think>`, else everywhere: the content
    of the last balanced `\boxed{}`, with those before it that "and", "or" or a comma joins to it, and with a minus
    before it; else of the last `<answer>`, else a final answer of one short line itself.
    """
    final = _last_tagged(text, "Final_answer")
    place = final or text.rpartition("</think>")[2].strip() or text
    found = _last_boxes(place) or _last_tagged(place, "answer")
    if found or not final or "boxed" in final or "\n" in final or len(final) > SHORT_ANSWER:
        return found
    return final


def read_answer(final: str, thought: str = "") -> str:
    """What is graded of a whole response, by whatever method: the answer in its final part, or in the thought where
    there is no final part; else the final part itself."""
    return extract_answer(final or thought) or final.strip()


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\[(<$\\])|\n\s*\n")
_CLOSING_WORDS = re.compile(r"\s*(?:I hope (?:it|this) is correct\.?\s*|<\|.*)+$", re.DOTALL)
_FINAL = re.compile(r"\bfinal answer is:?\s*(.+?)(?:\.\s|\.?$)", re.IGNORECASE)
_CANDIDATE = re.compile(r"\$[^$]*\$|\\\(.*?\\\)|(?<![A-Za-z\d.])-?\d(?:[\d.,]*\d)?(?:\s*%)?")
_NO_WORDS = {"inf", "infinity", "sqrt", "sin", "cos", "tan", "log", "exp", "abs", "and"}
_DOUBTS = re.compile(
    r"\b(?:not|never|no|or|maybe|perhaps|between|least|most|more|less|than|over|under|if|unless|except|without|either"
    r"|neither|nearly|about|approximately|wrong)\b|n't|\?",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<!not )(?<!n't )(?<!never )"
    r"(?:\b(?:is|are|was|be|by|equals?|gives?|yields?|becomes|answer|obtain|find that|get|have)\b|'s|:(?=\s))"
    r"\s*(?:(?:about|simply|just|exactly)\b)?\s*:?",
    re.IGNORECASE,
)
_IS_THE_ANSWER = re.compile(
    r"\s*(?:is|are) (?:the|our|my)? ?(?:final |correct |right )?(?:answers?|solutions?|result)\b.*$", re.DOTALL
)
_OPENER = re.compile(
    r"\b(?:[Tt]herefore|[Tt]hus|[Hh]ence|[Ss]o|[Tt]hen|[Aa]nswer)\b,?\s*(?!.*\b(?:[Tt]herefore|[Tt]hus|[Hh]ence|[Ss]o)\b)"
)


def is_prose(text: str) -> bool:
    """Whether there are words outside of formulas."""
    plain = re.sub(r"\$[^$]*\$|\\\(.*?\\\)|\\[A-Za-z]+", " ", text)
    return any(word.lower() not in _NO_WORDS for word in re.findall(r"(?<![A-Za-z])[A-Za-z]{3,}", plain))


def answers_in_prose(text: str) -> Iterator[str]:
    """What a text of more than a formula says the answer is, likeliest first.

    That is the rest of the last sentence behind its verb ("The least $n$ is 34."), what stands before "is the answer",
    or the only number or formula of the sentence; and what an earlier sentence calls the final answer.
    """
    if not is_prose(text):
        return
    sentences = [part.strip() for part in _SENTENCE_END.split(_CLOSING_WORDS.sub("", text)) if part.strip()]
    last = sentences[-1].rstrip(".").strip() if sentences else ""
    if (before := _IS_THE_ANSWER.sub("", last)) != last:
        opener = list(_OPENER.finditer(before))
        yield before[opener[-1].end() :].strip() if opener else before
    yield from filter(None, (last[copula.end() :].strip() for copula in reversed(list(_COPULA.finditer(last)))))
    found = [part[0] for part in _CANDIDATE.finditer(last) if len(part[0].strip("$\\() ")) > 1 or part[0].isdecimal()]
    if len(found) == 1 and not _DOUBTS.search(last):
        yield found[0]
    yield from (said[1] for said in list(_FINAL.finditer(text))[-1:])


def _last_tagged(text: str, tag: str) -> str | None:
    """The content of the last <tag>..</tag> that is not blank; the closing tag may be missing at the end."""
    found, start = None, None
    for mark in re.finditer(rf"<(/?){tag}>", text, re.IGNORECASE):
        if not mark[1]:
            start = mark.end()
        elif start is not None:
            found, start = text[start : mark.start()].strip() or found, None
    if start is not None:
        found = text[start:].partition("</think>")[0].strip() or found
    return found


def _last_boxes(text: str) -> str | None:
    """The content of the last box that is balanced and not blank, with those of the boxes that are joined to it."""
    boxes = sorted(_boxes(text), key=lambda box: box.start, reverse=True)
    filled = (box for box in boxes if text[box.inside : box.inside_end].strip())
    last = next(filled, None)
    if last is None:
        return None
    if said := list(_FINAL.finditer(text, last.end)):
        return said[-1][1].strip() if "box" not in said[-1][1] else None
    joined = [last]
    for box in filled:
        if not _are_joined(text, box, joined[0]):
            break
        joined.insert(0, box)
    return ", ".join(dict.fromkeys(_content(text, box) for box in joined))


def _are_joined(text: str, before: _Box, after: _Box) -> bool:
    """Whether only "and", "or" or commas, and a few words, stand between the two."""
    between = text[before.end : after.start] if 0 <= after.start - before.end <= LONGEST_CONNECTIVE else "\n\n"
    words = _LAYOUT.sub(" ", _NAMING.sub("", between))
    if "\n\n" in between or _NEGATIONS.search(words) or len(words.split()) > 6:
        return False
    return bool(re.search(r"[,;&]|\band\b|\bor\b|^[^A-Za-z]*$", words, re.IGNORECASE)) and not re.search(
        r"[.?!](?:\s|$)|[\d=]", words
    )


def _content(text: str, box: _Box) -> str:
    content = text[box.inside : box.inside_end].strip()
    return f"-{content}" if _MINUS.search(text[max(0, box.start - 20) : box.start]) else content


def _boxes(text: str) -> Iterator[_Box]:
    """All balanced boxes; one pass over the text."""
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
