"""The tokenizer of a runtime on our side, which sends it contexts in its own tokens."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.protocol import close_prompt, open_prompt
from sprint_sgl.storage.checkpoints import load_tokenizer, may_be_on_hub

TASK = f"{open_prompt(1, 1)} Try 12 * 34 = 408 first.\n{close_prompt(1, 1)}"
JOINING_TEST = f"{TASK}\nBased on execution_1.1: ünïcode  \tand 字"
TOKENIZER_TEST = (
    f"{JOINING_TEST}, 12345678, don't DON'T,    \n\n\n  \\frac{{a}}{{b}}, e\u0301, \U0001f642, "
    "\u0928\u092e\u0938\u094d\u0924\u0947\r\n"
)
PIECE = 9  # characters encoded at a time in `ModelTokenizer.joins`


class ModelTokenizer(ABC):
    """A tokenizer that encodes parts of a context and decodes replies."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the tokens of a part of a context."""

    @abstractmethod
    def encode_first(self, text: str) -> list[int]:
        """Return the tokens of a beginning, with what the model expects before any text, such as Llama's own token."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of these tokens, without special ones."""

    def joins(self, text: str) -> bool:
        """Whether the text, encoded in pieces, decodes to itself: some tokenizers begin every text with a blank."""
        first, *rest = (text[k : k + PIECE] for k in range(0, len(text), PIECE))
        return self.decode([*self.encode_first(first), *(id for piece in rest for id in self.encode(piece))]) == text


class JsonTokenizer(ModelTokenizer):
    """A tokenizer.json, read without transformers, whose import takes ten seconds."""

    def __init__(self, path: str) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_first(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class TransformersTokenizer(ModelTokenizer):
    """A tokenizer as transformers sets it up, which for some models is not quite what tokenizer.json says."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_first(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False))


def cached_file(name: str, file: str) -> Path | None:
    """Return the path of a file in a folder, or of a downloaded hub id; None if this machine has no such file."""
    from huggingface_hub import try_to_load_from_cache

    if (here := Path(name, file)).is_file():
        return here
    found = try_to_load_from_cache(name, file) if may_be_on_hub(name) else None
    return Path(found) if isinstance(found, str) else None


def special_tokens(name: str) -> list[str]:
    """Return the tokens that a model's tokenizer_config.json names; transformers adds those that are missing."""
    if (file := cached_file(name, "tokenizer_config.json")) is None:
        return []
    config = json.loads(file.read_text())
    added = [token.get("content", "") for token in config.get("added_tokens_decoder", {}).values()]
    named = [value for key, value in config.items() if key.endswith("_token")]
    named += [value.get("content", "") for value in named if isinstance(value, dict)]
    lists = [config.get(key) for key in ("additional_special_tokens", "extra_special_tokens")]
    listed = [token for each in lists if isinstance(each, list) for token in each]
    return sorted({token for token in (*added, *named, *listed) if isinstance(token, str) and token})


@lru_cache(maxsize=8)
def json_tokenizer(name: str) -> ModelTokenizer | None:
    """Return the tokenizer of a model's tokenizer.json; None if this machine has no such file."""
    try:
        return JsonTokenizer(str(found)) if (found := cached_file(name, "tokenizer.json")) else None
    except Exception:  # what the Rust library raises for a file that it cannot read
        return None


@lru_cache(maxsize=8)
def transformers_tokenizer(name: str) -> ModelTokenizer | None:
    """Return transformers' tokenizer for a folder or a downloaded hub id; None if this machine has no such model."""
    if not any(cached_file(name, file) for file in ("tokenizer.json", "tokenizer_config.json")):
        return None  # not worth importing transformers
    try:
        return TransformersTokenizer(load_tokenizer(name, here=True))
    except (BadInput, ImportError):  # a tokenizer may need a package that is not installed
        return None


def matching_tokenizer(name: str, server_tokens: Callable[[str], list[int] | None]) -> ModelTokenizer | None:
    """Return tokenizer.json or transformers' tokenizer, whichever encodes as the server does, or None.

    server_tokens   the server's tokens of a text; None if it cannot be asked, such as a gateway, which is then taken to
                    encode as transformers does
    """
    text = TOKENIZER_TEST + "".join(special_tokens(name))
    theirs = None
    if from_json := json_tokenizer(name):
        theirs = server_tokens(text)
        if theirs == from_json.encode_first(text) and from_json.joins(JOINING_TEST):
            return from_json
    if (ours := transformers_tokenizer(name)) is None or not ours.joins(JOINING_TEST):
        return None
    theirs = theirs or server_tokens(text)
    return ours if theirs in (None, ours.encode_first(text)) else None
