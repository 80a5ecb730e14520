"""What training sees is what inference sees: token for token, with the loss on just what the model has to write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from curation.countdown.traces import write_trace
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from programs import apr_program, pasta_program, sequential_program, sprint_program, threads_program
from sprint_sgl import protocol
from sprint_sgl.lang.program import Program
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.runtime.prefix_reuse import TokenizedContext, append_reply, tokenize
from sprint_sgl.runtime.tokenizer import ModelTokenizer, TransformersTokenizer
from sprint_sgl.tasks.countdown.problem import generate_problems
from sprint_sgl.training_rows import row_text
from tests.fakes.scripted import Script, ScriptedBackend, ScriptedRequest, replay
from training.check_rows import EncodedRow, Encoder, lost_tags
from training.mini import QWEN_SPLIT
from training.tree.labels import read_trajectory, row_tree

ROOT = Path(__file__).parents[2]
TRACES = [trace for problem in islice(generate_problems(4, 3), 12) if (trace := write_trace(problem))][:3]


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
    return Encoder.load(model)


def inference_ids(model: str, text: str) -> list[int]:
    """As the runtime takes a prompt in: its tokenizer, special tokens and all."""
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    return ids


def masked_length(encoded: EncodedRow) -> int:
    return next(index for index, label in enumerate(encoded.labels) if label != -100)


@pytest.mark.parametrize("style", ["mini", "sprint"])
def test_of_a_plain_row_the_context_is_masked_and_the_response_and_its_end_are_trained(
    model: str, encoder: Encoder, style: str
) -> None:
    rows = [sprint_row(pack(trace).trajectory, prompt_style(style), RowFormat.transcript) for trace in TRACES]
    rows += [rft_row(trace, prompt_style(style)) for trace in TRACES]
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(model).eos_token_id
    for row in rows:
        context, response = (message["content"] for message in row["messages"])
        for encoded in (encoder.encode(row), Encoder.load(model, "dummy").encode(row)):
            assert list(encoded.ids) == [*inference_ids(model, context + response), end]
            start = masked_length(encoded)
            assert list(encoded.ids[:start]) == inference_ids(model, context)
            assert encoded.labels[start:] == encoded.ids[start:]
            assert lost_tags(row, encoded, encoder.decode) == []


def sent(requests: Iterable[ScriptedRequest], script: Script, spelling: ModelTokenizer) -> Iterator[tuple[int, ...]]:
    """The ids of each context as an endpoint sends it: what a model wrote in its own tokens, the rest put behind.

    A model writes on to the end of the line in which its stop string is, whose tokens need not end with the reply.
    """
    known = [TokenizedContext()]
    for request in requests:
        context = max(
            (tokenize(request.context, each, spelling.encode, spelling.encode_first) for each in known),
            key=lambda context: len(context.marks),
        )
        yield context.ids
        written = script(request.context)
        line, end, _ = written[len(request.text) :].partition("\n")
        known.append(append_reply(context, request.text, spelling.encode(request.text + line + end), spelling.decode))


RUNS = {
    "eager": (sprint_program.bind(launch="eager"), protocol.SPRINT),
    "barrier": (sprint_program.bind(launch="barrier"), protocol.SPRINT),
    "apr": (apr_program, protocol.APR),
    "pasta": (pasta_program, protocol.PASTA),
    "threads": (threads_program, protocol.THREADS),
}


@pytest.mark.parametrize(("program", "format"), RUNS.values(), ids=RUNS)
def test_every_call_of_a_program_is_a_path_of_the_tree_in_the_ids_that_are_sent(
    model: str, encoder: Encoder, program: Program, format: protocol.Format
) -> None:
    """What the model writes behind each context is trained, and nothing of the context is trained from elsewhere."""
    spelling = TransformersTokenizer(encoder.template.tokenizer)
    for trace in TRACES:
        row = sprint_row(pack(trace).trajectory, prompt_style("mini"), RowFormat.tree, format)
        tree, trajectory = row_tree(row, spelling, end=0), read_trajectory(row)
        paths = [tree.path(leaf) for leaf in range(len(tree.nodes))]
        backend = ScriptedBackend(replay(trajectory, format), prompt_style="mini")
        run = program.run(trace.question, backend=backend)
        assert run.trajectory.repairs == ()
        for ids in sent(backend.requests, replay(trajectory, format), spelling):
            heads = [labels for found, labels in paths if found[: len(ids)] == list(ids) and len(found) > len(ids)]
            assert heads, spelling.decode(ids)[-80:]
            assert any(labels[len(ids)] != -100 for labels in heads), spelling.decode(ids)[-80:]


def test_the_template_lays_a_row_out_as_the_tree_that_is_tested(encoder: Encoder) -> None:
    spelling, end = TransformersTokenizer(encoder.template.tokenizer), encoder.template.tokenizer.eos_token_id
    for trace in TRACES:
        row = sprint_row(pack(trace).trajectory, prompt_style("mini"), RowFormat.tree)
        tree, encoded = row_tree(row, spelling, end), encoder.encode(row)
        assert encoded == EncodedRow(*map(tuple, (tree.input_ids, tree.labels, tree.token_entries, tree.position_ids)))
        assert sum(len(segment.ids) for segment in encoded.segments if not segment.branch) == tree.trunk_length
        read = "".join(encoder.decode(segment.ids) for segment in encoded.segments if not segment.branch)
        assert row_text(row) in read


def test_the_sequential_programs_call_begins_as_an_rft_row_does(model: str, encoder: Encoder) -> None:
    trace = TRACES[0]
    backend = ScriptedBackend(lambda _: f"{trace.text}\n</think>\n\n{trace.answer}", prompt_style="mini")
    sequential_program.run(trace.question, backend=backend)
    ids = inference_ids(model, backend.requests[0].context)
    encoded = encoder.encode(rft_row(trace, prompt_style("mini")))
    assert list(encoded.ids[: len(ids)]) == ids
    assert masked_length(encoded) == len(ids)


def test_a_tag_that_the_tokens_do_not_give_back_is_named(encoder: Encoder) -> None:
    row = sprint_row(pack(TRACES[0]).trajectory, prompt_style("mini"), RowFormat.transcript)
    encoded = encoder.encode(row)
    cut = replace(encoded, ids=encoded.ids[:-40])
    assert "</Final_answer>" in lost_tags(row, cut, encoder.decode)
