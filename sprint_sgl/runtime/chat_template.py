"""A chat turn in the template of the model's own tokenizer, whatever its folder is called.

SGLang's frontend chooses a template by the folder's name instead, and takes one of plain words for an unknown name such
as `work/run-7`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.tokenizer import cached_file
from sprint_sgl.storage.checkpoints import load_tokenizer


def user_turn(model: str, text: str) -> str | None:
    """Return a user's message and the beginning of its answer in the chat template of a folder or downloaded hub id.

    None if the model has no template or is not on this machine. Raises BadInput for a template that cannot be used.
    """
    if (tokenizer := _tokenizer_with_template(model)) is None:
        return None
    try:
        messages = [{"role": "user", "content": text}]
        written = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program, and may fail in any way
        raise BadInput(f"the chat template of {model} cannot be used for one user's message: {error}") from error
    if text.strip() not in written:
        raise BadInput(f"the chat template of {model} leaves out the user's message")
    # The token that a tokenizer puts before every text must not be in the text as well.
    first = tokenizer.bos_token or ""
    adds_first = first and tokenizer(first)["input_ids"][:2] == [tokenizer.bos_token_id] * 2
    return written.removeprefix(first) if adds_first else written


@lru_cache(maxsize=8)
def _tokenizer_with_template(model: str) -> Any:
    """Return the model's tokenizer; None if it has no chat template, which needs no import of transformers."""
    return load_tokenizer(model, here=True) if _has_template(model) else None


def _has_template(model: str) -> bool:
    if cached_file(model, "chat_template.jinja"):
        return True
    if (config := cached_file(model, "tokenizer_config.json")) is None:
        return False
    try:
        found = json.loads(config.read_bytes())
    except ValueError as error:
        raise BadInput(f"{config} is broken: {error}") from error
    return isinstance(found, dict) and bool(found.get("chat_template"))
