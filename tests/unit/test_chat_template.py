"""A chat turn is written as the model's own template has it, whatever its folder is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from programs import skeleton_of_thought
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.chat_template import _tokenizer_with_template, user_turn
from sprint_sgl.storage.package_files import MODELS
from tests.fakes.scripted import ScriptedBackend

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, named as a training names it, with a template."""
    folder = tmp_path / "run-7"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(MODELS / "countdown-mini-sprint" / name, folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def test_the_template_of_the_folder_is_used(model: Path) -> None:
    turn = user_turn(str(model), "Two plus two?")
    assert turn == "<|im_start|>user\nTwo plus two?<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_in_the_tokenizers_config_counts_too(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "[{{ messages[0].content }}]"}))
    assert user_turn(str(model), "hello") == "[hello]"


def test_a_model_without_a_template_or_from_elsewhere_has_no_turn() -> None:
    assert user_turn(str(MODELS / "countdown-mini-sprint"), "hello") is None
    assert user_turn("/models/on/another/machine", "hello") is None
    assert user_turn("some-org/never-downloaded", "hello") is None


def test_a_template_that_fails_or_says_nothing_is_one_clear_error(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ raise_exception('a system message comes first') }}")
    with pytest.raises(BadInput, match=r"template of .*run-7 cannot be used for .*a system message comes first"):
        user_turn(str(model), "hello")
    silent = model.parent / "run-8"
    shutil.copytree(model, silent)
    (silent / "chat_template.jinja").write_text("")
    with pytest.raises(BadInput, match=r"template of .*run-8 leaves out the user's message"):
        user_turn(str(silent), "hello")
    (silent / "chat_template.jinja").unlink()
    (silent / "tokenizer_config.json").write_text("{")
    _tokenizer_with_template.cache_clear()
    with pytest.raises(BadInput, match=r"tokenizer_config\.json is broken"):
        user_turn(str(silent), "hello")


def test_what_the_tokenizer_puts_first_stands_there_once(model: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    (model / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<s>"}))
    plain = Tokenizer.from_file(str(model / "tokenizer.json"))
    plain.add_special_tokens(["<s>"])
    plain.save(str(model / "tokenizer.json"))
    assert user_turn(str(model), "hello") == "<s>hello"  # which this tokenizer does not add
    first = plain.token_to_id("<s>")
    plain.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", first)])
    other = model.parent / "run-8"
    shutil.copytree(model, other)
    plain.save(str(other / "tokenizer.json"))
    assert user_turn(str(other), "hello") == "hello"


def test_chat_methods_write_their_turns_with_it(model: Path) -> None:
    class Served(ScriptedBackend):
        def get_model_name(self) -> str:
            return str(model)

    backend = Served(lambda _: "1. a point\n2. another")
    skeleton_of_thought.skeleton_of_thought_program.run("How many?", backend=backend)
    assert all(request.context.startswith("<|im_start|>user\n") for request in backend.requests)
    assert all("<|im_end|>\n<|im_start|>assistant\n" in request.context for request in backend.requests)
