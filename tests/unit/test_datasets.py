"""Rows from the hub and from files: the shipped columns fit, and one odd line is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from curation.pipeline import CurationConfig
from curation.records import Rejection
from curation.stages.load import TraceColumns, TraceSource, load_traces
from sprint_sgl.config import typed_settings
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.package_files import CONF
from sprint_sgl.tasks.datasets import DataSource, read_rows

THOUGHT = "<think>\nTwo and two.\n</think>\n\nIt is \\boxed{4}."
ON_THE_HUB: dict[str, list[dict[str, Any]]] = {
    "openr1_math": [
        {
            "problem": "What is 2 + 2?",
            "generations": [THOUGHT, THOUGHT.replace("Two", "2")],
            "answer": "4",
            "uuid": "a",
        },
        {"problem": "What is 3 + 1?", "generations": [THOUGHT], "answer": "4", "uuid": "b"},
    ],
    "openthoughts_math": [
        {
            "source": source,
            "problem": f"What is 2 + 2 in {source}?",
            "solution": "It is $\\boxed{4}$.",
            "conversations": [{"from": "human", "value": "?"}, {"from": "assistant", "value": THOUGHT}],
        }
        for source in ("math", "aops_forum", "math")
    ],
}


@pytest.mark.parametrize(("name", "kept"), [("openr1_math", 3), ("openthoughts_math", 1)])
def test_the_shipped_columns_fit_the_hubs_data_sets(
    name: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        source = typed_settings(compose("curate", [f"source={name}"]), CurationConfig).source
    monkeypatch.chdir(tmp_path)  # `datasets` takes a folder of that name for the data set itself
    from datasets import Dataset

    Dataset.from_list(ON_THE_HUB[name]).to_parquet(str(Path(source.path) / "data" / "train-00000-of-00001.parquet"))
    found = list(load_traces(source))
    records = [each for each in found if not isinstance(each, Rejection)]
    assert len(records) == kept
    assert {(record.response, record.answer[-1:] != "") for record in records} == {("It is \\boxed{4}.", True)}
    assert all(record.text.endswith("two.") or record.text.startswith("2") for record in records)
    assert [each.reason for each in found if isinstance(each, Rejection)] == ["seen before"] * (name != "openr1_math")


def test_a_data_set_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match=r"data set 'nobody/nothing' \(default, train\)"):
        list(read_rows(DataSource("nobody/nothing")))


def test_lines_of_json_may_differ_in_their_columns_and_types(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes('\ufeff{"a": 1}\n\n{"a": "x", "b": [1, "y"]}\r\n{"a": "half \\ud83d"}\n'.encode())
    assert list(read_rows(DataSource(str(path)))) == [{"a": 1}, {"a": "x", "b": [1, "y"]}, {"a": "half \ud83d"}]


@pytest.mark.parametrize("line", [b"{oh", b"[1]", b'"x"', b'{"a": "\xff"}', b"[" * 100_000])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(BadInput, match=r"odd\.jsonl, line 2"):
        list(read_rows(DataSource(str(path))))


def test_a_benchmarks_folder_is_its_records(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "chart.png").touch()
    assert list(read_rows(DataSource(str(tmp_path)))) == [{"a": 1}]


def test_a_cell_of_a_table_is_its_text(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(b'\xef\xbb\xbfquestion,answer\r\n"a, ""b""\nc",007\r\nNA,12345678901234567890123\r\n\r\n,\r\n')
    assert list(read_rows(DataSource(str(path)))) == [
        {"question": 'a, "b"\nc', "answer": "007"},
        {"question": "NA", "answer": "12345678901234567890123"},
        {"question": "", "answer": ""},
    ]
    for line, said in (
        (b"a,1,2", "more cells"),
        (b"a", "fewer cells"),
        (b"\xff,1", "not CSV in UTF-8"),
        (b'"a"b,1', "CSV"),
    ):
        path.write_bytes(b"question,answer\n" + line + b"\n")
        with pytest.raises(BadInput, match=said):
            list(read_rows(DataSource(str(path))))


def test_a_text_that_no_file_can_hold_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text('{"question": "half \\ud83d", "response": "4", "answer": "4", "id": "\\ud83d"}\n')
    (rejected,) = load_traces(TraceSource(str(path), columns=TraceColumns(id="id")))
    assert isinstance(rejected, Rejection)
    assert (rejected.reason, rejected.id) == ("half a pair of surrogates in the question", "?")
