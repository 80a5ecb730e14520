"""Measure tokens per second and memory of a training step on trees, by attention implementation.

    python -m benchmarks.bench_tree_attention
    ... --layers 28 --hidden 1536 --heads 12 --kv-heads 2 --tokens 10000     # the shape of a Qwen2 of 1.5B, on a GPU

Weights are random. In a tree half of the tokens are the trunk, the others branches. All implementations must print the
same loss.
"""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from transformers import AutoModelForCausalLM, Qwen2Config

from sprint_sgl.console import one_line_errors, say
from training.tree.attention import BLOCK, Spans, stack_spans
from training.tree.layout import IGNORED, Tree, TreeNode


def random_tree(tokens: int, branches: int, vocabulary: int) -> Tree:
    """Return a tree whose trunk has half of the tokens, with branches along it. The first token of a branch is not
    trained.
    """
    stretch, twig = tokens // 2 // (branches + 1), tokens // 2 // branches
    generator = torch.Generator().manual_seed(1)

    def node(parent: int | None, length: int, trained: bool) -> TreeNode:
        ids = tuple(torch.randint(vocabulary, (length,), generator=generator).tolist())
        return TreeNode(parent, ids, ids if trained else (IGNORED, *ids[1:]))

    trunk = [node(k - 1 if k else None, stretch, True) for k in range(branches + 1)]
    return Tree((*trunk, *(node(k, twig, False) for k in reversed(range(branches)))))


def tree_batch(tree: Tree, device: torch.device) -> dict[str, torch.Tensor]:
    """Return a batch of one row, padded to whole blocks."""
    size = -(-len(tree.input_ids) // BLOCK) * BLOCK
    found = {"attention_mask": stack_spans([Spans(tree.token_entries, tree.token_exits)], size).to(device)}
    for name, values, padding in (
        ("input_ids", tree.input_ids, 0),
        ("labels", tree.labels, IGNORED),
        ("position_ids", tree.position_ids, 0),
    ):
        found[name] = torch.tensor([[*values, *[padding] * (size - len(values))]], device=device)
    return found


@dataclass(frozen=True)
class StepTiming:
    """Loss and seconds of the first step; median seconds and tokens/s of the others; peak memory in GiB."""

    loss: float
    seconds: float
    first: float
    tokens_per_second: float
    peak: float


def time_steps(impl: str, config: Qwen2Config, tree: Tree, rounds: int) -> StepTiming:
    """Time forward and backward passes of a model with random weights and checkpointed activations."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(1)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_config(config, attn_implementation=impl, dtype=dtype).to(device).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    batch, losses, seconds = tree_batch(tree, device), [], []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds):
        begun = time.perf_counter()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        model.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begun)
    # On a CPU the peak of the whole process so far: a later implementation shows only if it needs more.
    cpu_peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else cpu_peak
    median = statistics.median(seconds[1:])
    return StepTiming(losses[0], median, seconds[0], len(tree.input_ids) / median, peak / 2**30)


def main(
    impls: str = "tree_sdpa,tree_paths",
    tokens: Annotated[int, typer.Option(min=100)] = 3000,
    branches: Annotated[int, typer.Option(min=1)] = 18,
    layers: int = 6,
    hidden: int = 256,
    heads: int = 4,
    kv_heads: int = 2,
    rounds: Annotated[int, typer.Option(min=2)] = 5,
) -> None:
    """Print the median of all steps but the first, which includes compilation."""
    config = model_config(layers, hidden, heads, kv_heads)
    tree = random_tree(tokens, branches, config.vocab_size)
    for impl in impls.split(","):
        found = time_steps(impl, config, tree, rounds)
        say(
            f"{impl}: loss {found.loss:.5f}, {found.seconds:.3f} s a step ({found.first:.1f} s the first), "
            f"{found.tokens_per_second:,.0f} tokens/s, {found.peak:.2f} GiB"
        )


def model_config(layers: int, hidden: int, heads: int, kv_heads: int) -> Qwen2Config:
    """Return the config of a Qwen2 of this shape."""
    return Qwen2Config(
        vocab_size=1000,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32768,
    )


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
