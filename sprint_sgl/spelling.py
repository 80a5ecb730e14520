"""The tokenizer of a runtime on our side: to send it contexts in its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from sprint_sgl.checkpoints import may_be_on_hub
from sprint_sgl.errors import BadInput

PIECE = 9  # characters


class Tokenizer(Protocol):
    """What a spelling needs of a tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Spelling:
    """A tokenizer that may be asked for the tokens of a piece of a context."""

    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_first(self, text: str) -> list[int]:
        """With what the model expects before any text, such as Llama's first token."""
        return list(self.tokenizer.encode(text, add_special_tokens=True))

    def joins(self, text: str) -> bool:
        """Whether tokens of its pieces spell it when put together: some tokenizers begin every text with a blank."""
        first, *rest = (text[k : k + PIECE] for k in range(0, len(text), PIECE))
        return self.decode([*self.encode_first(first), *(id for piece in rest for id in self.encode(piece))]) == text

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


class TokenizerFile:
    """A tokenizer.json, read without transformers, whose import takes ten seconds."""

    def __init__(self, path: str) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class TransformersTokenizer:
    """The tokenizer as transformers sets it up, which for some models is not quite what tokenizer.json says."""

    def __init__(self, name: str) -> None:
        from sprint_sgl.checkpoints import load_tokenizer

        self._tokenizer = load_tokenizer(name, here=True)

    def encode(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False))


def cached_file(name: str, file: str) -> str | None:
    """Return the path of a file in a folder, or of a downloaded hub id; None where it is not on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if (here := Path(name, file)).is_file():
        return str(here)
    found = try_to_load_from_cache(name, file) if may_be_on_hub(name) else None
    return found if isinstance(found, str) else None


def is_here(name: str) -> bool:
    """Whether a tokenizer of that name is on this machine, so that it is worth to import transformers for it."""
    return any(cached_file(name, file) for file in ("tokenizer.json", "tokenizer_config.json"))


@lru_cache(maxsize=8)
def file_spelling(name: str) -> Spelling | None:
    """Return the spelling of a model's tokenizer.json; None where there is none on this machine."""
    try:
        return Spelling(TokenizerFile(found)) if (found := cached_file(name, "tokenizer.json")) else None
    except Exception:  # what the Rust library raises for a file that it cannot read
        return None


@lru_cache(maxsize=8)
def spelling(name: str) -> Spelling | None:
    """Return the spelling that transformers has for a folder or a downloaded hub id; None where it is not here."""
    try:
        return Spelling(TransformersTokenizer(name)) if is_here(name) else None
    except (BadInput, ImportError):  # or one that needs a package which is not here
        return None
