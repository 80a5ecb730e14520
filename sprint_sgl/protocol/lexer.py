r"""What a tag of ours looks like: find tags in a text, and write text so that nothing in it reads as one.

Released models write `<Plan_1>`, `</Final_answer>` and so on; `find_tags` also accepts variants of these
in case and spacing and without their numbers. `neutralise` covers all that `find_tags` finds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["question", "think", "plan", "prompt", "block", "execution", "answer"]
Key = tuple[Kind, int | None, int | None]

_NAMES: dict[Kind, str] = {
    "question": "Question",
    "think": "think",
    "plan": "Plan",
    "prompt": "prompt",
    "block": "Execution",
    "execution": "execution",
    "answer": "Final_answer",
}
_TAG_LIKE = (
    r"\s*(?:/\s*)?(?:Question|think\b|Final[_ ]?answer"
    r"|(?:Plan|prompt|Execution)(?:_|[ ]?[0-9]|\s*>))"
)
_UNESCAPED = re.compile(rf"<(\\*)(?={_TAG_LIKE})", re.IGNORECASE)
_ESCAPED = re.compile(rf"<\\(\\*)(?={_TAG_LIKE})", re.IGNORECASE)
_TAG = re.compile(
    r"<\s*(/\s*)?(?:(Question|think|Final[_ ]?answer)"
    r"|(Plan|prompt|Execution)(?:[_ ]?([0-9]{1,6})(?:\.([0-9]{1,6}))?)?)\s*>",
    re.IGNORECASE | re.ASCII,
)
_PARTIAL = re.compile(r"<(/?)([A-Za-z_]*)[0-9.]*\Z")


def escape_tags(text: str) -> str:
    r"""Text in which nothing reads as a tag of ours: `<Plan_1>` becomes `<\Plan_1>`. Undone by `restore`."""
    return _UNESCAPED.sub(r"<\\\1", text)


def unescape_tags(text: str) -> str:
    """The inverse of `neutralise`: restore(neutralise(text)) == text for every text."""
    return _ESCAPED.sub(r"<\1", text)


@dataclass(frozen=True)
class Tag:
    """One tag in a text, from `start` to `end`; numbers that are not written are None."""

    kind: Kind
    closing: bool
    i: int | None
    j: int | None
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def key(self) -> Key:
        return self.kind, self.i, self.j

    @property
    def variant(self) -> bool:
        """Whether it is written otherwise than released models are taught to write it."""
        numbers = {"plan": f"_{self.i}", "block": f"_{self.i}", "prompt": f"_{self.i}.{self.j}"}
        numbers["execution"] = numbers["prompt"]
        return self.text != f"<{'/' * self.closing}{_NAMES[self.kind]}{numbers.get(self.kind, '')}>"


def strip_tags(text: str) -> str:
    """What is left of a text beside our tags and the white space at its ends."""
    return _TAG.sub("", text).strip()


def find_tags(text: str) -> list[Tag]:
    """All live tags of ours in their order; a lone `<`, other markup and neutralised tags are text."""
    return [_tag(match) for match in _TAG.finditer(text)]


def _tag(match: re.Match[str]) -> Tag:
    slash, word, numbered, i, j = match.groups()
    kind = _kind(word or numbered, i, j)
    second = int(j) if j and kind in ("prompt", "execution") else None
    return Tag(kind, slash is not None, int(i) if i else None, second, match[0], match.start())


def _kind(word: str, i: str | None, j: str | None) -> Kind:
    """`Execution` and `execution` differ by their numbers, and by their case where they have none."""
    match word.lower():
        case "question":
            return "question"
        case "think":
            return "think"
        case "plan":
            return "plan"
        case "prompt":
            return "prompt"
        case "execution":
            return "execution" if j or (i is None and word[0] == "e") else "block"
    return "answer"


def strip_partial_tag(text: str) -> str:
    """The text without the beginning of a tag at its very end, where generation was cut inside of one."""
    match = _PARTIAL.search(text)
    if not match or (not match[1] and len(match[2]) < 2):
        return text
    word = match[2].lower()
    wholes = (f"{name}_".lower() for name in _NAMES.values())
    return text[: match.start()] if any(whole.startswith(word) for whole in wholes) else text
