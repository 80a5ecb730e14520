"""The estimate of memory and time before a training; a real training takes what it says."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.bench_cost import MINI, Case, compare
from curation.countdown.rows import CountdownRowsConfig, Problems, make_rows
from sprint_sgl.config import open_overrides, typed_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.tokenizer import JsonTokenizer
from sprint_sgl.storage.package_files import CONF
from training.estimate.cost import GIB, CostConfig, TrainingEstimate, duration_line, layouts_table, verdict
from training.estimate.step_costs import StepCosts
from training.row_file import read_rows
from training.tree.labels import row_tree

SEVEN_BILLION = 7_615_616_512


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of DeepSeek-R1-Distill-Qwen-7B: a config and no weights, which an estimate does not need."""
    from transformers import Qwen2Config

    out = tmp_path_factory.mktemp("seven")
    Qwen2Config(
        hidden_size=3584,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        intermediate_size=18944,
        vocab_size=152064,
        max_position_embeddings=131072,
        tie_word_embeddings=False,
    ).save_pretrained(out)
    return out


@cache
def estimate(*overrides: str) -> TrainingEstimate:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return TrainingEstimate(typed_settings(compose("cost", open_overrides(CostConfig, overrides)), CostConfig))


def test_the_papers_recipe_fits_eight_cards_of_40_gb_and_not_four(seven: Path) -> None:
    eight = estimate("recipe=paper", "machines.processes=8", "device=a100_40gb", f"model={seven}")
    memory = eight.memory(eight.longest)
    assert eight.sizes.total == SEVEN_BILLION
    assert memory.states == pytest.approx(SEVEN_BILLION * 16 / 8)
    assert memory.peak < (39.4 - 3) * GIB
    assert verdict(eight, memory).startswith("It fits")
    four = estimate("recipe=paper", "machines.processes=4", "device=a100_40gb", f"model={seven}")
    memory = four.memory(four.longest)
    assert memory.peak > 39.4 * GIB
    assert "does not fit" in verdict(four, memory)


def test_the_longest_row_that_fits_is_the_longest_that_fits(seven: Path) -> None:
    eight = estimate("recipe=paper", "machines.processes=8", "device=a100_40gb", f"model={seven}")
    assert eight.memory(eight.longest_that_fits()).peak == pytest.approx(39.4 * GIB, rel=0.01)
    one = estimate("recipe=paper", "device=a100_40gb", f"model={seven}")
    assert one.longest_that_fits() == 0


@pytest.mark.release
def test_lora_trains_little_and_four_bits_hold_the_rest(seven: Path) -> None:
    lora, qlora = (estimate(f"recipe={name}", "device=a100_40gb", f"model={seven}") for name in ("lora", "qlora"))
    assert lora.sizes.trained < 0.03 * lora.sizes.total
    assert lora.memory(64).optimizer == lora.sizes.trained * 12
    assert qlora.memory(64).weights < 0.4 * lora.memory(64).weights
    assert qlora.memory(qlora.longest).peak < 24 * GIB


def test_offloading_leaves_no_states_and_sequence_parallel_shares_a_row(seven: Path) -> None:
    long = estimate("recipe=long", "machines.processes=8", "device=a100_40gb", f"model={seven}")
    memory = long.memory(32768)
    assert memory.states == 0
    assert memory.activations == pytest.approx(1.05 * long.step_costs.activations(1, 4096))
    assert memory.overhead == 2 * GIB  # the process, and NCCL's buffers


def test_fused_loss_and_checkpointing_take_less() -> None:
    plain = estimate(f"model={MINI}").memory(2048).activations
    again = estimate(f"model={MINI}", "recipe.args.gradient_checkpointing=true").memory(2048).activations
    fused = estimate(f"model={MINI}", "recipe.args.use_liger_kernel=true").memory(2048).activations
    assert again < 0.5 * plain
    assert fused < plain


def test_attention_makes_the_work_of_a_row_grow_faster_than_the_row(seven: Path) -> None:
    """Forward and backward, 14 operations for each layer, hidden number, and pair of tokens: torch counts all."""
    step_costs = estimate("recipe=paper", "device=a100_40gb", f"model={seven}").step_costs
    short, long = step_costs.flops(2048), step_costs.flops(4096)
    square = (long - 2 * short) / (2 * 2048**2)
    assert 12 <= square / (28 * 3584) <= 20


@pytest.mark.release
def test_lora_with_a_fused_loss_and_adapters_in_full_precision(seven: Path) -> None:
    fused = estimate("recipe=lora", "device=a100_40gb", f"model={seven}", "recipe.args.use_liger_kernel=true")
    assert fused.memory(512).activations > 0
    alone = estimate("recipe=lora", "device=a100_40gb", f"model={seven}", "recipe.args.deepspeed=null")
    assert alone.memory(64).optimizer == alone.sizes.trained * 8
    assert fused.sizes.trained_bytes * 2 == alone.sizes.trained_bytes


def test_stage_2_holds_a_whole_partition_of_gradients_in_full_precision(seven: Path) -> None:
    words = (
        "recipe=paper",
        "machines.processes=4",
        "device=a100_80gb",
        f"model={seven}",
        "recipe.args.deepspeed=zero2",
    )
    assert estimate(*words).memory(64).step == pytest.approx(SEVEN_BILLION * 4 / 4)


@pytest.mark.parametrize("tuner", ["full", "lora"])
@pytest.mark.parametrize("again", [True, False])
def test_layers_that_are_alike_count_as_all_of_them_run(
    tuner: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.estimate import simulate

    found = simulate.Simulation(str(MINI), {"tuner_type": tuner, "gradient_checkpointing": again})
    from_few = found.activations(2, 100), found.flops(100)
    monkeypatch.setattr(simulate, "layers_alike", lambda *_: False)
    assert (found.activations(2, 100), found.flops(100)) == from_few


def test_layers_that_differ_are_all_run() -> None:
    from torch.nn import Linear, ModuleList
    from transformers import Qwen2Config

    from training.estimate.simulate import layers_alike

    layers, config = ModuleList([Linear(8, 8), Linear(8, 8)]), Qwen2Config(num_hidden_layers=2)
    assert layers_alike(layers, config)
    assert not layers_alike(ModuleList([Linear(8, 8), Linear(8, 9)]), config)
    mixed = Qwen2Config(
        num_hidden_layers=2, layer_types=["full_attention", "sliding_attention"], use_sliding_window=True
    )
    assert not layers_alike(layers, mixed)


def test_what_was_simulated_is_not_simulated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"tuner_type": "full", "torch_dtype": "float32", "gradient_checkpointing": False}
    first = StepCosts(MINI, args, tmp_path)
    found = (first.sizes, first.context, first.activations(1, 64), first.flops(64))
    monkeypatch.setitem(sys.modules, "training.estimate.simulate", None)  # cannot be imported any more
    again = StepCosts(MINI, args | {"learning_rate": 1e-3}, tmp_path)
    assert (again.sizes, again.context, again.activations(1, 64), again.flops(64)) == found
    with pytest.raises(ImportError):
        again.flops(65)
    with pytest.raises(ImportError):
        _ = StepCosts(MINI, args | {"torch_dtype": "bfloat16"}, tmp_path).sizes


def test_a_model_whose_layers_have_another_name_is_run_whole(tmp_path: Path) -> None:
    from transformers import GPT2Config, T5Config

    GPT2Config(n_embd=32, n_layer=4, n_head=2, vocab_size=64).save_pretrained(tmp_path / "gpt2")
    assert StepCosts(tmp_path / "gpt2", {"tuner_type": "full"}, tmp_path / "cache").activations(1, 16) > 0
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(BadInput, match=r"\(t5\) is not a causal language model"):
        _ = StepCosts(tmp_path / "t5", {"tuner_type": "full"}, tmp_path / "cache").sizes


def test_a_damaged_cache_is_done_without(tmp_path: Path) -> None:
    total = StepCosts(MINI, {"tuner_type": "full"}, tmp_path).sizes.total
    with closing(sqlite3.connect(tmp_path / "cache.db")) as cache, cache:
        cache.execute("UPDATE Cache SET value = x'80', mode = 4")
    assert StepCosts(MINI, {"tuner_type": "full"}, tmp_path).sizes.total == total


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert StepCosts(MINI, {"tuner_type": "full"}, tmp_path / "file" / "folder").sizes.total > 10**6


def test_time_grows_with_epochs_and_shrinks_with_devices(tmp_path: Path) -> None:
    make_rows(CountdownRowsConfig(out=str(tmp_path), problems=Problems(three=10, four=4), validation=2))
    words = (f"model={MINI}", f"dataset={tmp_path}/rft")
    once = estimate(*words)
    work = once.work()
    assert once.longest == max(once.lengths)
    assert work.tokens == sum(once.lengths)
    # Six operations for each weight and token, and attention's for each pair of tokens.
    assert 1 < work.flops / (6 * once.sizes.total * work.tokens) < 2.5
    thrice = estimate(*words, "recipe.args.num_train_epochs=3", "machines.processes=3")
    assert thrice.seconds(work) == pytest.approx(once.seconds(work), rel=0.5)
    assert thrice.steps(work) == 3 * -(-work.rows // 12)
    assert f"{work.rows:,} rows, {work.tokens:,} tokens" in duration_line(once)


def test_the_same_trajectories_are_counted_as_trees_transcripts_and_calls(tmp_path: Path) -> None:
    make_rows(CountdownRowsConfig(out=str(tmp_path), problems=Problems(three=8, four=4), validation=2))
    trees = estimate(f"model={MINI}", f"dataset={tmp_path}/sprint", "device=cpu")
    spelling = JsonTokenizer(str(MINI / "tokenizer.json"))
    every = [row_tree(row, spelling, 0) for row in read_rows(tmp_path / "sprint.train.jsonl")]
    laid_out = [tree for tree in every if tree.longest_path <= trees.step_costs.context]
    assert len(laid_out) > 6  # a row with a longer path is left out of a training, and of its price
    assert trees.lengths == [len(tree.input_ids) for tree in laid_out]
    for tree, row in zip(laid_out, trees.rows, strict=True):
        branches = [number for number, node in enumerate(tree.nodes) if number and node.parent != number - 1]
        paths = [len(tree.path(number)[0]) for number in branches]
        assert row.transcript == row.longest_path == tree.trunk_length
        assert row.calls[-len(paths) :] == tuple(paths)  # each executor's, behind those of the planner
        assert row.calls[-len(paths) - 1] == tree.trunk_length  # the answer's
        assert tree.trunk_length < row.tree < sum(row.calls)
    counted = [str(cell) for cell in layouts_table(trees).columns[2].cells]
    totals = [sum(getattr(row, name) for row in trees.rows) for name in ("tree", "transcript")]
    assert counted == [f"{total:,}" for total in (*totals, sum(sum(row.calls) for row in trees.rows))]
    words = ("recipe.args.template=dummy", "recipe.args.attn_impl=null", "recipe.args.max_length=4096")
    with pytest.raises(BadInput, match="line 1: the row has the channel 'tree'"):
        estimate(f"model={MINI}", f"dataset={tmp_path}/sprint", *words).work()


def test_a_mask_of_all_pairs_takes_three_bytes_each() -> None:
    dense, paths = (estimate(f"model={MINI}", f"recipe.args.attn_impl={name}") for name in ("tree_sdpa", "tree_paths"))
    more = dense.memory(2048).activations - paths.memory(2048).activations
    assert more == pytest.approx(3 * 4 * 2048**2 * (1 + dense.config.device.fragments))


def test_what_cannot_be_estimated_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a config of ms-swift"):
        estimate(f"model={MINI}", "recipe.args.deepspeed=zero9").memory(64)
    with pytest.raises(BadInput, match="must divide the number of devices, 3, got 2"):
        estimate(f"model={MINI}", "recipe.args.sequence_parallel_size=2", "machines.processes=3")
    make_rows(CountdownRowsConfig(out=str(tmp_path / "rows"), problems=Problems(three=4, four=0), validation=1))
    with pytest.raises(BadInput, match="all rows are longer than 16 tokens"):
        estimate(f"model={MINI}", f"dataset={tmp_path}/rows/rft", "recipe.args.max_length=16").work()
    with pytest.raises(BadInput, match="model is missing"):
        estimate()
    with pytest.raises(BadInput, match="max_length must be a whole number of at least 1, got -5"):
        estimate(f"model={MINI}", "recipe.args.max_length=-5")
    with pytest.raises(BadInput, match=r"device\.fragments must be at least 0, got -1"):
        estimate(f"model={MINI}", "device.fragments=-1")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model')
    with pytest.raises(BadInput, match=r"config\.json is broken"):
        estimate(f"model={tmp_path}/broken")
    with pytest.raises(BadInput, match="tuner_type must be full or lora for an estimate, got adalora"):
        estimate(f"model={MINI}", "recipe.args.tuner_type=adalora")
    with pytest.raises(BadInput, match=r"not a folder with a config\.json"):
        estimate(f"model={tmp_path}")


@pytest.mark.training
@pytest.mark.release
def test_a_real_training_takes_the_memory_that_was_estimated(tmp_path: Path) -> None:
    case = Case("", MINI, 4, 768, {"gradient_checkpointing": False})
    (found,) = compare(case, tmp_path)
    assert found.estimated == pytest.approx(found.measured, rel=0.2)
