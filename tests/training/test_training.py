"""Training: the composed command, what is refused, and one real ms-swift run of a few steps."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

import psutil
import pytest
from hydra import compose as compose_config
from hydra import initialize_config_dir

from curation.countdown.rows import CountdownRowsConfig, Problems, make_rows
from programs import sprint_program
from sprint_sgl import protocol
from sprint_sgl.config import open_overrides, typed_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol import EXECUTOR_STOPS, PLANNER_STOPS
from sprint_sgl.runtime.launcher import launch
from sprint_sgl.runtime.server import free_port, resolve_model, runtime_config
from sprint_sgl.storage.checkpoints import best_checkpoint, last_checkpoint, model_notes
from sprint_sgl.storage.output_folders import TRAINING, locked_folder
from sprint_sgl.storage.package_files import CONF
from sprint_sgl.training_rows import make_row, row_text
from tests.fakes.waiting import wait_for
from training.card import write_card
from training.check_rows import Encoder
from training.check_rows import main as check_command
from training.export import export
from training.machines import Machines, processor_has_bf16
from training.mini import MiniShape, init_weights, row_texts, train_tokenizer, transfer_weights
from training.preflight import check_args, check_training, load_spelling
from training.record import draw_curves, read_log, run_record
from training.row_file import read_rows, rows_kind
from training.swift_arguments import argument_names
from training.train import (
    Recipe,
    TrainConfig,
    check_same_run,
    compose_command,
    data_files,
    finished_step,
    shell_line,
    train,
    write_run_files,
)
from training.tree.labels import row_tree

CPU = {"use_cpu": True}
ZERO_3 = {"deepspeed": "zero3", "optimizer": None}
TINY = MiniShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64, context=4096)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rows")
    make_rows(CountdownRowsConfig(out=str(out), problems=Problems(three=24, four=30), validation=4))
    return out


@pytest.fixture(scope="module")
def base(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base")
    texts = [*row_texts(rows / "sprint.train.jsonl", 200), *row_texts(rows / "rft.train.jsonl", 200)]
    init_weights(out, train_tokenizer(texts, 512, out), TINY, seed=1)
    return out


def recipe(**changes: object) -> Recipe:
    """Return the shipped recipe as the entry point reads it, with changes that cut it down to a few steps."""
    import yaml

    values = yaml.safe_load((Path(__file__).parents[2] / "conf/recipe/countdown_mini.yaml").read_text())
    return Recipe({**values["args"], **changes}, values["env"], notes={"prompt_style": "mini", "max_new_tokens": 64})


def composed(*overrides: str) -> TrainConfig:
    """Return the config that the entry point makes of these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed_settings(compose_config("train", open_overrides(TrainConfig, overrides)), TrainConfig)


def test_the_command_names_every_argument_of_the_recipe(tmp_path: Path) -> None:
    command = compose_command(
        TrainConfig("model", "data/sprint", str(tmp_path), Recipe({"learning_rate": 1e-3, "use_cpu": True}))
    )
    assert command[command.index("--learning_rate") + 1] == "0.001"
    assert command[command.index("--use_cpu") + 1] == "true"
    assert command[command.index("--dataset") + 1] == str(Path.cwd() / "data/sprint.train.jsonl")  # from any folder
    nested = compose_command(
        TrainConfig("model", "data", str(tmp_path), Recipe({"lr_scheduler_kwargs": {"num_cycles": 0.4}}))
    )
    assert nested[nested.index("--lr_scheduler_kwargs") + 1] == '{"num_cycles": 0.4}'
    several = compose_command(
        TrainConfig("model", "data", str(tmp_path), Recipe({"report_to": ["tensorboard", "wandb"]}))
    )
    assert several[several.index("--report_to") + 1 :][:2] == ["tensorboard", "wandb"]
    assert "--deepspeed" not in compose_command(
        TrainConfig("model", "data", str(tmp_path), Recipe({"deepspeed": None}))
    )
    assert "--resume_from_checkpoint" not in command


def test_rows_without_validation_rows_are_trained_without_evaluation(rows: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.train.jsonl"
    few.write_text((rows / "rft.train.jsonl").read_text())
    for name in (str(few), str(tmp_path / "few")):
        config = TrainConfig("model", name, str(tmp_path), recipe(load_best_model_at_end=True))
        assert data_files(config) == [few]
        command = compose_command(config)
        assert "--val_dataset" not in command
        assert command[command.index("--eval_strategy") + 1] == "no"
        assert command[command.index("--eval_on_start") + 1] == "false"
        assert command[command.index("--load_best_model_at_end") + 1] == "false"
    (tmp_path / "few.valid.jsonl").touch()  # as curation leaves it when no question was held out
    assert data_files(TrainConfig("model", str(tmp_path / "few"), str(tmp_path))) == [few]


@pytest.mark.parametrize(("name", "kind"), [("sprint", "sprint"), ("rft", "rft")])
def test_a_file_of_rows_says_what_it_trains(rows: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert rows_kind(rows / f"{name}.train.jsonl") == kind
    both = tmp_path / "both.jsonl"
    both.write_text("".join((rows / f"{each}.valid.jsonl").read_text() for each in ("sprint", "rft")))
    assert rows_kind(both) is None


def test_an_interrupted_run_is_resumed_from_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (500, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1500").mkdir()  # cut off while it was written
    for name, state in (("checkpoint-1200", '{"global_st'), ("checkpoint-old", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(state)
    command = compose_command(TrainConfig("model", "data", str(tmp_path)))
    assert command[command.index("--resume_from_checkpoint") + 1] == str(tmp_path / "checkpoint-1000")


def test_a_run_does_not_go_on_from_checkpoints_of_another(rows: Path, base: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(base), str(rows / "rft"), str(tmp_path), recipe())
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    before = run_record(asdict(config), base, [rows / f"rft.{split}.jsonl" for split in ("train", "valid")])
    (tmp_path / "run.json").write_text(json.dumps(before))
    with pytest.raises(BadInput, match="holds a run on other rows"):
        train(replace(config, dataset=str(rows / "sprint")))
    other = tmp_path / "other"
    shutil.copytree(base, other)
    (other / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="holds a run from other weights"):
        train(replace(config, model=str(other)))
    with pytest.raises(BadInput, match="holds a run on 1 devices"):
        train(replace(config, machines=Machines(processes=2)))
    on_hub = {**before, "weights": {}}
    with pytest.raises(BadInput, match="holds a run from other weights"):
        check_same_run(tmp_path, {**on_hub, "settings": {**before["settings"], "model": "org/other"}})
    (tmp_path / "run.json").unlink()
    with pytest.raises(BadInput, match="holds checkpoint-5, other and no run of sprint-sgl train"):
        train(config)


def test_a_run_that_goes_on_keeps_its_recipe_and_one_that_has_ended_does_nothing(
    rows: Path, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    args = recipe(max_steps=5, learning_rate=1e-3)
    config = TrainConfig(str(base), str(rows / "rft"), str(tmp_path), args)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5, "max_steps": 5}')
    before = run_record(asdict(config), base, [rows / f"rft.{split}.jsonl" for split in ("train", "valid")])
    (tmp_path / "run.json").write_text(json.dumps(before))
    with pytest.raises(BadInput, match=r"holds a run with learning_rate=0\.001"):
        train(replace(config, recipe=replace(args, args=args.args | {"learning_rate": 5e-3})))
    assert train(config) == 0
    assert "is complete: trained to step 5" in capfd.readouterr().err
    assert finished_step(tmp_path, {"max_steps": 6}) is None
    state = {"global_step": 9, "max_steps": 9, "num_train_epochs": 3}
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text(json.dumps(state))
    assert finished_step(tmp_path, {"num_train_epochs": 3}) == 9
    assert finished_step(tmp_path, {"num_train_epochs": 4}) is None


def test_a_model_without_a_tokenizer_or_with_a_name_misspelt_is_one_clear_error(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="holds no tokenizer"):
        load_spelling(str(tmp_path))
    with pytest.raises(BadInput, match="holds no tokenizer"):
        Encoder.load(str(tmp_path))
    with pytest.raises(BadInput, match="does not exist"):
        train(TrainConfig("models/countdown-mini-spirnt", str(rows / "rft"), str(tmp_path / "out")))


def test_a_run_goes_on_from_the_end_of_another(tmp_path: Path) -> None:
    (tmp_path / "first" / "checkpoint-40").mkdir(parents=True)
    (tmp_path / "first" / "checkpoint-40" / "trainer_state.json").write_text("{}")
    command = compose_command(TrainConfig(str(tmp_path / "first"), "data", str(tmp_path / "second")))
    assert command[command.index("--model") + 1] == str(tmp_path / "first" / "checkpoint-40")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "recipe").glob("*.yaml")))
def test_ms_swift_knows_every_argument_of_every_recipe(name: str, tmp_path: Path) -> None:
    from swift.arguments import SftArguments
    from transformers import HfArgumentParser

    command = compose_command(composed(f"recipe={name}", "model=some/model", "dataset=rows/sprint", f"out={tmp_path}"))
    assert ("torch.distributed.run" in command) == ("countdown_mini" not in name)
    parsed, unknown = HfArgumentParser(SftArguments).parse_known_args(command[command.index("swift.cli.sft") + 1 :])
    assert unknown == []
    assert parsed.dataset == [str(Path("rows/sprint.train.jsonl").absolute())]
    assert {each.name for each in fields(SftArguments)} <= argument_names()


def test_a_misspelt_argument_is_answered_with_the_near_one() -> None:
    with pytest.raises(BadInput, match=r"no argument recipe\.args\.learning_rat, did you mean learning_rate"):
        check_args({"learning_rat": 1})


def test_the_papers_recipe_is_the_papers(tmp_path: Path) -> None:
    config = composed("recipe=paper", "dataset=rows/sprint", f"out={tmp_path}", "machines.processes=8")
    args = config.recipe.args
    assert config.model == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    assert (args["learning_rate"], args["weight_decay"], args["num_train_epochs"]) == (1e-5, 1e-4, 5)
    assert (args["lr_scheduler_type"], args["warmup_ratio"], args["eval_steps"]) == ("linear", 0.05, 100)
    assert (args["deepspeed"], args["bf16"], args["per_device_train_batch_size"]) == ("zero3", True, 1)
    assert compose_command(config)[1:8] == [
        "-m",
        "torch.distributed.run",
        "--nnodes",
        "1",
        "--nproc_per_node",
        "8",
        "--master_port",
    ]


def test_each_node_gets_its_rank_and_the_first_ones_address() -> None:
    words = Machines(processes=8, nodes=4, rank=2, address="10.0.0.1").torchrun_args()
    assert words[words.index("--node_rank") + 1] == "2"
    assert words[words.index("--master_addr") + 1] == "10.0.0.1"
    assert Machines().torchrun_args()[2:6] == ["--nnodes", "1", "--nproc_per_node", "1"]
    for machines, said in (
        (Machines(processes=0), "at least 1, got 0 and 1"),
        (Machines(nodes=4), "needs machines.rank"),
        (Machines(nodes=4, rank=4, address="10.0.0.1"), r"in \[0, 3\] with 4 nodes, got 4"),
        (Machines(port=99999), r"in \[1, 65535\], got 99999"),
        (Machines(processes=6), "must divide the number of devices, 6, got 4"),
    ):
        with pytest.raises(BadInput, match=said):
            machines.check({"sequence_parallel_size": 4 if machines.processes == 6 else 1})


def test_under_slurm_the_job_says_which_node_this_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$3" = "gpu[07-08]" ] && printf "gpu07\\ngpu08\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07-08]")
    words = Machines(processes=8, nodes=2, address="slurm").torchrun_args()
    assert words[words.index("--node_rank") + 1] == "1"
    assert words[words.index("--master_addr") + 1] == "gpu07"
    monkeypatch.delenv("SLURM_NODEID")
    with pytest.raises(BadInput, match="SLURM_NODEID"):
        Machines(nodes=2, address="slurm").torchrun_args()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"messages": [{"role": "user", "content": "a"}]}', "line 2: 'messages' must be"),
        ('{"question": "a"}', "line 2: no list 'messages'"),
        ('{"messages": ["x", {"role": "user", "content": "a"}]}', "line 2: 'messages' must be"),
        ("[" * 100_000, "line 2: not JSON"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "loss": false}]}',
            "line 2: a message has the key 'loss' beside",
        ),
        ("{", "line 2: not JSON"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}', "has no text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(base: Path, tmp_path: Path, row: str, said: str) -> None:
    good = json.dumps({"messages": [{"role": role, "content": "a"} for role in ("user", "assistant")]})
    for split in ("train", "valid"):
        (tmp_path / f"rows.{split}.jsonl").write_text(f"{good}\n{row}\n")
    with pytest.raises(BadInput, match=re.escape(said)):
        train(TrainConfig(str(base), str(tmp_path / "rows"), str(tmp_path / "out")))


def test_rows_longer_than_the_limit_are_counted_or_refused(base: Path, rows: Path, tmp_path: Path) -> None:
    files = [rows / "rft.train.jsonl"]
    (said,) = check_training(str(base), files, tmp_path, {"max_length": 800, "truncation_strategy": "delete", **CPU})
    assert "are longer than max_length=800 tokens, and left out" in said
    assert check_training(str(base), files, tmp_path, {"max_length": 4096, **CPU}) == []
    with pytest.raises(BadInput, match="longer than max_length=800"):
        check_training(str(base), files, tmp_path, {"max_length": 800, "truncation_strategy": "raise", **CPU})
    with pytest.raises(BadInput, match="larger than the context"):
        check_training(str(base), files, tmp_path, {"max_length": 5000, **CPU})
    with pytest.raises(BadInput, match=r"all \d+ rows are longer than max_length=20 tokens"):
        check_training(str(base), files, tmp_path, {"max_length": 20, **CPU})


TREES = {"template": "sprint_tree", "attn_impl": "tree_paths", **CPU}


def test_a_trees_tokens_and_its_paths_have_limits_of_their_own(base: Path, rows: Path, tmp_path: Path) -> None:
    from sprint_sgl.runtime.tokenizer import JsonTokenizer

    files = [rows / "sprint.train.jsonl"]
    spelling = JsonTokenizer(str(base / "tokenizer.json"))
    found = [row_tree(row, spelling, 0) for row in read_rows(files[0])]
    sizes, paths = sorted(len(tree.input_ids) for tree in found), sorted(tree.longest_path for tree in found)
    assert sizes[-1] > paths[-1]
    wide = with_config(base, tmp_path / "wide", max_position_embeddings=paths[-1])
    assert check_training(str(wide), files, tmp_path, {"max_length": sizes[-1], **TREES}) == []
    (said,) = check_training(str(wide), files, tmp_path, {"max_length": sizes[-2], **TREES})
    assert f"is longer than max_length={sizes[-2]} tokens, and left out" in said
    short = with_config(base, tmp_path / "short", max_position_embeddings=paths[-2])
    (said,) = check_training(str(short), files, tmp_path, {"max_length": sizes[-1], **TREES})
    assert f"is longer than the model's context of {paths[-2]} tokens, on a path" in said
    middle = with_config(base, tmp_path / "middle", max_position_embeddings=paths[0] - 1)
    with pytest.raises(BadInput, match=rf"all {len(found)} rows are too long, \d+ of them longer than max_length="):
        check_training(str(middle), files, tmp_path, {"max_length": sizes[0], **TREES})
    tiny = with_config(base, tmp_path / "tiny", max_position_embeddings=9)
    with pytest.raises(BadInput, match=r"all \d+ rows are longer than the model's context of 9 .* choose a model"):
        check_training(str(tiny), files, tmp_path, {"max_length": sizes[-1], **TREES})


def with_config(model: Path, folder: Path, **values: object) -> Path:
    """Return a copy of the model with these values in its config.json."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"template": "dummy"}, "line 1: the row has the channel 'tree', and this recipe does not lay out trees"),
        ({"template": "sprint_tree"}, "needs .*attn_impl=tree_paths or tree_sdpa on this device, got None"),
        (TREES | {"attn_impl": "tree_flex"}, "needs .*attn_impl=tree_paths or tree_sdpa on this device, got tree_flex"),
        (TREES | {"use_cpu": False}, "needs .*attn_impl=tree_sdpa or tree_flex on this device, got tree_paths"),
        (TREES | {"template": "qwen2_5"}, "attn_impl=tree_paths needs template=sprint_tree"),
        (TREES | {"packing": True}, "packing=true joins rows into one sequence"),
        (TREES | {"sequence_parallel_size": 8}, "sequence_parallel_size=8 splits a row over devices"),
    ],
)
def test_trees_that_would_be_trained_as_something_else_are_refused(
    base: Path, rows: Path, tmp_path: Path, args: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        check_training(str(base), [rows / "sprint.train.jsonl"], tmp_path, CPU | args)


def test_rows_and_models_that_trees_cannot_be_made_of_are_refused(base: Path, rows: Path, tmp_path: Path) -> None:
    lines = (rows / "sprint.train.jsonl").read_text().splitlines()
    for change, said in (
        (("</Plan_1>", "</Plan_2>"), "line 3: the transcript is not well-formed from character"),
        (('"tree"', '"Tree"'), "line 3: unknown channel 'Tree'"),
        (("No way.", "No way.<|endoftext|>"), r"line 3: the text contains '<\|endoftext\|>', this model's end token"),
    ):
        broken = lines[2].replace(*change)
        assert broken != lines[2]
        (tmp_path / "broken.jsonl").write_text("\n".join([*lines[:2], broken]) + "\n")
        with pytest.raises(BadInput, match=said):
            check_training(str(base), [tmp_path / "broken.jsonl"], tmp_path, TREES)
    window = {"use_sliding_window": True, "sliding_window": 128, "layer_types": ["sliding_attention"] * 2}
    sliding = with_config(base, tmp_path / "sliding", **window)
    with pytest.raises(BadInput, match="has layers with a sliding window of 128 tokens"):
        check_training(str(sliding), [rows / "sprint.train.jsonl"], tmp_path, TREES)


def test_weights_move_to_another_vocabulary(base: Path, rows: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    vocabulary = train_tokenizer([*row_texts(rows / "rft.train.jsonl", 40), "zebra " * 200], 700, tmp_path)
    _, shared = transfer_weights(tmp_path, base, context=4096, seed=1)
    old, new = (AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (base, tmp_path))
    assert shared == len(old.keys() & new.keys()) < min(len(old), len(new)) < max(len(old), len(new))
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path))
    table = "model.embed_tokens.weight"
    assert len(after[table]) == vocabulary
    assert all((after[table][new[token]] == before[table][old[token]]).all() for token in old.keys() & new.keys())
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before if name != table)
    assert json.loads((tmp_path / "config.json").read_text())["max_position_embeddings"] == 4096


def test_bf16_follows_the_processor(tmp_path: Path) -> None:
    flags = tmp_path / "cpuinfo"
    for words, has in (("fpu avx2 fma", False), ("fpu avx512f avx512_bf16", True), ("amx_bf16", True)):
        flags.write_text(f"flags : {words}\n")
        assert processor_has_bf16(flags) is has
    assert not processor_has_bf16(tmp_path / "nothing")
    assert Recipe({"bf16": "auto", "use_cpu": True}).resolved_args()["bf16"] is processor_has_bf16()
    assert Recipe({"bf16": "auto"}).resolved_args()["bf16"] is True
    assert Recipe({"bf16": False}).resolved_args()["bf16"] is False


def test_a_model_that_is_nowhere_is_one_clear_error(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    files = [rows / "rft.train.jsonl"]
    with pytest.raises(BadInput, match="'no/such-model'"):
        check_training("no/such-model", files, tmp_path, {"max_length": 300, **CPU})


def test_a_disk_too_small_for_the_checkpoints_is_found_first(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(BadInput, match="lower recipe"):
        train(TrainConfig(str(base), str(rows / "rft"), str(tmp_path / "out")))


def test_a_run_is_recorded_with_its_data_and_its_curves_are_drawn(rows: Path, tmp_path: Path) -> None:
    files = [rows / "rft.train.jsonl"]
    found = run_record({"seed": 1}, tmp_path, files)
    assert found["data"][str(files[0])]["rows"] == len(files[0].read_text().splitlines())
    assert found["versions"]["ms-swift"]
    assert draw_curves(tmp_path) is None
    log = [{"loss": 2.0, "global_step/max_steps": "5/20"}, {"loss": 1.0, "global_step/max_steps": "10/20"}]
    log += [{"loss": 0.9, "global_step/max_steps": "10/20"}, {"eval_loss": 0.8, "global_step/max_steps": "10/20"}]
    log += [{"train_runtime": 9.0, "global_step/max_steps": "10/20"}, {"model_parameter_info": "3M"}]
    (tmp_path / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert [(line["step"], line.get("loss")) for line in read_log(tmp_path)] == [(5, 2.0), (10, 0.9), (10, None)]
    picture = draw_curves(tmp_path)
    assert picture
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_runs_card_says_from_what_on_what_and_how_it_went(rows: Path, tmp_path: Path) -> None:
    assert write_card(tmp_path) is None
    config = composed("model=hub/base", f"dataset={rows}/rft", f"out={tmp_path}", "machines.processes=2")
    (tmp_path / "run.json").write_text(
        json.dumps(run_record(asdict(config), Path(config.model), [rows / "rft.train.jsonl"]))
    )
    (tmp_path / "command.sh").write_text("swift sft --seed 1\n")
    log: list[dict[str, object]] = [
        {"loss": 1 / step, "tokens": 100 * step, "tokens_per_second": 50 + step} for step in (1, 2, 3)
    ]
    log += [{"eval_loss": 0.9}, {"eval_loss": 0.8, "eval_token_acc": 0.7}, {"eval_loss": 0.95}]
    steps = (1, 2, 3, 1, 2, 3)
    lines = [line | {"global_step/max_steps": f"{step}/9"} for step, line in zip(steps, log, strict=True)]
    (tmp_path / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = write_card(tmp_path)
    assert written
    text = written.read_text()
    for said in (
        "base_model: hub/base",
        "- step: 3/9",
        "- training loss: 0.3333",
        "- tokens, padding counted: 300",
        "- tokens/s, padding counted: 52 (median)",
        "- time without evaluations: 1 min, 0.0 device-hours",
        "- evaluation loss: 0.8000 at step 2",
        "- machines: 1 x 2 processes",
        f"{rows}/rft.train.jsonl: {len((rows / 'rft.train.jsonl').read_text().splitlines())} rows, SHA-256 ",
        "swift sft --seed 1",
        f"sprint-sgl launch --model {tmp_path}",
    ):
        assert said in text, said


def test_a_missing_dataset_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.train\.jsonl does not exist"):
        train(TrainConfig("some/model", str(tmp_path / "nothing"), str(tmp_path / "out")))


def test_a_model_folder_that_is_not_whole_is_one_clear_error(rows: Path, base: Path, tmp_path: Path) -> None:
    config = TrainConfig(str(tmp_path), str(rows / "rft"), str(tmp_path / "out"))
    with pytest.raises(BadInput, match=r"holds no config\.json"):
        train(config)
    shutil.copy(base / "config.json", tmp_path)
    with pytest.raises(BadInput, match="holds no weights"):
        train(config)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(BadInput, match=r"lacks model-1\.safetensors"):
        train(config)
    (tmp_path / "model-1.safetensors").touch()
    with pytest.raises(BadInput, match="holds no tokenizer"):
        train(config)
    shutil.copy(base / "tokenizer.json", tmp_path)
    with pytest.raises(BadInput, match=r"model-1\.safetensors is not a safetensors file"):
        train(config)
    (tmp_path / "model-1.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"model-1\.safetensors has been cut off"):
        train(config)
    shutil.copy(base / "model.safetensors", tmp_path / "model-1.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"config\.json is broken"):
        train(config)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"max_length": "abc"}, "recipe.args.max_length must be a whole number of at least 1, got abc"),
        ({"save_total_limit": 0}, "recipe.args.save_total_limit must be a whole number of at least 1, got 0"),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "save_steps": 150, "eval_steps": 100},
            "save_steps=150 must be a multiple of eval_steps=100",
        ),
        ({"report_to": ["tensorboard", "wandb"]}, "uv pip install wandb"),
        ({"quant_method": "bnb"}, "uv pip install bitsandbytes"),
        ({"use_cpu": False, "attn_impl": "tree_sdpa"}, "no GPU found"),
    ],
)
def test_values_that_ms_swift_would_stumble_over_are_found_first(
    rows: Path, base: Path, tmp_path: Path, args: dict, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lambda name: None if name in ("wandb", "bitsandbytes") else True  # noqa: E731
    monkeypatch.setattr("training.preflight.find_spec", there)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(BadInput, match=re.escape(said)):
        train(TrainConfig(str(base), str(rows / "rft"), str(tmp_path), recipe(**args)))


def test_the_command_of_any_machine_can_be_pasted_into_a_shell() -> None:
    nodes = ("machines.processes=8", "machines.nodes=2", "machines.rank=1", "machines.address=10.0.0.1")
    words = shlex.split(shell_line(composed("recipe=paper", "dataset=d", "out=work/o", *nodes)))
    assert "USE_HF=1" in words
    assert words[words.index("--nproc_per_node") + 1] == "8"
    assert words[words.index("--node_rank") + 1] == "1"
    assert words[words.index("--model") + 1] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def test_the_best_checkpoint_is_the_one_that_the_trainer_found_best_wherever_the_run_lies(tmp_path: Path) -> None:
    for step, best in ((100, 100), (200, 100), (300, 200)):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_global_step": best}))
    assert best_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-200"
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert best_checkpoint(moved) == moved / "checkpoint-200"
    shutil.rmtree(moved / "checkpoint-200")
    assert best_checkpoint(moved) == moved / "checkpoint-300"


@pytest.mark.parametrize(
    ("answer", "model", "message"),
    [
        ("No.<|endoftext|>", "countdown-mini-rft", "line 1: the text contains '<|endoftext|>', this model's end token"),
        ("No.", "README.md", "README.md is a file: a model is a folder, or a hub id"),
    ],
)
def test_the_check_refuses_what_a_training_would_refuse(
    answer: str, model: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "rows.jsonl").write_text(json.dumps(make_row("Why?", answer)) + "\n")
    with pytest.raises(SystemExit) as ended:
        check_command([str(file), "--model", model])
    assert (ended.value.code, message in capsys.readouterr().err) == (1, True)


def test_two_trainings_do_not_write_into_one_folder(rows: Path, tmp_path: Path) -> None:
    words = ["-m", "training.train", "model=x", f"dataset={rows}/rft", f"out={tmp_path}"]
    with locked_folder(tmp_path, TRAINING):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "another run is writing" in done.stderr


def test_the_tokenizer_splits_digits_and_survives_a_round_trip(base: Path, rows: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for text in islice(row_texts(rows / "sprint.train.jsonl", 20), 40):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.decode(i) for i in tokenizer.encode("1234")] == ["1", "2", "3", "4"]


def test_every_stop_string_that_a_row_needs_is_one_token(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for stop in {*PLANNER_STOPS, *EXECUTOR_STOPS}:
        assert len(tokenizer.encode(stop)) == 1, stop


def test_context_and_response_tokenise_apart_as_they_do_together(base: Path, rows: Path) -> None:
    """So training, which tokenises the two apart, and inference, which sees the whole context, agree."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for name in ("sprint", "rft"):
        for line in islice((rows / f"{name}.train.jsonl").open(), 60):
            context, response = (message["content"] for message in json.loads(line)["messages"])
            assert tokenizer.encode(context) + tokenizer.encode(response) == tokenizer.encode(context + response)


def losses(run: Path) -> dict[int, float]:
    return {line["step"]: float(line["loss"]) for line in read_log(run) if "loss" in line}


@pytest.mark.training
def test_a_run_with_zero_3_trains(rows: Path, base: Path, tmp_path: Path) -> None:
    shipped = recipe(max_steps=2, logging_steps=1, eval_strategy="no", bf16=False, **ZERO_3)
    zero = replace(shipped, env=shipped.env | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"})
    assert train(TrainConfig(str(base), str(rows / "sprint"), str(tmp_path / "run"), zero)) == 0
    assert sorted(losses(tmp_path / "run")) == [1, 2]
    assert last_checkpoint(tmp_path / "run") is not None


@pytest.mark.training
@pytest.mark.release
def test_two_processes_with_zero_3_learn_as_one_does(rows: Path, base: Path, tmp_path: Path) -> None:
    """Two rows a step, by one process or by two, each of which holds half of everything."""
    settings = {"max_steps": 6, "logging_steps": 1, "eval_strategy": "no", "save_steps": 6, "bf16": False}
    settings |= {"group_by_length": False, **ZERO_3}
    lines = (rows / "sprint.train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "even.train.jsonl").write_text("".join(lines[: len(lines) // 2 * 2]))  # of an odd one two drop a row
    (tmp_path / "even.valid.jsonl").write_text("".join(lines[:2]))
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        shipped = recipe(per_device_train_batch_size=2 // processes, **settings)
        zero = replace(shipped, env=shipped.env | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"})
        assert (
            train(TrainConfig(str(base), str(tmp_path / "even"), str(out), zero, Machines(processes, port=free_port())))
            == 0
        )
        found.append(losses(out))
    one, two = found
    assert sorted(one) == sorted(two) == [1, 2, 3, 4, 5, 6]
    assert two == pytest.approx(one, rel=1e-3)
    assert one[6] < one[1]


def reaches(checkpoint: Path, process: subprocess.Popen[bytes]) -> bool:
    """Return whether the run's last checkpoint is this one, or its process has ended."""
    return process.poll() is not None or last_checkpoint(checkpoint.parent) == checkpoint


@pytest.mark.training
@pytest.mark.release
def test_a_run_killed_twice_goes_on_as_if_it_had_not_been(rows: Path, base: Path, tmp_path: Path) -> None:
    settings = recipe(max_steps=12, logging_steps=1, eval_strategy="no", save_steps=3, per_device_train_batch_size=1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(TrainConfig(str(base), str(rows / "sprint"), str(whole), settings)) == 0
    config = TrainConfig(str(base), str(rows / "sprint"), str(killed), settings)
    for step in (3, 6):
        killed.mkdir(exist_ok=True)
        write_run_files(
            killed, config, run_record(asdict(config), base, data_files(config)), "as the command does before it starts"
        )
        process = subprocess.Popen(compose_command(config), env=os.environ | settings.env, start_new_session=True)
        reached = partial(reaches, killed / f"checkpoint-{step}", process)
        wait_for(reached, limit=300, every=0.01)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert train(config) == 0
    assert losses(killed) == pytest.approx(losses(whole), rel=1e-4)
    assert sorted(losses(killed)) == list(range(1, 13))


def test_runs_can_be_averaged_and_others_cannot(base: Path, tmp_path: Path) -> None:
    other, larger = tmp_path / "other", tmp_path / "larger"
    vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]
    for folder, shape, seed in ((other, TINY, 2), (larger, replace(TINY, layers=TINY.layers + 1), 1)):
        init_weights(folder, vocabulary, shape, seed)
    export(base, tmp_path / "mean", [other])
    from safetensors.torch import load_file

    first, second, both = (load_file(path / "model.safetensors") for path in (base, other, tmp_path / "mean"))
    name = "model.layers.0.mlp.up_proj.weight"
    expected = (first[name].float() + second[name].float()) / 2
    assert (both[name].float() - expected).abs().max() < 2**-8 * expected.abs().max()
    with pytest.raises(BadInput, match="larger has tensors of other names or shapes"):
        export(base, tmp_path / "mean", [larger])


@pytest.mark.training
def test_ms_swift_trains_stops_resumes_and_its_model_exports(rows: Path, base: Path, tmp_path: Path) -> None:
    steps = {"save_steps": 2, "logging_steps": 1, "eval_steps": 2, "per_device_train_batch_size": 2}
    out = tmp_path / "run"
    for last in (2, 4):
        config = TrainConfig(str(base), str(rows / "sprint"), str(out), recipe(max_steps=last, **steps))
        assert train(config) == 0
        checkpoint = last_checkpoint(out)
        assert checkpoint is not None
        assert checkpoint.name == f"checkpoint-{last}"
    assert sorted(losses(out)) == [1, 2, 3, 4]
    assert losses(out)[4] < losses(out)[1]
    starts = [start["command"] for start in json.loads((out / "run.json").read_text())["starts"]]
    assert ["--resume_from_checkpoint" in command for command in starts] == [False, True]
    assert (out / "command.sh").read_text().strip() == starts[0]
    assert all(line["tokens_per_second"] > 0 for line in read_log(out) if "loss" in line)
    evaluated = {line["step"]: line["eval_loss"] for line in read_log(out) if "eval_loss" in line}
    assert [*evaluated] == [0, 2, 4]
    assert evaluated[4] < evaluated[2] < evaluated[0]
    assert "before the first step to " in (out / "report.html").read_text()
    assert "- step: 4/4" in (out / "README.md").read_text()
    assert list((out / "runs").glob("events.out.tfevents.*"))  # TensorBoard's

    size = export(out, tmp_path / "model")
    assert size < 25e6
    notes = {"prompt_style": "mini", "max_new_tokens": 64, "trained_on": "sprint"}
    assert model_notes(str(tmp_path / "model")) == notes
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.training
@pytest.mark.release
def test_nothing_trains_on_when_the_command_has_been_killed(rows: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", "training.train", f"model={base}", f"dataset={rows}/rft", f"out={out}"]
    words += ["recipe.args.max_steps=5000", "recipe.args.save_steps=1", "recipe.args.eval_strategy=no"]
    command = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: command.poll() is not None or last_checkpoint(out) is not None, limit=300)
    assert command.poll() is None
    command.kill()
    wait_for(lambda: not running_with(str(out)), limit=60)


def running_with(word: str) -> bool:
    """Return whether a process has the word in its command line."""
    return any(word in word_of for each in psutil.process_iter(["cmdline"]) for word_of in each.info["cmdline"] or ())


@pytest.mark.training
@pytest.mark.release
def test_adapters_are_put_into_their_model_before_it_is_served(rows: Path, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    settings = recipe(tuner_type="lora", lora_rank=4, target_modules="all-linear", max_steps=2)
    out, merged = tmp_path / "run", tmp_path / "merged"
    assert train(TrainConfig(str(base), str(rows / "sprint.train.jsonl"), str(out), settings)) == 0  # not evaluated
    assert f"training.export checkpoint={out}" in (out / "README.md").read_text()
    with pytest.raises(BadInput, match="are adapters"):
        resolve_model(str(out))
    with pytest.raises(BadInput, match="are adapters"):
        train(TrainConfig(str(out), str(rows / "rft"), str(tmp_path / "next"), settings))
    export(out, merged)
    assert resolve_model(str(merged)) == str(merged)
    before, after = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (base, merged))
    changed = [name for name in before if not before[name].equal(after[name].to(before[name].dtype))]
    assert any("q_proj" in name for name in changed)


@pytest.mark.training
@pytest.mark.release
def test_submitit_runs_a_training_for_each_value(rows: Path, base: Path, tmp_path: Path) -> None:
    """On this machine; on a cluster the launcher is submitit_slurm."""
    words = [sys.executable, "-m", "sprint_sgl.cli.app", "train", "--multirun", "hydra/launcher=submitit_local"]
    words += ["hydra.launcher.timeout_min=10", f"hydra.sweep.dir={tmp_path}/sweep", f"model={base}"]
    words += [f"dataset={rows}/rft", f"out={tmp_path}/${{recipe.args.seed}}", "recipe.args.seed=1,2"]
    words += ["recipe.args.max_steps=1", "recipe.args.eval_strategy=no", "recipe.args.report_to=none"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(last_checkpoint(tmp_path / seed) for seed in ("1", "2"))


@pytest.mark.training
@pytest.mark.runtime
@pytest.mark.usefixtures("sglang_imported")
def test_a_model_that_knows_a_tree_by_heart_writes_it_at_inference(rows: Path, tmp_path: Path) -> None:
    """Through template, attention, optimiser, export, runtime and program each call sees what it was trained with: else
    a model this small would not know how to go on."""
    tree = min(read_rows(rows / "sprint.train.jsonl"), key=lambda row: len(row_text(row)))
    context, response = (message["content"] for message in tree["messages"])
    for split, count in (("train", 200), ("valid", 1)):
        (tmp_path / f"one.{split}.jsonl").write_text(f"{json.dumps(tree)}\n" * count)
    base, shape = tmp_path / "base", replace(TINY, hidden_size=96, heads=4, kv_heads=2, intermediate_size=192)
    init_weights(base, train_tokenizer([context, response], 400, base), shape, seed=1)
    settings = recipe(per_device_train_batch_size=1, eval_strategy="no", learning_rate=4e-3, bf16=False)
    assert train(TrainConfig(str(base), str(tmp_path / "one"), str(tmp_path / "run"), settings)) == 0
    export(tmp_path / "run", tmp_path / "model")
    question = context.partition("<Question>\n")[2].partition("\n</Question>")[0]
    with launch(str(tmp_path / "model"), runtime=runtime_config("cpu")) as endpoint:
        for way in ("eager", "barrier"):
            run = sprint_program.run(question, launch=way, temperature=0, max_new_tokens=512, backend=endpoint)
            written = protocol.render_stages(run.trajectory) + protocol.render_final_answer(run.trajectory.final_answer)
            assert written == response
            assert run.trajectory.repairs == ()
