"""Texts as data sets keep them: out of messages, special tokens and others' markup, a thought and what follows it.

What cannot be told for certain is Unreadable, with a reason that is counted. Tags of ours in a text stay; rows are
written with them neutralised (sprint_sgl/protocol/lexer.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

ASSISTANT = frozenset({"assistant", "gpt", "model", "chatgpt", "bot"})
USER = frozenset({"user", "human"})
CALLS = ("tool_calls", "function_call", "refusal")
REASONING = ("reasoning_content", "reasoning", "thinking")

_MARK = re.compile(
    r"<\s*(?P<end>/?)\s*(?:\w+:)?(?:think|thinking|thoughts?|reasoning|analysis|reflection|scratchpad)(?:\s[^<>\n]*)?>|\[(?P<end2>/?)THINK\]|\u25c1(?P<end3>/?)think\u25b7"
    r"|<\|(?:begin|(?P<end4>end))_of_thought\|>",
    re.I,
)
_SOLUTION = re.compile(r"<\|(?:begin|end)_of_solution\|>")
_SPECIAL = re.compile(
    r"<\|(?!(?:begin|end)_of_(?:thought|solution)\|)[A-Za-z][\w ]{2,40}\|>|<\uff5c[^<>\uff5c\n]{2,40}\uff5c>"
    r"|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn|start_of_image|tool_call)>|\[/?INST\]",
)
_ROLE = re.compile(r"(?:assistant|model|user)?\s+")
_SEPARATOR = re.compile(r"^[ \t]*-----[ \t]*$", re.M)
_QUOTES = "`'\"\u201c\u201d\u2018\u2019\u00ab\u00bb"


class Unreadable(Exception):
    """A text that cannot be used; the message is the reason, in words that many rows share."""


def text_of(value: object, what: str, roles: frozenset[str] = frozenset()) -> str:
    """The text of a cell: itself, or that of the one message of these roles. Raises Unreadable."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float) and not roles:
        return str(value)
    if isinstance(value, Mapping):
        if roles and _role(value) and _role(value) not in roles:
            raise Unreadable(f"messages with no {what}s")
        return _message(value, what)
    if isinstance(value, Sequence) and value and roles:
        return _of_list(value, what, roles)
    raise Unreadable(f"a {what} that is no text")


def _of_list(items: Sequence[object], what: str, roles: frozenset[str]) -> str:
    if all(isinstance(item, Mapping) and _role(item) for item in items):
        found = [item for item in items if isinstance(item, Mapping) and _role(item) in roles]
        if len(found) != 1:
            raise Unreadable(f"messages with {'several' if found else 'no'} {what}s")
        return _message(found[0], what)
    if all(isinstance(item, Mapping) and "type" in item for item in items):
        return _message({"content": items}, what)
    if len(items) == 1:
        return text_of(items[0], what, roles)
    raise Unreadable(f"a list of {what}s: a star in the column's path takes each")


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role") or message.get("from") or "").lower()


def _message(message: Mapping[str, Any], what: str) -> str:
    """The content, after the reasoning where a field or a part of its own holds one."""
    if any(message.get(key) for key in CALLS):
        raise Unreadable(f"a {what} that calls tools")
    content = next((message[key] for key in ("content", "value", "text") if message.get(key) is not None), None)
    thought = next((message[key] for key in REASONING if message.get(key)), None)
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part for part in content if isinstance(part, Mapping)]
        texts = [part for part in parts if part.get("type") in ("text", "output_text")]
        thoughts = [part for part in parts if part.get("type") in ("thinking", "reasoning")]
        if len(texts) + len(thoughts) != len(content) or (thought and thoughts):
            raise Unreadable(f"a {what} with parts that are no text")
        content = "".join(_part(part, ("text",), what) for part in texts)
        thought = thought or "\n\n".join(_part(part, ("thinking", "reasoning", "text"), what) for part in thoughts)
    if not isinstance(content, str) or not isinstance(thought, str | None):
        raise Unreadable(f"a {what} that is no text")
    if not thought:
        return content
    if _MARK.search(content):
        raise Unreadable("several thoughts")
    return f"<think>\n{thought}\n</think>\n\n{content}"


def _part(part: Mapping[str, Any], keys: Sequence[str], what: str) -> str:
    found = next((part[key] for key in keys if isinstance(part.get(key), str)), None)
    if found is None:
        raise Unreadable(f"a {what} with parts that are no text")
    return str(found)


def split_response(response: str) -> tuple[str, str]:
    """A response as the thought and what follows it; without marks all of it is the thought.

    Marks are `<think>` and its kin in any case. One in quotes is text, and so is one in the middle of a line where
    another has a line's beginning or end. Special tokens around the whole are taken off. Raises Unreadable.
    """
    text = _SOLUTION.sub("", without_special(response))
    if "\0" in text:
        raise Unreadable("a byte of 0")
    ends = _marks(text, closing=True)
    begins = _marks(text, closing=False)
    if len(ends) > 1 or len(begins) > 1:
        raise Unreadable("several thoughts")
    if not ends:
        if begins:
            raise Unreadable("a thought that does not end")
        return _plain(text), ""
    if begins and begins[0].start() > ends[0].start():
        raise Unreadable("a thought that does not end")
    thought = text[begins[0].end() if begins else 0 : ends[0].start()]
    return _plain(thought), _plain(text[ends[0].end() :])


def without_special(text: str) -> str:
    """The text without special tokens of a chat template at its ends, and the role behind the first ones."""
    text = text.strip()
    start = 0
    while found := _SPECIAL.match(text, start):
        role = _ROLE.match(text, found.end())
        start = role.end() if role else found.end()
    text = text[start:]
    while (last := max(text.rfind("<"), text.rfind("["))) >= 0 and _SPECIAL.fullmatch(text, last):
        text = text[:last].rstrip()
    return text.strip()


def special_token(text: str) -> str | None:
    """A special token inside a text, which a tokenizer would not read as text."""
    found = _SPECIAL.search(text)
    return found[0] if found else None


def _marks(text: str, closing: bool) -> list[re.Match[str]]:
    found = [mark for mark in _MARK.finditer(text) if bool(mark.lastgroup and mark[mark.lastgroup]) is closing]
    bare = [mark for mark in found if not _quoted(mark, text)]
    alone = [mark for mark in bare if _at_an_edge(mark, text)]
    return alone if len(bare) > 1 and alone else bare


def _quoted(mark: re.Match[str], text: str) -> bool:
    before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
    return bool(before and after) and before in _QUOTES and after in _QUOTES


def _at_an_edge(mark: re.Match[str], text: str) -> bool:
    """Whether nothing else stands before it, or after it, on its line."""
    before = text[: mark.start()].rpartition("\n")[2]
    return not before.strip() or not text[mark.end() :].partition("\n")[0].strip()


def _plain(text: str) -> str:
    """Without white space around it; a line of five dashes, which parts trains of thought in plans, has three."""
    return _SEPARATOR.sub("---", text.strip())
