r"""The protocol's tags: find them in a text, and escape text so that nothing in it is a tag.

Released models write `<Plan_1>`, `</Final_answer>` and so on. `find_tags` also accepts other case and spacing and
missing numbers, and `escape_tags` escapes everything that `find_tags` would find.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

TagKind = Literal["question", "think", "plan", "prompt", "block", "execution", "answer"]
TagKey = tuple[TagKind, int | None, int | None]

FINAL_ANSWER = "Final_answer"
_NAMES: dict[TagKind, str] = {
    "question": "Question",
    "think": "think",
    "plan": "Plan",
    "prompt": "prompt",
    "block": "Execution",
    "execution": "execution",
    "answer": FINAL_ANSWER,
}
_TAG_LIKE = (
    r"\s*(?:/\s*)?(?:Question|think\b|Final[_ ]?answer"
    r"|(?:Plan|prompt|Execution)(?:_|[ ]?[0-9]|\s*>))"
)
_UNESCAPED = re.compile(rf"<(\\*)(?={_TAG_LIKE})", re.IGNORECASE)
ESCAPED = rf"<\\(\\*)(?={_TAG_LIKE})"  # a pattern in the syntax that Python and JavaScript share
_ESCAPED = re.compile(ESCAPED, re.IGNORECASE)
_TAG = re.compile(
    r"<\s*(/\s*)?(?:(Question|think|Final[_ ]?answer)"
    r"|(Plan|prompt|Execution)(?:[_ ]?([0-9]{1,6})(?:\.([0-9]{1,6}))?)?)\s*>",
    re.IGNORECASE | re.ASCII,
)
_PARTIAL = re.compile(r"<(/?)([A-Za-z_]*)[0-9.]*\Z")


def escape_tags(text: str) -> str:
    r"""Return the text with a backslash in each tag: `<Plan_1>` becomes `<\Plan_1>`. Inverse: `unescape_tags`."""
    return _UNESCAPED.sub(r"<\\\1", text)


def unescape_tags(text: str) -> str:
    """Return the text without those backslashes: unescape_tags(escape_tags(text)) == text for every text."""
    return _ESCAPED.sub(r"<\1", text)


@dataclass
class Tag:
    """One tag in a text, from `start` to `end`; a number that is not written is None, and `key` has both."""

    kind: TagKind
    closing: bool
    i: int | None
    j: int | None
    text: str
    start: int
    end: int = field(init=False)
    key: TagKey = field(init=False)

    def __post_init__(self) -> None:
        self.end = self.start + len(self.text)
        self.key = self.kind, self.i, self.j

    @property
    def variant(self) -> bool:
        """Whether the tag differs in case, spacing or numbers from what models are trained to write."""
        numbers = {"plan": f"_{self.i}", "block": f"_{self.i}", "prompt": f"_{self.i}.{self.j}"}
        numbers["execution"] = numbers["prompt"]
        return self.text != f"<{'/' * self.closing}{_NAMES[self.kind]}{numbers.get(self.kind, '')}>"


def strip_tags(text: str) -> str:
    """Return the text without its tags and without whitespace at its ends."""
    return _TAG.sub("", text).strip()


def find_tags(text: str) -> list[Tag]:
    """Return all tags in order. A lone `<`, other markup and escaped tags are text."""
    return [_tag(match) for match in _TAG.finditer(text)]


def _tag(match: re.Match[str]) -> Tag:
    slash, word, numbered, i, j = match.groups()
    kind = _kind(word or numbered, i, j)
    second = int(j) if j and kind in ("prompt", "execution") else None
    return Tag(kind, slash is not None, int(i) if i else None, second, match[0], match.start())


def _kind(word: str, i: str | None, j: str | None) -> TagKind:
    """Tell `Execution` and `execution` apart by their numbers, or by their case if they have none."""
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
    """Return the text without the beginning of a tag at its very end, where generation was cut off inside a tag."""
    match = _PARTIAL.search(text)
    if not match or (not match[1] and len(match[2]) < 2):
        return text
    word = match[2].lower()
    wholes = (f"{name}_".lower() for name in _NAMES.values())
    return text[: match.start()] if any(whole.startswith(word) for whole in wholes) else text


def tag_texts(stages: Collection[int], prompts: Collection[int]) -> Iterator[str]:
    """Yield the tags of those stages and prompts, and how numbered tags begin, for a tokenizer's vocabulary."""
    for slash in ("", "/"):
        yield f"<{slash}{FINAL_ANSWER}>"
        for i in stages:
            yield from (f"<{slash}{name}_{i}>" for name in ("Plan", "Execution"))
            yield from (f"<{slash}{name}_{i}.{j}>" for name in ("prompt", "execution") for j in prompts)
        yield from (f"<{slash}{name}_" for name in ("Plan", "prompt", "Execution", "execution"))
