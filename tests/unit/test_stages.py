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
from pathlib import Path
from unittest.mock import Mock

import pytest

from curation.stages.base import Done, Funnel, Outcome, Record, Rejection, Stage, read_jsonl, to_line

RECORDS = [{"id": str(n), "index": n} for n in range(40)]


def write_source(folder: Path) -> Path:
    path = folder / "source.jsonl"
    path.write_text("".join(map(to_line, RECORDS)))
    return path


def odd(record: Record) -> Outcome:
    if record["index"] % 2:
        return record | {"odd": True}
    return Rejection(record["id"], record["index"], "odd", "even")


async def slowly_odd(record: Record) -> Outcome:
    await asyncio.sleep(random.random() / 50)
    return odd(record)


def nothing(funnel: Funnel) -> None:
    del funnel


def run(stage: Stage, source: Path) -> Funnel:
    return asyncio.run(stage.run(source, nothing))


def test_kept_and_rejected_add_up_to_what_was_read(tmp_path: Path) -> None:
    stage = Stage("odd", tmp_path, odd, {})
    account = run(stage, write_source(tmp_path))
    assert (account.read, account.kept, account.rejected) == (40, 20, {"even": 20})
    assert len(list(read_jsonl(stage.path))) == 20
    assert len(list(read_jsonl(stage.rejected))) == 20


def test_records_that_wait_come_out_in_their_order(tmp_path: Path) -> None:
    stage = Stage("odd", tmp_path, slowly_odd, {}, window=8)
    run(stage, write_source(tmp_path))
    assert [record["index"] for record in read_jsonl(stage.path)] == list(range(1, 40, 2))


def test_a_finished_stage_is_done_again_only_when_its_input_or_its_settings_change(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    assert not run(Stage("odd", tmp_path, odd, {"a": 1}), source).reused
    assert run(Stage("odd", tmp_path, odd, {"a": 1}), source).reused
    assert not run(Stage("odd", tmp_path, odd, {"a": 2}), source).reused
    source.write_text(to_line(RECORDS[1]))
    assert run(Stage("odd", tmp_path, odd, {"a": 2}), source).read == 1


def test_a_stage_whose_rejections_may_pass_is_tried_again(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    failing = Stage("odd", tmp_path, lambda r: Rejection(r["id"], r["index"], "odd", "timed out", passing=True), {})
    assert run(failing, source).rejected == {"timed out": 40}
    assert run(Stage("odd", tmp_path, odd, {}), source).kept == 20


def test_files_without_their_own_account_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(tmp_path)
    first, second = (Stage("odd", tmp_path, odd, {"version": version}) for version in (1, 2))
    run(first, source)
    with monkeypatch.context() as patch:
        patch.setattr(Done, "write", Mock(side_effect=KeyboardInterrupt))  # killed before the account is there
        with pytest.raises(KeyboardInterrupt):
            run(second, source)
    assert not run(first, source).reused


def test_a_stage_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source = write_source(tmp_path)
    stage = Stage("odd", tmp_path, odd, {})
    run(stage, source)
    before = stage.path.read_bytes()

    async def failing(record: Record) -> Outcome:
        if record["index"] == 30:
            raise ValueError("no")
        return record

    with pytest.raises(ValueError, match="no"):
        run(Stage("odd", tmp_path, failing, {"other": 1}, window=4), source)
    assert stage.path.read_bytes() == before
    assert not list(tmp_path.rglob("*.partial"))


PROGRAM = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from curation.stages.base import Stage
    from test_stages import nothing, slowly_odd
    folder = Path({folder!r})
    stage = Stage("odd", folder, slowly_odd, {{}}, window=4)
    print("ready", flush=True)
    asyncio.run(stage.run(folder / "source.jsonl", nothing))
"""


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_source(folder)
    run(Stage("odd", whole, slowly_odd, {}, window=4), whole / "source.jsonl")
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
