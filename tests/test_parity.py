"""What training sees is what inference sees: token for token, with the loss on just what the model has to write."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from curation.countdown import write
from curation.pack import Packed, pack
from curation.reformat import RowFormat, rft_row, sprint_rows
from curation.trace import Trace
from programs import sequential_program, sprint_program
from programs.scripted import ScriptedBackend, replay
from sprint_sgl.countdown import problems
from sprint_sgl.prompts import prompt_style
from training.check import Encoded, Encoder, lost_tags
from training.mini import QWEN_SPLIT

ROOT = Path(__file__).parents[1]
TRACES = [trace for problem in islice(problems(4, 3), 12) if (trace := write(problem))][:3]


def qwen_style(folder: Path, begin: str | None) -> None:
    """A byte-level BPE of Qwen's kind, as released models have it: tags are ordinary text. DeepSeek's distilled models
    use it with a token that begins every text."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    texts = [prompt_style("sprint").parallel, *(trace.text for trace in TRACES)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    if begin:
        tokenizer.add_special_tokens([AddedToken(begin, special=True)])
        place = (begin, tokenizer.token_to_id(begin))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[place])
    end = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, **end)
    fast.save_pretrained(folder)
    Qwen2Config(vocab_size=len(fast), hidden_size=32, num_hidden_layers=1).save_pretrained(folder)


@pytest.fixture(scope="module", params=["mini", "qwen", "deepseek"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "mini":
        return str(ROOT / "models" / "countdown-mini-sprint")
    folder = tmp_path_factory.mktemp("qwen")
    qwen_style(folder, "<|begin|>" if request.param == "deepseek" else None)
    return str(folder)


@pytest.fixture(scope="module")
def encoder(model: str) -> Encoder:
    return Encoder.of(model)


def inference_ids(model: str, text: str) -> list[int]:
    """As the runtime takes a prompt in: its tokenizer, special tokens and all."""
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    return ids


def masked_length(encoded: Encoded) -> int:
    return next(index for index, label in enumerate(encoded.labels) if label != -100)


@pytest.mark.parametrize("style", ["mini", "sprint"])
@pytest.mark.parametrize("row_format", [RowFormat.transcript, RowFormat.per_call, RowFormat.mixed])
def test_context_is_masked_and_the_response_and_its_end_are_trained(
    model: str, encoder: Encoder, row_format: RowFormat, style: str
) -> None:
    rows = [row for trace in TRACES for row in sprint_rows(pack(trace).trajectory, prompt_style(style), row_format)]
    rows += [rft_row(trace, prompt_style(style)) for trace in TRACES]
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(model).eos_token_id
    for row in rows:
        context, response = (message["content"] for message in row["messages"])
        encoded = encoder.row(row)
        assert list(encoded.ids) == [*inference_ids(model, context + response), end]
        start = masked_length(encoded)
        assert list(encoded.ids[:start]) == inference_ids(model, context)
        assert encoded.labels[start:] == encoded.ids[start:]
        assert lost_tags(row, encoded, encoder.text) == []


def requests(packed: Packed, trace: Trace, launch: str) -> Iterator[str]:
    """The contexts of all calls of a run that writes just this trajectory."""
    backend = ScriptedBackend(replay(packed.trajectory), prompt_style="mini")
    sprint_program.run(trace.question, launch=launch, backend=backend)
    yield from (request.context for request in backend.requests)


@pytest.mark.parametrize("launch", ["eager", "barrier"])
def test_every_call_of_the_runtime_begins_as_a_row_does(model: str, encoder: Encoder, launch: str) -> None:
    """Each context, as the runtime tokenises it, is the beginning of a row; what follows there is trained."""
    for trace in TRACES:
        packed = pack(trace)
        for row_format in (RowFormat.per_call, RowFormat.mixed):
            rows = [encoder.row(row) for row in sprint_rows(packed.trajectory, prompt_style("mini"), row_format)]
            for context in requests(packed, trace, launch):
                ids = tuple(inference_ids(model, context))
                heads = [row for row in rows if row.ids[: len(ids)] == ids]
                assert any(row.labels[len(ids)] != -100 for row in heads), context[-80:]


def test_the_sequential_programs_call_begins_as_an_rft_row_does(model: str, encoder: Encoder) -> None:
    trace = TRACES[0]
    backend = ScriptedBackend(lambda _: f"{trace.text}\n</think>\n\n{trace.answer}", prompt_style="mini")
    sequential_program.run(trace.question, backend=backend)
    ids = inference_ids(model, backend.requests[0].context)
    encoded = encoder.row(rft_row(trace, prompt_style("mini")))
    assert list(encoded.ids[: len(ids)]) == ids
    assert masked_length(encoded) == len(ids)


def test_a_tag_that_the_tokens_do_not_give_back_is_named(encoder: Encoder) -> None:
    (row,) = sprint_rows(pack(TRACES[0]).trajectory, prompt_style("mini"), RowFormat.transcript)
    encoded = encoder.row(row)
    cut = Encoded(encoded.ids[:-40], encoded.labels[:-40])
    assert "</Final_answer>" in lost_tags(row, cut, encoder.text)
