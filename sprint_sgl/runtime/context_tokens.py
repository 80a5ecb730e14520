"""A context as text and as the tokens that a runtime has cached for it.

What a model wrote need not be tokenised again as it was written: "twelve" may come as "tw" and "elve". A context that
is sent as text then misses the prefix cache from that token on. Sent as token ids, it is found to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Encode = Callable[[str], list[int]]
Decode = Callable[[Sequence[int]], str]
OVERHANG = 16  # tokens at the end of a reply that may belong to its stop string


@dataclass(frozen=True)
class Tokenized:
    """`ids` spell `text`. `marks` are the lengths, in characters and in tokens, at which it may be cut."""

    text: str = ""
    ids: tuple[int, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()

    def beginning(self, text: str) -> Tokenized:
        """The longest of our beginnings that the text begins with."""
        for place in range(len(self.marks), 0, -1):
            characters, tokens = self.marks[place - 1]
            if text[:characters] == self.text[:characters]:
                return Tokenized(text[:characters], self.ids[:tokens], self.marks[:place])
        return Tokenized()

    def extended(self, text: str, ids: Sequence[int]) -> Tokenized:
        """With some more text, of which these are the tokens."""
        if not text:
            return self
        ids = (*self.ids, *ids)
        return Tokenized(self.text + text, ids, (*self.marks, (len(self.text) + len(text), len(ids))))


def tokenized(text: str, known: Tokenized, encode: Encode, encode_first: Encode) -> Tokenized:
    """The text, in the tokens that are known of its beginning and new ones for the rest.

    encode_first   for a text of which nothing is known: tokenisers open it with a token of their own
    """
    begun = known.beginning(text)
    rest = text[len(begun.text) :]
    return begun.extended(rest, (encode if begun.text else encode_first)(rest))


def replied(context: Tokenized, text: str, ids: Sequence[int], decode: Decode) -> Tokenized:
    """The context with a reply, as far as the reply's tokens spell its text: the stop string has been cut from it.

    Tokens at its end that spell nothing are none of the context's, such as the one by which the model ended it.
    """
    for kept in range(len(ids), max(0, len(ids) - OVERHANG), -1):
        spelt = decode(ids[:kept])
        if text.startswith(spelt) and decode(ids[: kept - 1]) != spelt:
            return context.extended(spelt, ids[:kept])
    return context
