"""The benchmark report: what is compared, what is refused, and what its tables and figures say."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sprint_sgl.bench.failures import QuestionFailure
from sprint_sgl.bench.records import truncate_partial_line
from sprint_sgl.bench.report.figures import MethodFigures, MethodRecords
from sprint_sgl.bench.report.findings import (
    LengthBin,
    cause_of,
    failure_causes,
    length_bins,
    parallel_share,
    stages_by_group,
)
from sprint_sgl.bench.report.page import write_report
from sprint_sgl.bench.report.runs import read_run
from sprint_sgl.bench.report.tables import comparison_tables
from sprint_sgl.errors import BadInput
from tests.fakes.runs import record, run_of_two_methods, runs_of_a_sweep, write_run


def lines_of(folders: list[Path], out: Path, baseline: str | None = None) -> tuple[MethodFigures, ...]:
    """Of a report on one task."""
    (section,) = write_report(folders, out, baseline)
    return section.lines


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return run_of_two_methods(tmp_path / "both")


def test_a_report_has_a_page_a_table_and_figures(both: Path, tmp_path: Path) -> None:
    ours, theirs = lines_of([both], tmp_path / "out")
    assert (ours.name, theirs.name) == ("sprint", "sequential")
    assert ours.correct.value == pytest.approx(0.9)
    assert ours.against
    assert ours.against.points == pytest.approx(10)
    assert ours.against.p == 1  # one question differs
    assert theirs.against is None
    assert ours.sequential.value == 2 * 14.5
    assert ours.against.promised == pytest.approx(58 / 29)
    assert ours.against.realised
    assert ours.against.realised.value == pytest.approx(5.8 / 1.45)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>e</b>" not in page  # text of models is escaped
    assert "src=" not in page
    assert "<script" not in page
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "pareto.png",
        "speed.png",
        "stages.png",
    }
    rows = list(csv.DictReader((tmp_path / "out" / "report.csv").open()))
    assert [row["name"] for row in rows] == ["sprint", "sequential"]
    assert float(rows[0]["against.sequential.value"]) == pytest.approx(0.5)
    again = tmp_path / "again"
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- report: begin -->\nold\n<!-- report: end -->\n\nAfter.\n")
    write_report([both], again, into=page)
    tables = (again / "report.md").read_text()
    assert "| sprint | 10 | 90.0 (70-100) |" in tables
    assert "| sprint | sequential | 10 | +10.0 |" in tables
    assert page.read_text() == (f"Before.\n\n<!-- report: begin -->\n\n{tables}\n<!-- report: end -->\n\nAfter.\n")
    with pytest.raises(BadInput, match="has no part to replace"):
        write_report([both], again, into=again / "report.md")
    assert (again / "report.html").read_bytes() == (tmp_path / "out" / "report.html").read_bytes()


def test_runs_of_different_questions_are_refused(both: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [record(k, "best_of_n") for k in range(9)])
    with pytest.raises(BadInput, match=r"best_of_n in .* was asked 9, .* 10, 9 of them the same"):
        write_report([both, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="contains no run"):
        read_run(tmp_path)
    with pytest.raises(BadInput, match="no finished question"):
        read_run(write_run(tmp_path / "empty", []))


def test_runs_of_a_sweep_are_named_by_what_differs(tmp_path: Path) -> None:
    folders = [
        write_run(
            tmp_path / str(n),
            [record(k, "sprint", widths=(2,)) for k in range(3)],
            program={"name": "sprint", "max_stages": n},
        )
        for n in (4, 8)
    ]
    assert [line.name for line in lines_of(folders, tmp_path / "out")] == ["sprint max_stages=4", "sprint max_stages=8"]
    lines = lines_of(folders, tmp_path / "out", baseline="sprint max_stages=4")
    assert [line.against and line.against.baseline for line in lines] == [None, "sprint max_stages=4"]
    with pytest.raises(BadInput, match="is named twice"):
        write_report([folders[0], folders[0]], tmp_path / "out")
    with pytest.raises(BadInput, match="no method 'tree' in these runs; known: sprint max_stages=4"):
        write_report(folders, tmp_path / "out", baseline="tree")


def test_a_sweep_over_numbers_is_drawn(tmp_path: Path) -> None:
    (section,) = write_report(runs_of_a_sweep(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "sweep.png").is_file()
    figure = section.figures["sweep"]
    assert figure
    heat = section.figures["heat"]
    assert heat
    assert "<image" not in section.charts["heat"]  # which the page's policy forbids
    accuracy, tokens = heat.axes
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) in (
        ("temperature", "max_stages"),
        ("max_stages", "temperature"),
    )
    assert sorted({text.get_text() for text in tokens.texts}) == ["12", "4", "8"]
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_ylabel()) == ("max_stages", "sequential tokens")
    assert [text.get_text() for text in left.texts] == [
        "sprint temperature=0",
        "sprint temperature=1",
    ]
    assert list(right.containers[0].lines[0].get_xdata()) == [4, 8, 12]
    assert list(right.containers[0].lines[0].get_ydata()) == [4, 8, 12]


def test_methods_that_ran_under_other_settings_are_no_sweep(both: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [record(k, "best_of_n") for k in range(10)], concurrency=16)
    (both / "run.json").write_text(json.dumps({"task": "countdown", "settings": {"concurrency": 32}}))
    (section,) = write_report([both, other], tmp_path / "out")
    assert section.figures["sweep"] is None


def test_runs_of_several_tasks_stand_side_by_side(both: Path, tmp_path: Path) -> None:
    other = [record(k, "sprint", k < 2, widths=(2,), prefix="gpqa ") for k in range(4)]
    other += [record(k, "self_consistency", prefix="gpqa ") for k in range(4)]
    gpqa = write_run(tmp_path / "gpqa", other, task="gpqa_diamond")
    out = tmp_path / "out"
    first, second = write_report([both, gpqa], out)
    assert (first.task, first.questions, second.task, second.questions) == ("countdown", 10, "gpqa_diamond", 4)
    assert (first.baseline, second.baseline) == ("sequential", "self_consistency")
    assert {path.name for path in out.glob("pareto*")} == {"pareto_countdown.png", "pareto_gpqa_diamond.png"}
    rows = list(csv.DictReader((out / "report.csv").open()))
    assert [(row["task"], row["name"]) for row in rows] == [
        ("countdown", "sprint"),
        ("countdown", "sequential"),
        ("gpqa_diamond", "sprint"),
        ("gpqa_diamond", "self_consistency"),
    ]
    overview = (out / "report.html").read_text().partition("</table>")[0]
    assert overview.count("<tr>") == 5  # two lines of titles, three methods
    assert "50.0" in overview


def test_groups_have_figures_of_their_own(both: Path, tmp_path: Path) -> None:
    (section,) = write_report([both], tmp_path / "out")
    assert {name: list(groups) for name, groups in section.groups.items()} == {
        "sprint": ["level 0", "level 1"],
        "sequential": ["level 0", "level 1"],
    }
    assert section.groups["sequential"]["level 0"].correct.value == pytest.approx(0.8)


def test_a_run_is_compared_with_the_baseline_that_it_holds_itself(tmp_path: Path) -> None:
    folders = []
    for busy in (1, 4):
        records = [record(k, "sprint", tokens=10 * busy, widths=(2,)) for k in range(4)]
        records += [record(k, "sequential", tokens=40 * busy) for k in range(4)]
        folders.append(write_run(tmp_path / str(busy), records, concurrency=busy, program={"name": "sprint"}))
    lines = {line.name: line for line in lines_of(folders, tmp_path / "out")}
    assert set(lines) == {f"{name} concurrency={busy}" for name in ("sprint", "sequential") for busy in (1, 4)}
    realised = [found.against.realised for found in lines.values() if found.against]
    assert [speed.value for speed in realised if speed] == pytest.approx([4, 4])


def test_a_failure_that_was_answered_since_is_none(both: Path, tmp_path: Path) -> None:
    failure = {"method": "sprint", "id": "1", "sample": 0, "error": "gone"}
    (both / "failures.jsonl").write_text(json.dumps(failure) + "\n")
    ours, _ = lines_of([both], tmp_path / "out")
    assert (ours.failed, ours.correct.value) == (0, pytest.approx(0.9))


def test_temperatures_of_a_program_tell_its_runs_apart(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / str(t), [record(0, "sprint")], program={"name": "sprint", "temperature": t})
        for t in (0.0, 0.6)
    ]
    folders.append(write_run(tmp_path / "other", [record(0, "base")], program={"name": "base", "temperature": 1.0}))
    assert [line.name for line in lines_of(folders, tmp_path / "out")] == [
        "sprint temperature=0.0",
        "sprint temperature=0.6",
        "base",
    ]


def test_what_could_not_be_asked_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    records = [record(k, "sprint", widths=(2,)) for k in range(3)] + [record(k, "sequential") for k in range(4)]
    folder = write_run(tmp_path / "run", records)
    failure = {"method": "sprint", "id": "3", "sample": 0, "error": "too long"}
    (folder / "failures.jsonl").write_text(json.dumps(failure) + "\n")
    ours, theirs = lines_of([folder], tmp_path / "out")
    assert (ours.questions, ours.failed, theirs.failed) == (4, 1, 0)
    assert ours.correct.value == pytest.approx(0.75)
    assert ours.against
    assert (ours.against.questions, ours.against.points) == (3, pytest.approx(-25))
    assert "1 questions could not be asked" in (tmp_path / "out" / "report.html").read_text()


def test_samples_that_could_not_be_asked_are_wrong_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [record(0, "sprint", widths=(2,))])
    failures = [{"method": "sprint", "id": "0", "sample": k, "error": "too long"} for k in (1, 2, 3)]
    (folder / "failures.jsonl").write_text("".join(json.dumps(each) + "\n" for each in failures))
    (line,) = lines_of([folder], tmp_path / "out")
    assert (line.correct.value, line.failed) == (0.25, 1)
    shown = Console(width=160, record=True, file=io.StringIO())
    table = comparison_tables(
        [record(0, "sprint")], ["sprint"], [QuestionFailure(**each) for each in failures], {"0": "level 0"}
    )
    shown.print(*table)
    assert "25.0" in shown.export_text()


def test_a_method_that_answered_nothing_is_named(both: Path, tmp_path: Path) -> None:
    failure = {"method": "best_of_n", "id": "3", "sample": 0, "error": "too long"}
    (both / "failures.jsonl").write_text(json.dumps(failure) + "\n")
    with pytest.raises(BadInput, match="best_of_n has answered no question"):
        write_report([both], tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b"[]"),
        ("failures.jsonl", b"x\n"),
        ("failures.jsonl", b'{"method": "sprint"}\n'),
        ("judged.jsonl", b'{"key": ["sprint"], "right": true, "by": "m"}\n'),
        ("records.jsonl", b"\xff\n"),
    ],
)
def test_a_broken_file_of_a_run_is_named(both: Path, tmp_path: Path, file: str, content: bytes) -> None:
    (both / file).write_bytes(content)
    with pytest.raises(BadInput, match=file):
        write_report([both], tmp_path / "out")


def test_a_record_cut_inside_a_character_is_cut_off(both: Path, tmp_path: Path) -> None:
    records = both / "records.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole + '{"method": "caf\u00e9'.encode()[:-1])
    assert len(lines_of([both], tmp_path / "out")) == 2
    truncate_partial_line(records)
    assert records.read_bytes() == whole


def test_one_id_for_two_questions_is_refused(both: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [record(k, "best_of_n", gold="2") for k in range(10)])
    with pytest.raises(BadInput, match="'0' is another question"):
        write_report([both, other], tmp_path / "out")


def test_a_run_that_is_hardly_parallel_is_flagged(both: Path, tmp_path: Path) -> None:
    write_report([both], tmp_path / "out")
    assert "hardly any stage" not in (tmp_path / "out" / "report.html").read_text()
    narrow = write_run(tmp_path / "narrow", [record(k, "sprint", widths=(1, 1)) for k in range(3)])
    write_report([narrow], tmp_path / "narrow_out")
    assert "hardly any stage" in (tmp_path / "narrow_out" / "report.html").read_text()


def test_what_a_method_is_stands_in_its_trajectories_and_not_in_its_name(tmp_path: Path) -> None:
    mine = [record(k, "my_planner", widths=(1, 1)) for k in range(3)]
    samples = [record(k, "sprint_votes", widths=(1, 1)) for k in range(3)]
    rounds = [replace(each, trajectory=replace(each.trajectory, launch="rounds")) for each in samples]
    thoughts = [record(k, "my_thought") for k in range(3)]
    (found,) = write_report([write_run(tmp_path / "run", [*mine, *rounds, *thoughts])], tmp_path / "out")
    assert found.flagged == ("my_planner",)
    assert set(found.bins) == {"my_planner"}
    assert found.baseline == "my_thought"


def test_stages_are_counted_by_group_and_number() -> None:
    side = MethodRecords.of(
        "sprint",
        [record(0, "sprint", widths=(3, 1)), record(2, "sprint", widths=(1,)), record(1, "sprint", widths=(2,))],
    )
    assert stages_by_group(side) == {"level 0": [(2, 1), (1, 0)], "level 1": [(1, 1)]}
    assert parallel_share(side) == 2 / 4


def test_bins_hold_equal_numbers_from_short_to_long_and_at_least_ten() -> None:
    def bins(questions: int) -> list[LengthBin]:
        baseline = MethodRecords.of("rft", [record(k, "rft", tokens=100 - k) for k in range(questions)])
        ours = [record(k, "sprint", tokens=(100 - k) // 2 if k < 10 else 100 - k) for k in range(questions)]
        return length_bins(MethodRecords.of("sprint", ours), baseline)

    found = bins(20)
    assert [(each.low, each.high, each.questions) for each in found] == [(81, 90, 10), (91, 100, 10)]
    assert found[0].saved.value == 0
    assert found[1].saved.value == pytest.approx(0.5, abs=0.01)
    assert found[1].saved.low <= found[1].saved.value <= found[1].saved.high
    assert [len(bins(questions)) for questions in (0, 1, 19, 30, 90)] == [0, 1, 1, 3, 5]


def test_failures_are_grouped_by_what_went_wrong() -> None:
    wrong = [
        record(1, "sprint", False),
        record(2, "sprint", False, reason="is 12, not 5"),
        record(3, "sprint", False, read=False),
    ]
    assert [cause_of(each) for each in wrong] == [
        "makes another number",
        "makes another number",
        "no answer that the rules can read",
    ]
    found = list(failure_causes({"sprint": MethodRecords.of("sprint", [*wrong, record(4, "sprint")])}))
    assert [(cause.name, cause.count, len(cause.examples)) for cause in found] == [
        ("makes another number", 2, 2),
        ("no answer that the rules can read", 1, 1),
    ]
