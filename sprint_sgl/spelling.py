"""The tokenizer of a runtime on our side: to send it contexts in its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sprint_sgl.errors import BadInput

PIECE = 9  # characters


@dataclass(frozen=True)
class Spelling:
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_first(self, text: str) -> list[int]:
        """With what the model expects before any text, such as Llama's first token."""
        return list(self.tokenizer.encode(text))

    def joins(self, text: str) -> bool:
        """Whether tokens of its pieces spell it when put together: some tokenizers begin every text with a blank."""
        first, *rest = (text[k : k + PIECE] for k in range(0, len(text), PIECE))
        return self.decode([*self.encode_first(first), *(id for piece in rest for id in self.encode(piece))]) == text

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False))


@lru_cache(maxsize=8)
def spelling(tokenizer: str) -> Spelling | None:
    """That of a folder, or of a hub id that has been downloaded; None where it is not on this machine."""
    from sprint_sgl.checkpoints import load_tokenizer

    try:
        return Spelling(load_tokenizer(tokenizer, here=True))
    except (BadInput, ImportError):  # or one that needs a package which is not here
        return None
