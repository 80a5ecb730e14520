"""Claims about contexts in tokens: they spell the text, and begin with the tokens that the runtime has seen."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sprint_sgl.runtime.prefix_reuse import TokenizedContext, append_reply, tokenize
from sprint_sgl.runtime.server import DEFAULT_MODEL, resolve_model
from sprint_sgl.runtime.tokenizer import (
    JOINING_TEST,
    TOKENIZER_TEST,
    ModelTokenizer,
    TransformersTokenizer,
    json_tokenizer,
    special_tokens,
    transformers_tokenizer,
)

TEXTS = st.lists(st.text("ab <\n/é字", max_size=12), min_size=1, max_size=6)


def encode(text: str) -> list[int]:
    """Encode pairs of characters, and a last single one."""
    pairs = [text[k : k + 2] for k in range(0, len(text), 2)]
    return [sum(ord(c) << 21 * k for k, c in enumerate(pair)) for pair in pairs]


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(number) for id in ids for number in (id & 0x1FFFFF, id >> 21) if number)


def characters(text: str) -> list[int]:
    """Other tokens of the same text, such as a model may write."""
    return [ord(c) for c in text]


@given(TEXTS, st.integers(0, 99))
def test_a_context_of_texts_and_replies_spells_all_of_it_and_keeps_the_tokens_of_replies(
    texts: list[str], seed: int
) -> None:
    rng, text, known = random.Random(seed), "", TokenizedContext()
    for piece in texts:
        if rng.random() < 0.5:
            text += piece
            continue
        context = tokenize(text, known, encode, encode)
        assert decode(context.ids) == text
        known = append_reply(context, piece, characters(piece), decode)
        assert known.ids == (*context.ids, *characters(piece))
        text += piece
        assert known.text == text


def test_tokens_of_the_stop_string_are_left_out_and_its_halves_written_anew() -> None:
    context = tokenize("ab", TokenizedContext(), encode, encode)
    reply = append_reply(context, "xyz", encode("xyz</p"), decode)  # xy, z<, /p
    assert reply.text == "abxy"
    assert decode(reply.ids) == "abxy"
    assert decode(tokenize("abxyz</prompt_1.1>", reply, encode, encode).ids) == "abxyz</prompt_1.1>"


def test_the_token_that_ended_a_reply_is_no_part_of_the_context() -> None:
    def without_end(ids: Sequence[int]) -> str:
        return decode([id for id in ids if id != ord("$")])

    context = tokenize("ab", TokenizedContext(), encode, encode)
    reply = append_reply(context, "xyz", [*characters("xyz"), ord("$")], without_end)
    assert (reply.text, reply.ids) == ("abxyz", (*context.ids, *characters("xyz")))
    assert append_reply(context, "", [ord("$")], without_end) == context


def test_a_changed_text_keeps_what_stands_before_the_change() -> None:
    first = append_reply(tokenize("question", TokenizedContext(), encode, encode), "plan", characters("plan"), decode)
    second = append_reply(tokenize("questionplan more", first, encode, encode), "reply", characters("reply"), decode)
    changed = tokenize("questionplan less", second, encode, encode)
    assert changed.ids[: len(first.ids)] == first.ids
    assert decode(changed.ids) == "questionplan less"


def test_only_a_text_without_a_known_beginning_is_opened_as_the_model_expects() -> None:
    def first(text: str) -> list[int]:
        return [ord("^"), *encode(text)]

    context = tokenize("ab", TokenizedContext(), encode, first)
    assert decode(context.ids) == "^ab"
    assert decode(tokenize("abcd", context, encode, first).ids) == "^abcd"


def test_a_tokenizer_that_begins_every_text_with_a_blank_cannot_put_contexts_together() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")  # as Llama 2 and Mistral
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator([JOINING_TEST], trainers.BpeTrainer(show_progress=False))
    from transformers import PreTrainedTokenizerFast

    spelt = TransformersTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert spelt.decode(spelt.encode_first(JOINING_TEST)) == JOINING_TEST
    assert not spelt.joins(JOINING_TEST)
    shipped = transformers_tokenizer(resolve_model(DEFAULT_MODEL))
    assert shipped
    assert shipped.joins(JOINING_TEST)


def test_a_tokenizer_that_is_not_on_this_machine_is_none() -> None:
    assert transformers_tokenizer("nobody/such-model") is None
    assert isinstance(transformers_tokenizer(resolve_model(DEFAULT_MODEL)), ModelTokenizer)


def test_the_shipped_tokenizer_spells_the_same_with_and_without_transformers() -> None:
    name = resolve_model(DEFAULT_MODEL)
    light, whole = json_tokenizer(name), transformers_tokenizer(name)
    assert light
    assert whole
    text = TOKENIZER_TEST + "".join(special_tokens(name))
    assert light.encode_first(text) == whole.encode_first(text)
    assert light.decode(light.encode(text)) == whole.decode(whole.encode(text))


def test_tokens_that_only_the_configuration_names_are_part_of_what_a_server_is_asked_for(tmp_path: Path) -> None:
    config = {
        "added_tokens_decoder": {"7": {"content": "<|im_start|>", "special": True}},
        "eos_token": {"content": "<|end|>"},
        "bos_token": None,
        "additional_special_tokens": ["<|tool|>"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert special_tokens(str(tmp_path)) == ["<|end|>", "<|im_start|>", "<|tool|>"]
