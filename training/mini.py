"""Make a small Qwen2 to train: a byte-level BPE tokenizer trained on the rows, and weights that are random or taken
from another model.

python -m training.mini rows=[work/base/rft.train.jsonl] out=work/mini/random shape.layers=4 python -m training.mini
rows=[work/base/rft.train.jsonl] out=work/mini/start weights=countdown-mini-rft
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sprint_sgl.config import entry_point
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol import SPRINT, Format, format_named
from sprint_sgl.storage.checkpoints import weights_folder
from sprint_sgl.storage.output_folders import MINI, begin_run

END = "<|endoftext|>"
STAGES, WIDTH = range(1, 5), range(1, 13)  # stage and prompt numbers whose tags are single tokens
BEFORE_NUMBERS = (", ", " and ", " to ", " with ")  # single tokens too: Qwen2 splits the space before a digit off
# Qwen2's own split, which transformers puts in the place of any other: words with their leading space, single digits,
# punctuation with its line ends.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: Path, format: Format = SPRINT) -> int:
    """Train on the texts, write a Hugging Face tokenizer into the folder, and return its vocabulary size.

    Tags of the format are single tokens.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    whole = (*BEFORE_NUMBERS, *format.tag_texts(STAGES, WIDTH))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, bos_token=None)
    fast.save_pretrained(folder)
    return len(fast)


@dataclass
class MiniShape:
    hidden_size: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 704
    context: int = 6144


@dataclass
class MiniConfig:
    """`texts` is the number of rows of each file that the tokenizer is trained on.

    `protocol` names the format of parallel reasoning whose tags are single tokens (sprint_sgl/protocol/formats.py).
    `weights` names a model to take shape and weights from; embeddings are kept for tokens in both vocabularies.
    """

    rows: list[str]
    out: str = "work/mini/random"
    vocab_size: int = 512
    texts: int = 4000
    seed: int = 1
    protocol: str = "sprint"
    weights: str | None = None
    shape: MiniShape = field(default_factory=MiniShape)


def init_weights(folder: Path, vocab_size: int, shape: MiniShape, seed: int) -> int:
    """Write a randomly initialised Qwen2 into the folder and return its number of parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    return int(sum(p.numel() for p in model.parameters()))


def transfer_weights(folder: Path, source: Path, context: int, seed: int) -> tuple[int, int]:
    """Write the source model into the folder, its embeddings rearranged for the folder's tokenizer.

    Return the number of parameters and the number of tokens in both vocabularies; other tokens get random embeddings.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    old, new = (AutoTokenizer.from_pretrained(at).get_vocab() for at in (source, folder))
    shared = sorted(set(old) & set(new))
    model = AutoModelForCausalLM.from_pretrained(source, dtype="float32")
    ends = (model.get_input_embeddings, model.get_output_embeddings)  # of one tensor where embeddings are tied
    before = [end().weight.detach().clone() for end in ends]
    model.resize_token_embeddings(len(new), mean_resizing=False)
    for end, rows in zip(ends, before, strict=True):
        weights = end().weight.data
        weights.normal_(std=model.config.initializer_range)
        weights[[new[token] for token in shared]] = rows[[old[token] for token in shared]]
    model.config.max_position_embeddings, model.config.use_cache = context, True
    model.config.eos_token_id = model.config.pad_token_id = new[END]
    model.save_pretrained(folder)
    return int(sum(p.numel() for p in model.parameters())), len(shared)


def row_texts(path: Path, limit: int) -> Iterator[str]:
    """Yield the texts of the first `limit` rows of a file."""
    with path.open() as file:
        for line, _ in zip(file, range(limit), strict=False):
            yield from (message["content"] for message in json.loads(line)["messages"])


@entry_point("mini", MiniConfig)
def main(config: MiniConfig) -> None:
    if missing := [path for path in config.rows if not Path(path).is_file()]:
        raise BadInput(f"{missing[0]} does not exist: rows=[FILE,...] names the files to train the tokenizer on")
    format = format_named(config.protocol)
    source = weights_folder(config.weights) if config.weights else None
    if source and not (source / "config.json").is_file():
        raise BadInput(f"weights={config.weights}: neither a model's folder nor the name of a shipped model")
    out = begin_run(config.out, MINI, asdict(config))
    texts = [text for path in config.rows for text in row_texts(Path(path), config.texts)]
    vocabulary = train_tokenizer(texts, config.vocab_size, out, format)
    if source is None:
        parameters = init_weights(out, vocabulary, config.shape, config.seed)
        print(f"{out}: {parameters / 1e6:.2f}M parameters, {vocabulary} tokens")
        return
    parameters, shared = transfer_weights(out, source, config.shape.context, config.seed)
    print(f"{out}: {parameters / 1e6:.2f}M parameters, {vocabulary} tokens, {shared} of them taken from {source}")


if __name__ == "__main__":
    main()
