"""A model with random weights and a byte-level BPE like Qwen's: read again, its replies are tokenised differently."""

from __future__ import annotations

import json
from pathlib import Path

VOCABULARY = 6000
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
END = "<|endoftext|>"


def make_bpe_model(folder: Path) -> Path:
    """Train the tokenizer on this project's own texts and write a folder that SGLang can serve."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    split = pre_tokenizers.Split(Regex(words), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[END],
    )
    root = Path(__file__).parents[1]
    tokenizer.train([str(path) for path in (*root.glob("*.md"), *root.glob("sprint_sgl/**/*.py"))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(folder)
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, eos_token_id=0, **SIZES)).save_pretrained(folder)
    (folder / "sprint.json").write_text(json.dumps({"prompt_style": "mini"}))
    return folder
