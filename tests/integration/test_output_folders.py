"""Where commands write: one rule for their folders, one writer for their files."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import open_to_append, whole_bytes, whole_file
from sprint_sgl.storage.output_folders import (
    BENCH,
    COUNTDOWN_ROWS,
    CURATION,
    EXPERIMENT,
    EXPORT,
    KINDS,
    MINI,
    REPLIES,
    REPORT,
    SELF_TRAINING,
    TRAINING,
    FolderKind,
    begin_run,
    locked_folder,
    output_folder,
)
from sprint_sgl.storage.package_files import MODELS

ROOT = Path(__file__).parents[2]

# As each command's run begins its folder.
BEGUN = {
    BENCH: {"run.json": '{"settings": {}, "methods": {}}', "records.jsonl": ""},
    REPLIES: {"cache.db": "SQLite format 3\0", "batches.json": "[]"},
    CURATION: {"account.json": '{"lines": []}', "load.jsonl.partial": "{"},
    TRAINING: {
        "run.json": '{"settings": {}, "weights": {}}',
        "sprint.json": "{}",
        "checkpoint-5/model.safetensors": "",
    },
    EXPERIMENT: {"steps.json": '{"steps": {}, "done": []}', "rows/sprint.train.jsonl": ""},
    REPORT: {"report.csv": "task,name,questions\r\n"},
    EXPORT: {"sprint.json": "{}", "config.json": "{}"},
    MINI: {"run.json": '{"command": "training.mini"}'},
    COUNTDOWN_ROWS: {"run.json": '{"command": "curation.countdown.rows"}', "steps.jsonl": ""},
    SELF_TRAINING: {"account.json": '{"wrong": 3, "questions": 2}'},
}


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def said(call: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def write(path: Path, text: str = "new") -> None:
    with whole_file(path) as file:
        file.write(text)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.command)
def test_a_run_goes_on_in_its_own_folder_and_in_no_other_commands(kind: FolderKind, tmp_path: Path) -> None:
    for other, files in BEGUN.items():
        folder = fill(tmp_path / f"{other.setting}{other.command}", files)
        if other is kind:
            assert output_folder(folder, kind) == folder
        else:
            assert f"holds a run of {other.command}" in said(lambda: output_folder(folder, kind))  # noqa: B023


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.command)
@pytest.mark.parametrize(
    "files",
    [
        {"README.md": "mine"},
        {"notes/deep/inside.txt": "mine"},
        {".hidden": ""},
        {"run.json": '{"run": 7}', "steps.json": "[]", "account.json": "{}", "sprint.json": "7", "report.csv": "a,b"},
        {"run.json": "{"},
        {"run.json/inside": ""},
    ],
    ids=lambda files: " ".join(files)[:20],
)
def test_what_belongs_to_somebody_else_is_refused_and_stays(
    kind: FolderKind, files: dict[str, str], tmp_path: Path
) -> None:
    fill(tmp_path, files)
    assert f"and no run of {kind.command}: give a new or an empty folder" in said(lambda: output_folder(tmp_path, kind))
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == files


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "out= is empty"),
        ("  ", "out= is empty"),
        ("a-file", "out=a-file cannot be a folder: File exists"),
        ("a-file/below", "out=a-file/below cannot be a folder: Not a directory"),
        ("n" * 256, "cannot be a folder: File name too long"),
        ("nowhere-link", "out=nowhere-link cannot be a folder: File exists"),
        ("round", "out=round cannot be a folder: "),
    ],
)
def test_what_cannot_be_a_folder_is_one_line(
    out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path, {"a-file": ""}))
    (tmp_path / "nowhere-link").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    assert message in said(lambda: output_folder(out, BENCH))


def test_new_folders_and_empty_ones_are_taken(tmp_path: Path) -> None:
    for name in ("a", "b/c", "ä" * 127):
        assert output_folder(tmp_path / name, BENCH).is_dir()
    assert output_folder(tmp_path / "a", BENCH)
    (tmp_path / "link").symlink_to("a")
    assert output_folder(tmp_path / "link", BENCH)
    fill(tmp_path / "a", {".lock": "", "run.json.partial": "{"})  # killed before it had begun
    assert output_folder(tmp_path / "a", BENCH)


def test_the_folder_of_a_sweep_or_of_shards_is_known_by_its_jobs_and_a_folder_of_runs_is_not(tmp_path: Path) -> None:
    bench, shard = BEGUN[BENCH]["run.json"], BEGUN[CURATION]["account.json"]
    assert output_folder(fill(tmp_path / "sweep", {"temperature=0.6,limit=2/run.json": bench}), BENCH)
    assert output_folder(fill(tmp_path / "begun", {"multirun.yaml": "hydra: {}\nagainst: []\n"}), BENCH)
    assert output_folder(fill(tmp_path / "shards", {"shard-0-of-2/account.json": shard}), CURATION)
    for kind in (BENCH, CURATION):
        home = fill(tmp_path / "home", {"README.md": "mine", "bench/run.json": bench, "rows/account.json": shard})
        assert "holds README.md, bench, rows and no run of" in said(lambda: output_folder(home, kind))  # noqa: B023


def test_a_model_that_ships_can_be_exported_again() -> None:
    assert output_folder(MODELS / "countdown-mini-sprint", EXPORT)


def test_one_run_at_a_time_has_a_folder_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run", MINI) as folder:
        begin_run(folder, MINI, {"seed": 1})
        assert "another run is writing to" in said(lambda: locked_folder(tmp_path / "run", MINI).__enter__())
    with locked_folder(tmp_path / "run", MINI):
        assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"] == {"seed": 1}


AS_NOBODY = """
import os, sys, filelock
from pathlib import Path
from sprint_sgl.console import one_line_errors
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import BENCH, locked_folder
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
with one_line_errors():
    if sys.argv[1] == "file":
        with whole_file(Path(sys.argv[2], "new.html")) as file:
            file.write("new")
    else:
        with locked_folder(sys.argv[2], BENCH):
            pass
"""


@pytest.mark.parametrize("mode", [0o500, 0o300, 0o000])
def test_a_folder_without_the_permission_is_one_line(mode: int, tmp_path: Path) -> None:
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    (folder := tmp_path / "folder").mkdir()
    (folder / "page.html").write_text("mine")
    folder.chmod(mode)
    try:
        for what in ("file", "folder") if mode != 0o300 else ("folder",):
            words = [sys.executable, "-c", AS_NOBODY, what, str(folder)]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert str(folder) in done.stderr
            assert len(done.stderr.splitlines()) == 1
    finally:
        folder.chmod(0o700)
    assert [path.name for path in folder.iterdir()] == ["page.html"]


def test_a_link_stays_a_link_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (target := tmp_path / "target.html").write_text("old")
    target.chmod(0o640)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "link").symlink_to(target)
    (link := tmp_path / "twice").symlink_to("below/link")
    (dangling := tmp_path / "dangling").symlink_to("made/there.html")
    write(link)
    write(dangling)
    assert (link.is_symlink(), dangling.is_symlink()) == (True, True)
    assert (target.read_text(), (tmp_path / "made" / "there.html").read_text()) == ("new", "new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_no_plain_file_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "null").symlink_to("/dev/null")
    assert "/dev/null is a device" in said(lambda: write(Path("/dev/null")))
    for name, kind in (("pipe", "pipe"), ("socket", "socket"), ("null", "device"), (".", "folder")):
        assert f"is a {kind}: give the name of a file" in said(lambda: write(tmp_path / name))  # noqa: B023
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null", "pipe", "socket"]


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    for name in ("n" * 250 + ".html", "ä" * 127):
        write(tmp_path / name)
        assert (tmp_path / name).read_text() == "new"
    assert "cannot be written: File name too long" in said(lambda: write(tmp_path / ("n" * 256)))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("writer", [whole_file, whole_bytes, open_to_append])
def test_a_full_disk_is_one_line_and_the_file_stays_as_it_was(writer: Callable[..., object], tmp_path: Path) -> None:
    (path := tmp_path / "page.html").write_text("old")
    content = b"x" * 10_000 if writer is whole_bytes else "x" * 10_000

    def fill_up() -> None:
        with writer(path) as file:  # type: ignore[attr-defined]
            file.write(content)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        assert "page.html cannot be written: File too large" in said(fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text().rstrip("x") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_an_error_of_the_block_itself_stays_what_it_is(tmp_path: Path) -> None:
    for error in (ConnectionRefusedError(111, "refused"), PermissionError(13, "denied", "elsewhere")):
        with pytest.raises(type(error)), whole_file(tmp_path / "page.html"):
            raise error
    assert not list(tmp_path.iterdir())
