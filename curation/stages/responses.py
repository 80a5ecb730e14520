"""Cells of data sets as texts: taken out of chat messages, special tokens and thought tags, and split at the thought.

An ambiguous cell raises UnreadableText, whose reason is counted. SPRINT's own tags stay in the text, and are
neutralised when rows are written (sprint_sgl/protocol/lexer.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

ASSISTANT = frozenset({"assistant", "gpt", "model", "chatgpt", "bot"})
USER = frozenset({"user", "human"})
CALLS = ("tool_calls", "function_call", "refusal")
REASONING = ("reasoning_content", "reasoning", "thinking")

_THOUGHT_TAG = re.compile(
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


class UnreadableText(Exception):
    """A cell that cannot be used. The message is a reason without particulars, by which rows are counted."""


def text_of(value: object, what: str, roles: frozenset[str] = frozenset()) -> str:
    """Return the text of a cell, or of its one message with one of these roles. Raises UnreadableText."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float) and not roles:
        return str(value)
    if isinstance(value, Mapping):
        if roles and _role(value) and _role(value) not in roles:
            raise UnreadableText(f"messages with no {what}s")
        return _text_of_message(value, what)
    if isinstance(value, Sequence) and value and roles:
        return _text_of_list(value, what, roles)
    raise UnreadableText(f"a {what} that is not text")


def _text_of_list(items: Sequence[object], what: str, roles: frozenset[str]) -> str:
    if all(isinstance(item, Mapping) and _role(item) for item in items):
        found = [item for item in items if isinstance(item, Mapping) and _role(item) in roles]
        if len(found) != 1:
            raise UnreadableText(f"messages with {'several' if found else 'no'} {what}s")
        return _text_of_message(found[0], what)
    if all(isinstance(item, Mapping) and "type" in item for item in items):
        return _text_of_message({"content": items}, what)
    if len(items) == 1:
        return text_of(items[0], what, roles)
    raise UnreadableText(f"a list of {what}s: a star in the column's path takes each item")


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role") or message.get("from") or "").lower()


def _text_of_message(message: Mapping[str, Any], what: str) -> str:
    """Return the content, with reasoning from its own field or part before it in <think> tags."""
    if any(message.get(key) for key in CALLS):
        raise UnreadableText(f"a {what} that calls tools")
    content = next((message[key] for key in ("content", "value", "text") if message.get(key) is not None), None)
    thought = next((message[key] for key in REASONING if message.get(key)), None)
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part for part in content if isinstance(part, Mapping)]
        texts = [part for part in parts if part.get("type") in ("text", "output_text")]
        thoughts = [part for part in parts if part.get("type") in ("thinking", "reasoning")]
        if len(texts) + len(thoughts) != len(content) or (thought and thoughts):
            raise UnreadableText(f"a {what} with parts that are not text")
        content = "".join(_text_of_part(part, ("text",), what) for part in texts)
        thought = thought or "\n\n".join(
            _text_of_part(part, ("thinking", "reasoning", "text"), what) for part in thoughts
        )
    if not isinstance(content, str) or not isinstance(thought, str | None):
        raise UnreadableText(f"a {what} that is not text")
    if not thought:
        return content
    if _THOUGHT_TAG.search(content):
        raise UnreadableText("several thoughts")
    return f"<think>\n{thought}\n</think>\n\n{content}"


def _text_of_part(part: Mapping[str, Any], keys: Sequence[str], what: str) -> str:
    found = next((part[key] for key in keys if isinstance(part.get(key), str)), None)
    if found is None:
        raise UnreadableText(f"a {what} with parts that are not text")
    return str(found)


def split_response(response: str) -> tuple[str, str]:
    """Return the thought of a response and what follows it; a response without thought tags is all thought.

    Thought tags are `<think>` and its variants in any case. A tag in quotes is text, and so is a tag in the middle of a
    line if another tag begins or ends a line. Special tokens around the response are removed. Raises UnreadableText.
    """
    text = _SOLUTION.sub("", strip_special_tokens(response))
    if "\0" in text:
        raise UnreadableText("a byte of 0")
    ends = _thought_tags(text, closing=True)
    begins = _thought_tags(text, closing=False)
    if len(ends) > 1 or len(begins) > 1:
        raise UnreadableText("several thoughts")
    if not ends:
        if begins:
            raise UnreadableText("a thought that does not end")
        return _clean_text(text), ""
    if begins and begins[0].start() > ends[0].start():
        raise UnreadableText("a thought that does not end")
    thought = text[begins[0].end() if begins else 0 : ends[0].start()]
    return _clean_text(thought), _clean_text(text[ends[0].end() :])


def strip_special_tokens(text: str) -> str:
    """Remove a chat template's special tokens at both ends, and the role after the first ones."""
    text = text.strip()
    start = 0
    while found := _SPECIAL.match(text, start):
        role = _ROLE.match(text, found.end())
        start = role.end() if role else found.end()
    text = text[start:]
    while (last := max(text.rfind("<"), text.rfind("["))) >= 0 and _SPECIAL.fullmatch(text, last):
        text = text[:last].rstrip()
    return text.strip()


def find_special_token(text: str) -> str | None:
    """Return the first special token in a text, which a tokenizer would not read as text; None without one."""
    found = _SPECIAL.search(text)
    return found[0] if found else None


def _thought_tags(text: str, closing: bool) -> list[re.Match[str]]:
    found = [tag for tag in _THOUGHT_TAG.finditer(text) if bool(tag.lastgroup and tag[tag.lastgroup]) is closing]
    unquoted = [tag for tag in found if not _is_quoted(tag, text)]
    at_edges = [tag for tag in unquoted if _is_at_line_edge(tag, text)]
    return at_edges if len(unquoted) > 1 and at_edges else unquoted


def _is_quoted(tag: re.Match[str], text: str) -> bool:
    before, after = text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1]
    return bool(before and after) and before in _QUOTES and after in _QUOTES


def _is_at_line_edge(tag: re.Match[str], text: str) -> bool:
    """Return whether the tag begins or ends its line."""
    before = text[: tag.start()].rpartition("\n")[2]
    return not before.strip() or not text[tag.end() :].partition("\n")[0].strip()


def _clean_text(text: str) -> str:
    """Strip the text, and shorten lines of five dashes, which separate trains of thought in plans, to three."""
    return _SEPARATOR.sub("---", text.strip())
