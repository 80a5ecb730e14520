"""Tree rows: each trained token has the probability that it has in the call on its own, and the gradients agree."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from benchmarks.bpe_model import make_bpe_model
from curation.countdown.rows import Problems, training_problems
from curation.countdown.traces import write_trace
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, sprint_row
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.runtime.tokenizer import TransformersTokenizer
from sprint_sgl.storage.package_files import MODELS
from sprint_sgl.training_rows import TREE, Row, make_row, row_text
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from training.tree.attention import (
    Spans,
    attend_along_paths,
    block_mask,
    dense_mask,
    path_pieces,
    stack_spans,
    tree_attention,
)
from training.tree.labels import row_tree
from training.tree.layout import IGNORED, Tree, TreeNode

STYLE = prompt_style("mini")
WORDS = ["try", "12", "+", "7 = 19,", "so this", "fails;", "ünï 字", "<odd>", "\\frac{1}{2}\nand", "then 84", "-", "3"]


def text(rng: random.Random, most: int = 12) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def random_trajectory(rng: random.Random, stages: int, width: int) -> Trajectory:
    """Wide, deep, with stages that have no prompt, and executions that end in the middle of a word."""

    def stage() -> Stage:
        count = rng.randint(0, width)
        prompts = tuple(Prompt(text(rng, 6), text(rng) if rng.random() < 0.5 else "") for _ in range(count))
        executions = tuple(Execution(text(rng, 30)[: rng.randint(1, 90)].strip() or "x") for _ in range(count))
        return Stage(prompts, executions, text(rng) if rng.random() < 0.3 or not count else "")

    return Trajectory("Use 3 and 4 to make 7", tuple(stage() for _ in range(rng.randint(1, stages))), text(rng))


def countdown_trajectories(count: int) -> list[Trajectory]:
    traces = (write_trace(problem) for problem in training_problems(Problems(three=12, four=12, seed=31)))
    packed = [pack(trace) for trace in traces if trace]
    return [each.trajectory for each in packed if each.ratio >= 1.5][:count]


def row_of(trajectory: Trajectory) -> Row:
    return sprint_row(trajectory, STYLE, RowFormat.tree)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a BPE like Qwen's, whose texts are not spelt again as they were written."""
    return make_bpe_model(tmp_path_factory.mktemp("odd"))


@cache
def loaded(folder: Path, attention: str = "tree_sdpa") -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation=attention)
    return model, AutoTokenizer.from_pretrained(folder)


def laid_out(trajectory: Trajectory, tokenizer: Any) -> Tree:
    return row_tree(row_of(trajectory), TransformersTokenizer(tokenizer), tokenizer.eos_token_id)


def in_the_tree(model: Any, tree: Tree, padding: int = 0) -> torch.Tensor:
    """Logits of every token of the tree, in one pass of a batch that has it twice, the second time with padding."""
    count = len(tree.input_ids)
    spans = Spans(tree.token_entries, tree.token_exits)
    ids, positions = (
        torch.nn.functional.pad(torch.tensor([values, values]), (0, padding))
        for values in (tree.input_ids, tree.position_ids)
    )
    mask = stack_spans([spans, spans], count + padding)
    return model(input_ids=ids, position_ids=positions, attention_mask=mask).logits[1, :count]


def log_probabilities(logits: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Of the trained tokens, in order, each from what stands before it: as a trainer takes the loss."""
    places = [k for k, label in enumerate(labels) if label != IGNORED]
    chosen = torch.log_softmax(logits, -1)[[k - 1 for k in places]]
    return chosen.gather(1, torch.tensor([labels[k] for k in places])[:, None])[:, 0]


def calls(tree: Tree) -> Iterator[tuple[list[int], list[int]]]:
    """Each leaf's path, as ids and labels of a row of its own; a label stands in the first row that has it."""
    told: set[int] = set()
    for leaf in sorted(set(range(len(tree.nodes))) - {node.parent for node in tree.nodes}):
        above = tree.path_nodes(leaf)
        labels = [label if each not in told else IGNORED for each in above for label in tree.nodes[each].labels]
        yield tree.path(leaf)[0], labels
        told.update(above)


def alone(model: Any, tree: Tree) -> torch.Tensor:
    """The same from a row for each call, as they would be without a tree, in the order of the tree."""
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for ids, labels in calls(tree):
        given = log_probabilities(model(input_ids=torch.tensor([ids])).logits[0], labels)
        places = [k for k, label in enumerate(labels) if label != IGNORED]
        found |= {tuple(ids[: k + 1]): value for k, value in zip(places, given, strict=True)}
    paths = path_of_tokens(tree)
    return torch.stack([found[path] for path, label in zip(paths, tree.labels, strict=True) if label != IGNORED])


def path_of_tokens(tree: Tree) -> list[tuple[int, ...]]:
    """For each token all tokens up to it on its path."""
    ends: list[tuple[int, ...]] = []
    found = []
    for node in tree.nodes:
        above = () if node.parent is None else ends[node.parent]
        found += [(*above, *node.ids[: k + 1]) for k in range(len(node.ids))]
        ends.append((*above, *node.ids))
    return found


CASES: dict[str, Callable[[], list[Trajectory]]] = {
    "countdown": lambda: countdown_trajectories(1),
    "random": lambda: [random_trajectory(random.Random(seed), 4, 3) for seed in range(4)],
    "wide": lambda: [random_trajectory(random.Random(9), 2, 12)],
    "deep": lambda: [random_trajectory(random.Random(5), 14, 1)],
}


@pytest.mark.parametrize("attention", ["tree_sdpa", "tree_paths"])
@pytest.mark.parametrize(("case", "shipped"), [("countdown", True), *((case, False) for case in CASES)])
@torch.no_grad()
def test_each_trained_token_has_the_probability_of_the_call_on_its_own(
    case: str, shipped: bool, attention: str, odd: Path
) -> None:
    folder = MODELS / "countdown-mini-sprint" if shipped else odd
    (model, tokenizer), (plain, _) = loaded(folder, attention), loaded(folder, "sdpa")
    for trajectory in CASES[case]():
        tree = laid_out(trajectory, tokenizer)
        inside = log_probabilities(in_the_tree(model, tree, padding=5), tree.labels)
        assert (inside - alone(plain, tree)).abs().max() < 1e-9


@pytest.mark.parametrize("attention", ["tree_sdpa", "tree_paths"])
def test_the_loss_and_every_gradient_are_those_of_the_single_calls(attention: str, odd: Path) -> None:
    model, tokenizer = loaded(odd, attention)
    tree = laid_out(countdown_trajectories(1)[0], tokenizer)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    inside = -log_probabilities(in_the_tree(model, tree), tree.labels).mean()
    outside = -alone(model, tree).mean()
    assert inside.item() == pytest.approx(outside.item(), rel=1e-9)
    for ours, theirs in zip(gradients(inside), gradients(outside), strict=True):
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm() + 1e-12


@pytest.mark.parametrize("attention", ["tree_sdpa", "tree_paths"])
def test_checkpointed_activations_give_the_same_gradients(attention: str, odd: Path) -> None:
    model, tokenizer = loaded(odd, attention)
    tree, found = laid_out(random_trajectory(random.Random(2), 3, 2), tokenizer), []
    for kept in (True, False):
        if not kept:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train().zero_grad()
        (-log_probabilities(in_the_tree(model, tree), tree.labels).mean()).backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    model.gradient_checkpointing_disable()
    torch.testing.assert_close(*found)


def test_trained_is_what_models_write_and_nothing_else() -> None:
    _, tokenizer = loaded(MODELS / "countdown-mini-sprint")
    trajectory = Trajectory(
        "Q",
        (Stage((Prompt("first"), Prompt("second", "So")), (Execution("one"), Execution("two")), "tail"), Stage((), ())),
        "7",
    )
    tree = laid_out(trajectory, tokenizer)
    told = [tokenizer.decode([label for label in node.labels if label != IGNORED]) for node in tree.nodes]
    end = tokenizer.eos_token
    assert told == [
        "<Plan_1>\n<prompt_1.1> first </prompt_1.1>\n",
        "So\n<prompt_1.2> second </prompt_1.2>\n",
        f"tail\n</Plan_1>\n\n<Plan_2>\n</Plan_2>\n\n<Final_answer>\n7\n</Final_answer>\n</think>{end}",
        f"two\n</execution_1.2>\n{end}",
        f"one\n</execution_1.1>\n{end}",
    ]
    assert [node.parent for node in tree.nodes] == [None, 0, 1, 1, 0]
    seen = "".join(tokenizer.decode(tree.nodes[number].ids) for number in (0, 1, 3))
    assert "one" not in seen.partition("</Question>")[2]  # the second executor does not see its sibling
    assert (
        "".join(tokenizer.decode(tree.nodes[number].ids) for number in (0, 1, 2)) == row_text(row_of(trajectory)) + end
    )


def test_a_row_without_stages_is_one_path() -> None:
    _, tokenizer = loaded(MODELS / "countdown-mini-sprint")
    tree = row_tree(make_row("2+3=", "5."), TransformersTokenizer(tokenizer), tokenizer.eos_token_id)
    assert len(tree.nodes) == 1
    assert tokenizer.decode([label for label in tree.labels if label != IGNORED]) == f"5.{tokenizer.eos_token}"
    assert tree.position_ids == list(range(len(tree.input_ids)))


def test_a_transcript_that_no_program_would_write_is_refused() -> None:
    _, tokenizer = loaded(MODELS / "countdown-mini-sprint")
    context, response = (message["content"] for message in row_of(countdown_trajectories(1)[0])["messages"])
    broken = make_row(context, response.replace("</Plan_1>\n\n", "</Plan_1>\n"), TREE)
    with pytest.raises(BadInput, match="not well-formed from character"):
        row_tree(broken, TransformersTokenizer(tokenizer), tokenizer.eos_token_id)


def test_entry_and_exit_numbers_hold_for_any_tree() -> None:
    nodes = (
        TreeNode(None, (1, 2), (1, 2)),
        TreeNode(0, (3,), (3,)),
        TreeNode(1, (4,), (4,)),
        TreeNode(0, (5,), (IGNORED,)),
        TreeNode(3, (6,), (6,)),
    )
    tree = Tree(nodes)
    assert tree.exits == [5, 3, 3, 5, 5]
    assert tree.position_ids == [0, 1, 2, 3, 2, 3]
    assert tree.longest_path == 4
    mask = dense_mask(stack_spans([Spans(tree.token_entries, tree.token_exits)], 7))
    assert mask is not None
    mask = mask[0, 0]
    sees = [{k for k in range(7) if mask[q, k]} for q in range(7)]
    assert sees == [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {0, 1, 4}, {0, 1, 4, 5}, {6}]
    assert list(calls(tree)) == [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2, 5, 6], [IGNORED, IGNORED, IGNORED, 6])]


def test_a_token_is_not_trained_from_one_that_is_not_on_its_path() -> None:
    root, first = TreeNode(None, (1,), (IGNORED,)), TreeNode(0, (2,), (2,))
    with pytest.raises(ValueError, match="first token of node 2 is trained, but does not follow its parent"):
        Tree((root, first, TreeNode(0, (3,), (3,))))
    with pytest.raises(ValueError, match="node 3 is not in the subtree of its parent"):
        Tree((root, first, TreeNode(0, (3,), (IGNORED,)), TreeNode(1, (4,), (IGNORED,))))


@pytest.mark.parametrize("make_mask", [dense_mask, block_mask, path_pieces])
def test_what_is_made_of_a_batch_goes_with_it(make_mask: Callable[[torch.Tensor], Any]) -> None:
    found: list[Any] = []
    attend = tree_attention(make_mask, lambda *args: found.append(args[4]))
    tree = Tree((TreeNode(None, (1, 2), (1, 2)), TreeNode(0, (3,), (3,)), TreeNode(0, (4,), (IGNORED,))))
    spans = stack_spans([Spans(tree.token_entries, tree.token_exits)], 4)
    query = torch.zeros(1, 1, 4, 2)
    for _ in range(2):
        attend(None, query, query, query, spans)
    assert found[0] is found[1]  # made once
    gone = weakref.ref(spans)
    del spans
    found.clear()
    gc.collect()
    assert gone() is None


def test_attention_along_paths_drops_what_it_is_asked_to(odd: Path) -> None:
    _, tokenizer = loaded(odd)
    tree = laid_out(random_trajectory(random.Random(3), 2, 2), tokenizer)
    rows = path_pieces(stack_spans([Spans(tree.token_entries, tree.token_exits)], len(tree.input_ids)))
    q = torch.randn(1, 2, len(tree.input_ids), 8)
    plain, again = (attend_along_paths(torch.nn.Module(), q, q, q, rows)[0] for _ in range(2))
    assert plain.equal(again)
    assert not plain.equal(attend_along_paths(torch.nn.Module(), q, q, q, rows, dropout=0.5)[0])


@torch.no_grad()
def test_flex_attention_sees_what_the_dense_mask_does(odd: Path) -> None:
    _, tokenizer = loaded(odd)
    tree = laid_out(random_trajectory(random.Random(5), 6, 3), tokenizer)
    spans = stack_spans([Spans(tree.token_entries, tree.token_exits)] * 2, len(tree.input_ids) + 9)
    dense, blocks = dense_mask(spans), block_mask(spans)
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 2, spans.shape[-1], 16, generator=generator) for _ in range(3))
    told = torch.nn.functional.scaled_dot_product_attention(q, k, v, dense)
    torch.testing.assert_close(flex_attention(q, k, v, block_mask=blocks), told, atol=1e-5, rtol=1e-5)
