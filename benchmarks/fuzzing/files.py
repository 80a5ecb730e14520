"""Fuzz files (records, trajectories, rows to replay): each is read, or refused with one clear line."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.cases import Target, check_message
from benchmarks.fuzzing.request_bodies import json_value
from benchmarks.fuzzing.texts import damage, random_trajectory, short_text, without_surrogates
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import DataSource, read_rows
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.trajectory_page import read_runs as read_page

KEYS = ("method", "id", "sample", "group", "question", "gold", "answer", "correct", "reason", "read", "judged", "sigma")


@cache
def folder() -> Path:
    """Return a temporary folder of this process, in memory if possible."""
    memory = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    _KEPT.append(made)
    return Path(made.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def whole(rng: random.Random) -> Trajectory:
    """Return a random trajectory that UTF-8 can encode."""
    return random_trajectory(rng, lambda rng: without_surrogates(short_text(rng)))


def check_json(run: Trajectory) -> None:
    assert Trajectory.from_json(run.to_json()) == run
    assert Trajectory.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def row(rng: random.Random) -> dict[str, Any]:
    """Return a benchmark record, sometimes with an odd or missing field."""
    texts = {
        name: without_surrogates(short_text(rng)) for name in ("method", "id", "group", "question", "gold", "answer")
    }
    made = {**texts, "sample": 0, "correct": True, "reason": "", "read": True, "trajectory": whole(rng).to_dict()}
    if rng.random() < 0.3:
        at: Any = made
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if rng.random() < 0.4 or not isinstance(at[key], dict | list):
                at[key] = json_value(rng)
                break
            at = at[key]
    if rng.random() < 0.1:
        made.pop(rng.choice(list(made)))
    if rng.random() < 0.1:
        made[rng.choice(KEYS)] = json_value(rng)
    return made


def lines(rng: random.Random) -> bytes:
    """Return a file of records, sometimes damaged."""
    text = "".join(json.dumps(row(rng), ensure_ascii=rng.random() < 0.5) + "\n" for _ in range(rng.randrange(3)))
    kind = rng.randrange(8)
    if kind < 3 and text:
        text = damage(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if kind == 3:
        data = bytes(rng.randrange(256) if rng.random() < 0.01 else byte for byte in data)
    return data[: rng.randrange(len(data) + 1)] if kind == 4 else data


def bench() -> None:
    import sprint_sgl.bench.records
    import sprint_sgl.bench.replay  # noqa: F401


def check_records(data: bytes) -> None:
    """Check that records which can be read are written back unchanged."""
    from sprint_sgl.bench.records import Record, read_records

    path = folder() / "records.jsonl"
    path.write_bytes(data)
    try:
        found = read_records(path)
    except BadInput as error:
        check_message(error, str(path))
        return
    for record in found:
        assert Record.from_json(record.to_json()) == replace(record, judged=None)  # verdicts are in another file


def check_replay(data: bytes) -> None:
    """Check that each row gives a valid shape."""
    from sprint_sgl.bench.replay import Replay

    path = folder() / "replay.jsonl"
    path.write_bytes(data)
    try:
        for question in Replay(DataSource(path=str(path)), "text", 1.0, 4.0).questions():
            assert question.shape.total >= question.shape.sequential > 0
    except BadInput as error:
        check_message(error, str(path), "no column")


def table_case(rng: random.Random) -> tuple[str, bytes]:
    if rng.random() < 0.4:
        return ".jsonl", lines(rng)
    cells = [",".join(short_text(rng, 3) for _ in range(3)) for _ in range(rng.randrange(5))]
    return ".csv", "\n".join(["a,b,c", *cells]).encode("utf-8", "surrogatepass")


def check_table(case: tuple[str, bytes]) -> None:
    """Check that each row of a table is a dictionary."""
    suffix, data = case
    path = folder() / f"table{suffix}"
    path.write_bytes(data)
    try:
        assert all(isinstance(found, dict) for found in read_rows(DataSource(path=str(path))))
    except BadInput as error:
        check_message(error, str(path))


def page_case(rng: random.Random) -> tuple[str, bytes]:
    if rng.random() < 0.4:
        return ".jsonl", lines(rng)
    if rng.random() < 0.5:
        return ".json", whole(rng).to_json().encode() if rng.random() < 0.3 else lines(rng)
    return ".txt", damage(rng, protocol.render(whole(rng))).encode("utf-8", "surrogatepass")


def check_page(case: tuple[str, bytes]) -> None:
    """Check that whatever the viewer reads can be rendered as a page."""
    from benchmarks.fuzzing.display import check_page as check_shown

    suffix, data = case
    path = folder() / f"page{suffix}"
    path.write_bytes(data)
    try:
        found = read_page(path)
    except BadInput as error:
        check_message(error, str(path))
    else:
        check_shown((found, "a page"))


TARGETS = (
    Target("trajectory.json", 0.01, whole, check_json),
    Target("records.jsonl", 0.01, lines, check_records, ready=bench),
    Target("replay rows", 0.01, lines, check_replay, ready=bench),
    Target("tables", 0.01, table_case, check_table),
    Target("view FILE", 0.01, page_case, check_page),
)
