"""Curation with an SGLang server as its LLM: random weights write nonsense, in the form that is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.jsonl import read_jsonl
from curation.stages.extract import PROMPT
from curation.teacher.calls import ReplyCache
from sprint_sgl.runtime.launcher import running_server
from sprint_sgl.runtime.server import ServerProcess
from tests.fakes.curation import curate, fates, ids, trace
from training.mini import MiniShape, init_weights, train_tokenizer

pytestmark = pytest.mark.runtime
SHAPE = MiniShape(hidden_size=32, layers=1, heads=2, kv_heads=1, intermediate_size=64, context=16384)
TRACES = 3


@pytest.fixture(scope="module")
def server(sglang_imported: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = tmp_path_factory.mktemp("model")
    texts = [PROMPT.template, *(trace(number)["response"] for number in range(9))]
    init_weights(model, train_tokenizer(texts, 600, model), SHAPE, seed=1)
    (model / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    with running_server(str(model)) as server:
        yield server


def replies(cache: Path) -> list[str]:
    store = ReplyCache(str(cache))
    try:
        return [json.loads(store._disk[key])["text"] for key in store._disk]
    finally:
        store.close()


def test_a_reply_is_held_to_the_schema_and_nonsense_is_rejected_with_its_reason(
    server: ServerProcess, tmp_path: Path
) -> None:
    source, out = tmp_path / "traces.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(trace(number)) + "\n" for number in range(1, 1 + TRACES)))
    options = ["teacher=sglang", "models.extract=default", "models.dag=default", f"teacher.base_url={server.url}/v1"]
    options += ["teacher.max_tokens=200", f"teacher.cache={tmp_path / 'cache'}"]
    done = curate(source, out, *options, status=1)
    assert "no rows: extract rejected 3 of 3 traces (cut off 3)" in done.stderr
    assert fates(out) == sorted(ids(out / "load.jsonl"))
    assert {rejection["reason"] for rejection in read_jsonl(out / "rejected" / "extract.jsonl")} == {"cut off"}
    assert all(text.lstrip().startswith("{") for text in replies(tmp_path / "cache"))
    (line,) = json.loads((out / "account.json").read_text())["lines"]
    assert (line["calls"], line["completion_tokens"], line["estimated"]) == (TRACES, 200 * TRACES, 0)
