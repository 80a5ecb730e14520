"""The whole curation through its own command: every trace becomes a row or a rejection, once, whatever happens."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.jsonl import read_jsonl
from curation.stages.load import TraceColumns, TraceSource, load_traces
from sprint_sgl.errors import BadInput
from tests.fakes.curation import ROOT, ROWS, command, curate, fates, ids, trace
from tests.fakes.fake_endpoint import Answer, FakeEndpoint, by_hook
from tests.fakes.waiting import wait_for


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(trace(number)) + "\n" for number in range(1, 31)))
    return path


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as server:
        yield server


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ROWS}


def test_traces_of_which_none_becomes_a_row_fail_with_the_keys_that_decided_it(tmp_path: Path) -> None:
    done = curate(ROOT / "examples" / "traces.jsonl", tmp_path / "out", "min_lines=9", status=1)
    said = " ".join(done.stderr.split())
    assert "no rows: filter rejected 5 of 5 traces (no executions 5)" in said
    assert "16 executions with fewer than min_lines=9 lines joined their plan" in said
    assert "filter.min_ratio=1 steps per stage" in said


def test_a_filter_that_leaves_nothing_leaves_the_rows_of_an_earlier_start(tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(ROOT / "examples" / "traces.jsonl", out)
    before = contents(out)
    done = curate(ROOT / "examples" / "traces.jsonl", out, "filter.min_ratio=9", status=1)
    said = " ".join(done.stderr.split())
    assert "filter: done again with thresholds.min_ratio=9.0 in place of 1.0" in said
    assert f"(10 rows of an earlier start stay in {out})" in said
    assert contents(out) == before


def test_the_example_traces_all_become_rows(tmp_path: Path) -> None:
    curate(ROOT / "examples" / "traces.jsonl", tmp_path / "out")
    assert len(list(read_jsonl(tmp_path / "out" / "sprint.train.jsonl"))) == 5


def test_without_a_key_every_trace_becomes_rows_or_a_rejection(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"question": "What is 3 + 7, worked out in at least one way?"}) + "\n")
    done = curate(source, out, f"benchmarks=[{{path: {benchmark}}}]", "rows.validation=0")
    assert "sprint.valid.jsonl, rft.valid.jsonl: no rows" in " ".join(done.stderr.split())
    assert fates(out) == sorted(ids(out / "load.jsonl"))
    reasons = [r["reason"] for r in read_jsonl(out / "rejected" / "verify.jsonl")]  # before anything would be asked
    assert reasons.count("in a benchmark") == 1
    assert reasons.count("wrong answer") == 6
    rows = list(read_jsonl(out / "sprint.train.jsonl")) + list(read_jsonl(out / "sprint.valid.jsonl"))
    assert len(rows) == len(ids(out / "filter.jsonl"))
    assert {row["annotator"] for row in rows} == {"rules"}
    assert all(row["messages"][1]["content"].startswith("<Plan_1>") for row in rows)
    for name in ("report.html", "README.md", "funnel.json", "account.json"):
        assert (out / name).stat().st_size


def test_rft_rows_hold_the_thought_as_it_stood(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(source, out)
    texts = {record["id"]: record["text"] for record in read_jsonl(out / "verify.jsonl")}
    rows = list(read_jsonl(out / "rft.train.jsonl"))
    assert rows
    assert all(texts[row["id"]] in row["messages"][1]["content"] for row in rows)


def test_a_second_run_asks_and_pays_nothing(source: Path, tmp_path: Path, endpoint: FakeEndpoint) -> None:
    out = tmp_path / "out"
    curate(source, out, endpoint=endpoint)
    asked, before = len(endpoint.log), contents(out)
    assert asked == 2 * len(ids(out / "verify.jsonl"))
    curate(source, out, endpoint=endpoint)
    curate(source, tmp_path / "elsewhere", endpoint=endpoint)
    assert len(endpoint.log) == asked
    assert contents(out) == contents(tmp_path / "elsewhere") == before


def troubled(request: dict[str, Any]) -> Answer | str:
    """By the prompt: 500s, 429s, cut-off replies, nonsense, an overlap, prose around a good answer."""
    text = by_hook(request)
    match sum(map(ord, request["messages"][0]["content"])) % 8:
        case 0:
            return Answer(status=500)
        case 1:
            return Answer(status=429)
        case 2:
            return Answer(text[: len(text) // 2], finish="length")
        case 3:
            return "I am sorry, I cannot do that."
        case 4:
            return text.replace("Lines 2-6", "Lines 2-9")
        case 5:
            return f"Certainly! Here you are:\n\n{text}\n\nLet me know if you need more."
        case _:
            return text


def test_whatever_the_endpoint_does_the_counts_add_up(source: Path, tmp_path: Path, endpoint: FakeEndpoint) -> None:
    out = tmp_path / "out"
    endpoint.script = troubled
    curate(source, out, endpoint=endpoint)
    assert fates(out) == sorted(ids(out / "load.jsonl"))
    for account in json.loads((out / "funnel.json").read_text()):
        assert account["read"] == account["kept"] + sum(account["rejected"].values())
    reasons = {r["reason"] for r in read_jsonl(out / "rejected" / "extract.jsonl")}
    assert {"server error", "rate limited", "cut off", "no components"} <= reasons
    endpoint.script = by_hook
    curate(source, out, endpoint=endpoint)
    later = {r["reason"] for r in read_jsonl(out / "rejected" / "extract.jsonl")}
    assert not later & {"server error", "rate limited"}


def test_killed_again_and_again_it_pays_each_answer_once(source: Path, tmp_path: Path, endpoint: FakeEndpoint) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed" / "out"
    under_way = 4
    options = [f"teacher.concurrency={under_way}"]
    endpoint.seconds = 0.1
    curate(source, whole, *options, endpoint=endpoint)
    calls = len(endpoint.log)
    endpoint.log.clear()
    kills = 0
    for seed in range(6):
        process = subprocess.Popen(
            command(source, killed, *options, endpoint=endpoint), cwd=ROOT, stderr=subprocess.DEVNULL
        )
        seen = len(endpoint.log) + random.Random(seed).randint(1, calls // 8)
        wait_for(lambda process=process, seen=seen: len(endpoint.log) >= seen or process.poll() is not None, 120)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills == 6
    curate(source, killed, *options, endpoint=endpoint)
    assert contents(killed) == contents(whole)
    assert fates(killed) == fates(whole)
    assert calls <= len(endpoint.log) <= calls + kills * under_way


def test_a_budget_stops_the_run_and_a_larger_one_goes_on(source: Path, tmp_path: Path, endpoint: FakeEndpoint) -> None:
    out = tmp_path / "out"
    price = "+teacher.prices={m: {input: 1000, output: 1000}}"
    stopped = curate(source, out, price, "teacher.budget=25", endpoint=endpoint, status=1)
    assert "budget" in stopped.stderr
    asked = len(endpoint.log)
    curate(source, out, price, "teacher.budget=1000", endpoint=endpoint)
    assert 0 < asked < len(endpoint.log) == 2 * len(ids(out / "verify.jsonl"))


def test_a_budget_in_batches_gets_further_with_every_start(
    source: Path, tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    out = tmp_path / "out"
    options = ["teacher.batch=true", "teacher.budget=0.5", "+teacher.prices={m: {input: 1, output: 10}}"]
    for start in range(1, 4):
        done = curate(source, out, *options, endpoint=endpoint, status=1)
        assert "of 0.5000 dollars" in done.stderr
        assert len(endpoint.batches) == start
    (line,) = json.loads((out / "account.json").read_text())["lines"][:1]
    assert (line["stage"], line["calls"] > 10) == ("extract", True)


@pytest.mark.parametrize("launcher", ["joblib", pytest.param("ray", marks=pytest.mark.release)])
def test_two_shards_side_by_side_merge_into_the_rows_of_one_run(source: Path, tmp_path: Path, launcher: str) -> None:
    one, parts = tmp_path / "one", tmp_path / "parts"
    curate(source, one)
    curate(source, parts, "--multirun", "shards=2", "shard=0,1", f"hydra/launcher={launcher}")
    merge = [sys.executable, "-m", "curation.merge", f"source.path={source}", f"out={parts}", "filter.min_ratio=1"]
    done = subprocess.run([*merge, "shards=2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(parts) == contents(one)
    assert fates(parts) == fates(one)


def test_a_dry_run_names_what_is_left_to_pay_and_asks_nothing(
    source: Path, tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    done = curate(source, tmp_path / "out", "dry_run=true", endpoint=endpoint)
    assert not endpoint.log
    assert "extract" in done.stdout
    assert "24" in done.stdout  # of 30 traces, those with a right answer


def test_a_dry_run_leaves_the_runs_files_as_they_are(source: Path, tmp_path: Path, endpoint: FakeEndpoint) -> None:
    out = tmp_path / "out"
    curate(source, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    curate(source, out, "dry_run=true", "source.limit=3", endpoint=endpoint)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_card_states_what_the_files_were_made_with(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(source, out, "min_lines=2")
    card = (out / "README.md").read_text()
    curate(tmp_path / "other.jsonl", out, "stages=[rows]", "filter.min_ratio=9", "min_lines=50")
    assert (out / "README.md").read_text() == card


def test_files_that_were_not_made_from_one_another_are_not_made_into_rows(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(source, out)
    curate(source, out, "stages=[load]", "source.limit=3")
    said = curate(source, out, "stages=[rows]", status=1).stderr
    assert "verify.jsonl was made from another load.jsonl" in said


def test_shards_of_different_settings_are_not_merged(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(source, out, "shards=2", "shard=0")
    curate(source, out, "shards=2", "shard=1", "filter.max_chars=5000")
    words = [sys.executable, "-m", "curation.merge", f"source.path={source}", f"out={out}", "shards=2"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "different thresholds of filter" in done.stderr


def test_shards_are_merged_from_their_own_source_alone(source: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other.jsonl"
    other.write_text(source.read_text().splitlines()[0])
    curate(source, out, "--multirun", "shards=2", "shard=0,1")
    for shards, said in ((2, f"shard-0-of-2 was not made from source.path={other}"), (3, "shard-0-of-3 is not there")):
        words = [sys.executable, "-m", "curation.merge", f"source.path={other}", f"out={out}", f"shards={shards}"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said in done.stderr.replace("\n", " ")


def test_a_folder_keeps_the_curation_of_its_source(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curate(source, out)
    before = contents(out)
    other = tmp_path / "other.jsonl"
    other.write_text(source.read_text())
    done = curate(other, out, status=1)
    assert f"holds a curation of source.path={source}" in done.stderr
    assert contents(out) == before


@pytest.mark.parametrize("content", ["null", "[null]", '"text"', "3"])
def test_json_that_holds_no_rows_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (path := tmp_path / "rows.json").write_text(content)
    with pytest.raises(BadInput, match="item 1: a row is a JSON object"):
        list(load_traces(TraceSource(path=str(path))))


def test_every_response_is_a_trace_or_a_rejection_whatever_its_id(tmp_path: Path) -> None:
    rows = [{**trace(number), "id": "same"} for number in range(1, 4)] + [{**trace(4), "id": "same", "response": None}]
    rows += [{**trace(1), "id": "same"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(row | {"tries": [row["response"]] * bool(row["response"])}) + "\n" for row in rows)
    )
    outcomes = list(load_traces(TraceSource(path=str(path), columns=TraceColumns(response="tries.*", id="id"))))
    assert [getattr(outcome, "reason", "kept") for outcome in outcomes] == ["kept"] * 3 + ["no thought", "seen before"]
    assert len({outcome.id for outcome in outcomes[:3]}) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["source.columns.response=response.0.valeu"], "no row of"),
        (["+source.where={qestion: 4}"], "has no row where"),
        (["rows.prompt_style=bogus"], "unknown prompt style 'bogus'"),
        (["rows.validation=2"], "rows.validation must be in [0, 1), got 2"),
        (["time_limit=0"], "time_limit must be a number of seconds above 0"),
        (["teacher.budget=-1"], "teacher.budget must be 0 dollars or more, got -1"),
        (["source.path=traces.txt"], "'traces.txt' is neither"),
        (["source.path=nowhere.jsonl"], "nowhere.jsonl is not there"),
        (["source.columns.question=query"], "no column 'query'"),
        (["stages=[extract]"], "run the stages before extract first"),
        (["stages=[rows]"], "run the stages before rows first"),
        (["stages=[pack,fold]"], "'fold' is not a stage"),
        (["shard=3"], "shard must be in [0, 1), since shards=1, got 3"),
        (["shards=0"], "shards must be at least 1, got 0"),
        (["source.limit=0"], "source.limit must be"),
        (["teacher=sglang"], "is asked nothing: give models.extract=NAME models.dag=NAME"),
        (["models.extract=gpt-4o"], "models.dag=rules"),
        (["benchmarks=[{path: nothing.jsonl}]"], "nothing.jsonl is not there"),
    ],
)
def test_bad_input_is_one_clear_line(source: Path, tmp_path: Path, options: list[str], said: str) -> None:
    done = curate(source, tmp_path / "out", *options, status=1)
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("sprint-sgl:")]) == 1


def test_an_empty_file_of_traces_is_one_clear_line(tmp_path: Path) -> None:
    (empty := tmp_path / "empty.jsonl").touch()
    assert f"{empty} is empty" in curate(empty, tmp_path / "out", status=1).stderr
