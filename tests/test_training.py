"""Training: the composed command, what is refused, and one real ms-swift run of a few steps."""

import json
import math
from itertools import islice
from pathlib import Path

import pytest

from curation.countdown_rows import Config as RowsConfig
from curation.countdown_rows import Problems, make
from sprint_sgl.errors import BadInput
from sprint_sgl.tags import EXECUTOR_STOPS, PLANNER_STOPS
from training.export import export
from training.mini import Shape, init_weights, row_texts, train_tokenizer
from training.train import Config, Recipe, compose, last_checkpoint, train

TINY = Shape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64, context=4096)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rows")
    make(RowsConfig(out=str(out), problems=Problems(three=24, four=30), validation=4))
    return out


@pytest.fixture(scope="module")
def base(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base")
    texts = [*row_texts(rows / "sprint.train.jsonl", 200), *row_texts(rows / "rft.train.jsonl", 200)]
    init_weights(out, train_tokenizer(texts, 512, out), TINY, seed=1)
    return out


def recipe(**changes: object) -> Recipe:
    """The shipped recipe, read as the entry point reads it, cut down to a few steps."""
    import yaml

    values = yaml.safe_load((Path(__file__).parents[1] / "conf/recipe/countdown_mini.yaml").read_text())
    return Recipe(args={**values["args"], **changes}, env=values["env"])


def test_the_command_names_every_argument_of_the_recipe(tmp_path: Path) -> None:
    command = compose(Config("model", "data/sprint", str(tmp_path), Recipe({"learning_rate": 1e-3, "use_cpu": True})))
    assert command[command.index("--learning_rate") + 1] == "0.001"
    assert command[command.index("--use_cpu") + 1] == "true"
    assert command[command.index("--dataset") + 1] == "data/sprint.train.jsonl"
    nested = compose(Config("model", "data", str(tmp_path), Recipe({"lr_scheduler_kwargs": {"num_cycles": 0.4}})))
    assert nested[nested.index("--lr_scheduler_kwargs") + 1] == '{"num_cycles": 0.4}'
    assert "--resume_from_checkpoint" not in command


def test_an_interrupted_run_is_resumed_from_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (500, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1500").mkdir()  # cut off while it was written
    command = compose(Config("model", "data", str(tmp_path)))
    assert command[command.index("--resume_from_checkpoint") + 1] == str(tmp_path / "checkpoint-1000")


def test_a_run_goes_on_from_the_end_of_another(tmp_path: Path) -> None:
    (tmp_path / "first" / "checkpoint-40").mkdir(parents=True)
    (tmp_path / "first" / "checkpoint-40" / "trainer_state.json").write_text("{}")
    command = compose(Config(str(tmp_path / "first"), "data", str(tmp_path / "second")))
    assert command[command.index("--model") + 1] == str(tmp_path / "first" / "checkpoint-40")


def test_a_missing_dataset_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.train\.jsonl is not there"):
        train(Config("some/model", str(tmp_path / "nothing"), str(tmp_path / "out")))


def test_a_model_folder_without_weights_is_one_clear_error(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no weights"):
        train(Config(str(tmp_path), str(rows / "rft"), str(tmp_path / "out")))


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


@pytest.mark.training
def test_ms_swift_trains_stops_resumes_and_its_model_exports(rows: Path, base: Path, tmp_path: Path) -> None:
    steps = {"save_steps": 2, "logging_steps": 1, "eval_strategy": "no", "per_device_train_batch_size": 2}
    out = tmp_path / "run"
    for last in (2, 4):
        config = Config(str(base), str(rows / "sprint"), str(out), recipe(max_steps=last, **steps))
        assert train(config) == 0
        checkpoint = last_checkpoint(out)
        assert checkpoint is not None
        assert checkpoint.name == f"checkpoint-{last}"
    history = json.loads((out / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    assert sorted(losses) == [1, 2, 3, 4]
    assert losses[4] < math.log(512) + 0.5
    assert "--resume_from_checkpoint" in (out / "command.sh").read_text()

    size = export(out, tmp_path / "model", {"prompt_style": "mini"})
    assert size < 25e6
    assert json.loads((tmp_path / "model" / "sprint.json").read_text()) == {"prompt_style": "mini"}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
