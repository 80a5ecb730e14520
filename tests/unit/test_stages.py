"""A stage's files are whole or not there, its account adds up, and what was done is not done again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from curation.records import Rejection, TraceRecord, read_records, record_line
from curation.stages.base import Outcome, PipelineStage, StageCounts, StageResult
from sprint_sgl.errors import BadInput


@dataclass(frozen=True)
class OddTrace(TraceRecord):
    odd: bool = True


RECORDS = [TraceRecord(str(n), n) for n in range(40)]


def write_source(folder: Path) -> Path:
    path = folder / "source.jsonl"
    path.write_text("".join(map(record_line, RECORDS)))
    return path


def odd(record: TraceRecord) -> Outcome:
    return OddTrace(record.id, record.index) if record.index % 2 else record.reject("odd", "even")


async def slowly_odd(record: TraceRecord) -> Outcome:
    await asyncio.sleep(random.random() / 50)
    return odd(record)


def nothing(counts: StageCounts) -> None:
    del counts


Work = Callable[[TraceRecord], Outcome | Awaitable[Outcome]]


def stage_of(folder: Path, work: Work, settings: dict[str, Any] | None = None, window: int = 1) -> PipelineStage[Any]:
    return PipelineStage("odd", folder, work, TraceRecord, settings or {}, window)


def run(stage: PipelineStage[Any], source: Path) -> StageCounts:
    return asyncio.run(stage.run_file(source, nothing))


def test_kept_and_rejected_add_up_to_what_was_read(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, odd)
    account = run(stage, write_source(tmp_path))
    assert (account.read, account.kept, account.rejected) == (40, 20, {"even": 20})
    assert len(list(read_records(stage.path, OddTrace))) == 20
    assert len(list(read_records(stage.rejected, Rejection))) == 20


def test_records_that_wait_come_out_in_their_order(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, slowly_odd, window=8)
    run(stage, write_source(tmp_path))
    assert [record.index for record in read_records(stage.path, TraceRecord)] == list(range(1, 40, 2))


def test_a_finished_stage_is_done_again_only_when_its_input_or_its_settings_change(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    assert not run(stage_of(tmp_path, odd, {"a": 1}), source).reused
    assert run(stage_of(tmp_path, odd, {"a": 1}), source).reused
    assert not run(stage_of(tmp_path, odd, {"a": 2}), source).reused
    source.write_text(record_line(RECORDS[1]))
    assert run(stage_of(tmp_path, odd, {"a": 2}), source).read == 1


def test_a_stage_whose_rejections_may_pass_is_tried_again(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    failing = stage_of(tmp_path, lambda record: record.reject("odd", "timed out", temporary=True))
    assert run(failing, source).rejected == {"timed out": 40}
    assert run(stage_of(tmp_path, odd), source).kept == 20


def test_files_without_their_own_account_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(tmp_path)
    first, second = (stage_of(tmp_path, odd, {"version": version}) for version in (1, 2))
    run(first, source)
    with monkeypatch.context() as patch:
        patch.setattr(StageResult, "write", Mock(side_effect=KeyboardInterrupt))  # killed before the account is there
        with pytest.raises(KeyboardInterrupt):
            run(second, source)
    assert not run(first, source).reused


def test_a_stage_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    stage = stage_of(tmp_path, odd)
    run(stage, source)
    before = stage.path.read_bytes()

    async def failing(record: TraceRecord) -> Outcome:
        if record.index == 30:
            raise ValueError("no")
        return record

    with pytest.raises(ValueError, match="no"):
        run(stage_of(tmp_path, failing, {"other": 1}, window=4), source)
    assert stage.path.read_bytes() == before
    assert not list(tmp_path.rglob("*.partial"))


PROGRAM = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_stages import nothing, slowly_odd, stage_of
    folder = Path({folder!r})
    stage = stage_of(folder, slowly_odd, window=4)
    print("ready", flush=True)
    asyncio.run(stage.run_file(folder / "source.jsonl", nothing))
"""


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_source(folder)
    run(stage_of(whole, slowly_odd, window=4), whole / "source.jsonl")
    code = textwrap.dedent(PROGRAM).format(tests=str(Path(__file__).parent), folder=str(killed))
    for seed in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        process.stdout.readline()
        time.sleep(random.Random(seed).random() / 4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    for name in ("odd.jsonl", "rejected/odd.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((killed / "funnel" / "odd.json").read_text())["funnel"]["kept"] == 20


@pytest.mark.parametrize("line", ["{", "[1]", '{"id": "1"}', '{"id": "1", "index": "one"}', ""])
def test_a_line_that_is_no_record_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text(f"{record_line(RECORDS[0])}{line}\n")
    with pytest.raises(BadInput, match=r"source\.jsonl:2 is not a TraceRecord"):
        run(stage_of(tmp_path, odd), source)
    assert not (tmp_path / "odd.jsonl").exists()


def test_what_failed_at_the_endpoint_keeps_its_key_on_disk() -> None:
    rejection = RECORDS[0].reject("odd", "timed out", temporary=True)
    row = json.loads(record_line(rejection))
    assert row == {"id": "0", "index": 0, "stage": "odd", "reason": "timed out", "detail": "", "passing": True}
