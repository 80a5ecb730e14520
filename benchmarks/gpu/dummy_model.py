"""A model folder with a real model's shape and no weights: SGLang makes random ones (`load-format: dummy`)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sprint_sgl.runtime.server import DEFAULT_MODEL
from sprint_sgl.storage.package_files import MODELS

SHAPES: dict[str, dict[str, Any]] = {
    "7b": {  # DeepSeek-R1-Distill-Qwen-7B
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    "tiny": {  # for trying the measurements without a GPU
        "vocab_size": 8192,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    },
}


def make_dummy_model(folder: Path, shape: str) -> Path:
    """Write the config and a tokenizer with the shape's vocabulary size; return the folder.

    The tokenizer is that of the shipped models, extended with unused words, so that programs can decode random tokens.
    """
    sizes, source = SHAPES[shape], MODELS / DEFAULT_MODEL
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tokenizer_config.json", folder)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    for number in range(max(vocabulary.values()) + 1, sizes["vocab_size"]):
        vocabulary[f"\u0120q{_letters(number)}"] = number  # a space and a word that occurs in no text
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    mini = json.loads((source / "config.json").read_text())
    kept = {name: mini.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "bfloat16", "rope_theta": 1e6}
    config |= {"max_position_embeddings": 32768, "tie_word_embeddings": False, "hidden_act": "silu", **kept, **sizes}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "sprint.json").write_text(json.dumps({"prompt_style": "mini"}))
    return folder


def _letters(number: int) -> str:
    found = ""
    while number:
        number, digit = divmod(number, 26)
        found += chr(ord("a") + digit)
    return found
