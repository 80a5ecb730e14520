r"""Answers in sentences: "Therefore, the least $n$ is 34." states 34. Doubts and suppositions state nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\[(<$\\])|\n\s*\n|\s+(?=(?:Therefore|Thus|Hence|So|Final Answer)\b)")
_CLOSING_WORDS = re.compile(r"\s*(?:I hope (?:it|this) is correct\.?\s*|<\|.*)+$", re.DOTALL)
FINAL_ANSWER = re.compile(r"\bfinal answer(?: is|:)[:*\s]*(?=[-\d$\\(\[{])(.+?)(?:\.\s|\.?$)", re.IGNORECASE)
_NO_WORDS = {"inf", "infinity", "sqrt", "sin", "cos", "tan", "log", "exp", "abs", "and"}
_DOUBTS = re.compile(
    r"\b(?:not|never|no|or|maybe|perhaps|between|at least|at most|than|over|under|if|unless|except|without|either"
    r"|neither|nearly|about|approximately|roughly|around|wrong|false|incorrect|guess|suppose|assume|let|doubt"
    r"|impossible|hardly|anything)\b|n't|\?|\b(?:might|could|may|would|can|cannot|unlikely to|to)\s+\w+\W*$",
    re.IGNORECASE,
)
_VALUE = re.compile(r"\d")
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|be|equals?|becomes)\b|\b(?:answer|solution|result|value)s?\b(?=\s*[:$\\])|:(?=\s))\s*:?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^\W*(?:final )?(?:answer|solution|result)\W*:\W*", re.IGNORECASE)
_OPENING_WORD = re.compile(
    r"^\s*(?:and so|therefore|hence|thus|so|yes|then|finally|consequently|it follows that"
    r"|we (?:get|find|have|obtain)(?: that)?)"
    r"(?![A-Za-z])[,:]?\s*",
    re.IGNORECASE,
)
_REASON = re.compile(r"[,;]?\s+(?:because|since|where|when|if|as|for|and that)\b.*$", re.DOTALL)
_IS_THE_ANSWER = re.compile(
    r"\s*(?:is|are) (?:the|our|my)? ?(?:final |correct |right )?(?:answers?|solutions?|result)\b.*$", re.DOTALL
)


def is_prose(text: str) -> bool:
    """Return whether there are words outside formulas."""
    plain = re.sub(r"\$[^$]*\$|\\\(.*?\\\)|\\[A-Za-z]+", " ", text)
    return any(word.lower() not in _NO_WORDS for word in re.findall(r"(?<![A-Za-z])[A-Za-z]{3,}", plain))


def without_opener(text: str) -> str:
    """Return the text without a word such as "therefore" at its beginning."""
    while (rest := _OPENING_WORD.sub("", text, count=1)) != text and rest:
        text = rest
    return text


def answers_in_prose(text: str) -> Iterator[str]:
    """Yield the answers that a prose text states, likeliest first; nothing for a bare formula.

    An answer follows the last verb of the last sentence ("The least $n$ is 34."), without the reasons after it, or
    stands before "is the answer", or an earlier sentence calls it the final answer. Sentences that doubt, suppose, or
    state another value first are skipped.
    """
    if not is_prose(text):
        return
    sentences = [part.strip() for part in _SENTENCE_END.split(_CLOSING_WORDS.sub("", text)) if part.strip()]
    last = _LABEL.sub("", sentences[-1].rstrip(".").strip()) if sentences else ""
    if (before := _IS_THE_ANSWER.sub("", last)) != last and not _DOUBTS.search(last):
        yield without_opener(before)
    clause = _REASON.sub("", last)
    for copula in list(_COPULA.finditer(clause))[-1:]:
        subject, value = clause[: copula.end()], clause[copula.end() :].strip()
        if value and not _DOUBTS.search(subject) and not _VALUE.search(subject):
            yield value
    yield from (found[1] for found in list(FINAL_ANSWER.finditer(text))[-1:])
