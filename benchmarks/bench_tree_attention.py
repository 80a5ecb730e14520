"""Tokens a second and memory of a training step on trees, by attention: python -m benchmarks.bench_tree_attention

    ... --layers 28 --hidden 1536 --heads 12 --kv-heads 2 --tokens 10000     # the shape of a Qwen2 of 1.5B, on a GPU

Weights are random; a tree is a trunk of half of the tokens and branches from it. Losses of all must agree.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Annotated

import torch
import typer
from transformers import AutoModelForCausalLM, Qwen2Config

from sprint_sgl.console import say
from training.tree import IGNORED, Node, Tree
from training.tree_attention import Spans, stacked


def bench_tree(tokens: int, branches: int, vocabulary: int) -> Tree:
    """A trunk of half of the tokens, and that many branches from places along it; every token is trained but the first
    of each branch."""
    stretch, twig = tokens // 2 // (branches + 1), tokens // 2 // branches
    generator = torch.Generator().manual_seed(1)

    def node(parent: int | None, length: int, trained: bool) -> Node:
        ids = tuple(torch.randint(vocabulary, (length,), generator=generator).tolist())
        return Node(parent, ids, ids if trained else (IGNORED, *ids[1:]))

    trunk = [node(k - 1 if k else None, stretch, True) for k in range(branches + 1)]
    return Tree((*trunk, *(node(k, twig, False) for k in reversed(range(branches)))))


def steps(impl: str, config: Qwen2Config, batch: dict[str, torch.Tensor], rounds: int) -> Iterator[tuple[float, float]]:
    """Loss and seconds of each step."""
    torch.manual_seed(1)
    dtype = torch.bfloat16 if batch["input_ids"].is_cuda else torch.float32
    model = AutoModelForCausalLM.from_config(config, attn_implementation=impl, dtype=dtype)
    model.to(batch["input_ids"].device).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for _ in range(rounds):
        begun = time.perf_counter()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        model.zero_grad()
        yield loss.item(), time.perf_counter() - begun


def main(
    impls: str = "tree_sdpa,tree_paths",
    tokens: Annotated[int, typer.Option(min=100)] = 3000,
    branches: Annotated[int, typer.Option(min=1)] = 18,
    layers: int = 6,
    hidden: int = 256,
    heads: int = 4,
    kv_heads: int = 2,
    vocabulary: int = 1000,
    rounds: Annotated[int, typer.Option(min=2)] = 5,
) -> None:
    """Print the median of all steps but the first, which compiles."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32768,
    )
    tree = bench_tree(tokens, branches, vocabulary)
    size = -(-len(tree.input_ids) // 128) * 128
    batch = {"attention_mask": stacked([Spans(tree.entry_of_tokens, tree.exit_of_tokens)], size).to(device)}
    for name, values, padding in (
        ("input_ids", tree.input_ids, 0),
        ("labels", tree.labels, IGNORED),
        ("position_ids", tree.position_ids, 0),
    ):
        batch[name] = torch.tensor([[*values, *[padding] * (size - len(values))]], device=device)
    for impl in impls.split(","):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        losses, seconds = zip(*steps(impl, config, batch, rounds), strict=True)
        median = sorted(seconds[1:])[len(seconds[1:]) // 2]
        peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 1024 * _peak_kib()
        say(
            f"{impl}: loss {losses[0]:.5f}, {median:.3f} s a step ({seconds[0]:.1f} s the first), "
            f"{len(tree.input_ids) / median:,.0f} tokens/s, {peak / 2**30:.2f} GiB"
        )


def _peak_kib() -> int:
    """Of the process so far, so that on a CPU a later peak shows only where it is higher."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    typer.run(main)
