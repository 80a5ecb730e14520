"""A context as text and as the tokens that a runtime has cached for it.

A model's reply need not be tokenised again as it was written: "twelve" may come as "tw" and "elve". A context that is
sent as text then misses the prefix cache from that token on. Sent as token ids, all of it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Encode = Callable[[str], list[int]]
Decode = Callable[[Sequence[int]], str]
OVERHANG = 16  # tokens at the end of a reply that may belong to its stop string


@dataclass(frozen=True)
class TokenizedContext:
    """A text and its token ids. `marks` are the places, in characters and in tokens, at which both may be cut."""

    text: str = ""
    ids: tuple[int, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()

    def common_beginning(self, text: str) -> TokenizedContext:
        """Return the longest part, up to a mark, that `text` begins with."""
        for place in range(len(self.marks), 0, -1):
            characters, tokens = self.marks[place - 1]
            if text[:characters] == self.text[:characters]:
                return TokenizedContext(text[:characters], self.ids[:tokens], self.marks[:place])
        return TokenizedContext()

    def extend(self, text: str, ids: Sequence[int]) -> TokenizedContext:
        """Return the context with `text`, spelt by `ids`, behind it."""
        if not text:
            return self
        ids = (*self.ids, *ids)
        return TokenizedContext(self.text + text, ids, (*self.marks, (len(self.text) + len(text), len(ids))))


def tokenize(text: str, known: TokenizedContext, encode: Encode, encode_first: Encode) -> TokenizedContext:
    """Return the text in the known tokens of its beginning and new tokens for the rest.

    encode_first   for a text without known tokens: tokenizers put a token of their own before it
    """
    begun = known.common_beginning(text)
    rest = text[len(begun.text) :]
    return begun.extend(rest, (encode if begun.text else encode_first)(rest))


def append_reply(context: TokenizedContext, text: str, ids: Sequence[int], decode: Decode) -> TokenizedContext:
    """Return the context with the part of a reply that its tokens spell: the stop string has been cut from its text.

    Tokens without text at the end of the reply, such as the model's end token, are left out.
    """
    for kept in range(len(ids), max(0, len(ids) - OVERHANG), -1):
        spelt = decode(ids[:kept])
        if text.startswith(spelt) and decode(ids[: kept - 1]) != spelt:
            return context.extend(spelt, ids[:kept])
    return context
