"""The report of a run says what its files say, shows text without running it, and is the same each time."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from rich.console import Console

from curation.pipeline import CurationConfig, card_settings, make_stages
from curation.records import LinkedTrace, PackedTrace, read_records, record_line
from curation.report.charts import PER_ROW, funnel_svg, histograms_svg, step_graph
from curation.report.shapes import Example, Measure, ShapeStatistics, shape_statistics
from curation.report.summary import command_line, print_summary, summarise, write_card, write_html
from curation.stages.base import PipelineStage, StageCounts, to_json_values
from curation.stages.filter import Filter, Thresholds
from curation.stages.pack import pack_record
from curation.stages.rows import RowSettings, write_rows
from curation.teacher.calls import ModelCost, Usage
from curation.teacher.client import Teacher
from curation.trace import Step, Trace
from sprint_sgl.storage.package_files import CONF

LONG = "one {0}\ntwo {0}\nthree {0}"
ATTACK = "<script>alert(1)</script> ![x](https://example.org/x.png)"
PAID = ModelCost("extract", "gpt-4o", Usage(calls=5, prompt_tokens=4000, total_dollars=0.25))
SETTINGS: dict[str, Any] = {
    "source": {"path": "some/traces", "name": None, "split": "train"},
    "models": {"extract": "gpt-4o", "dag": "gpt-4o-mini"},
    "min_lines": 3,
    "filter": {
        "min_ratio": 1.5,
        "min_coverage": 1.0,
        "max_similarity": 0.9,
        "max_chars": 60_000,
        "reject_later_results": True,
    },
    "benchmarks": [{"path": "HuggingFaceH4/MATH-500", "split": "test"}],
    "rows": {"format": "transcript", "executors": 0, "prompt_style": "sprint", "validation": 0.5},
    "license": "cc-by-4.0",
}


def make_trace(name: str, *parents: tuple[int, ...], question: str = "How many?") -> Trace:
    """A step for each tuple of parents; one that has none there but is not the first only plans."""
    steps = (
        Step(f"plan {n}", f"prompt {n}", LONG.format(f"{name} {n}"), parents=needed)
        if needed or n == 1
        else Step(f"only plan {n}")
        for n, needed in enumerate(parents, 1)
    )
    return Trace(name, question, tuple(steps), "\\boxed{4}", annotator="rules")


WIDE = make_trace("wide", (), (1,), (1,), (1,), (2, 3, 4), question=ATTACK)
CHAIN = make_trace("chain", (), (1,), (2,))
MIXED = make_trace("mixed", (), (), (2,), (1, 3), (2, 4), question="What is 2 + 2?")
TRACES = [WIDE, CHAIN, MIXED, *(make_trace(f"other {n}", (), (1,), (1,), question=f"Which {n}?") for n in range(5))]


def link(trace: Trace, index: int = 0) -> LinkedTrace:
    return LinkedTrace(trace.id, index, trace.annotator, trace)


def write_run(
    folder: Path, min_ratio: float = 1.5, costs: Sequence[ModelCost] = (PAID,), traces: Sequence[Trace] = TRACES
) -> Path:
    """A run's folder from its dag stage on, as the stages write it."""
    folder.mkdir(exist_ok=True)
    (folder / "dag.jsonl").write_text("".join(record_line(link(trace, n)) for n, trace in enumerate(traces)))
    stages: list[PipelineStage[Any]] = [
        PipelineStage("pack", folder, pack_record, LinkedTrace, {}),
        PipelineStage("filter", folder, Filter(Thresholds(min_ratio=min_ratio)), PackedTrace, {}),
    ]
    funnel = [StageCounts("dag", len(traces) + 2, len(traces), {"no components": 2})]
    for stage, before in zip(stages, ("dag", "pack"), strict=True):
        funnel.append(asyncio.run(stage.run_file(folder / f"{before}.jsonl", lambda _: None)))
    (folder / "funnel.json").write_text(json.dumps([counts.to_dict() for counts in funnel]))
    (folder / "account.json").write_text(json.dumps({"lines": [cost.to_dict() for cost in costs]}))
    write_rows(read_records(folder / "filter.jsonl", PackedTrace), RowSettings(validation=0.5), folder)
    return folder


def page_of(folder: Path) -> str:
    write_html(summarise(folder), folder / "report.html")
    return (folder / "report.html").read_text()


def card_of(folder: Path) -> str:
    write_card(summarise(folder), SETTINGS, folder / "README.md")
    return (folder / "README.md").read_text()


def printed(folder: Path) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        print_summary(summarise(folder), console)
    return capture.get()


def test_every_stage_reads_what_the_one_before_kept_and_its_reasons_add_up(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path))
    for stage in summary.funnel:
        assert stage.read == stage.kept + sum(stage.rejected.values())
    assert [stage.read for stage in summary.funnel[1:]] == [stage.kept for stage in summary.funnel[:-1]]
    assert summary.read == 10
    assert (summary.packed.traces, summary.kept.traces) == (8, 7)
    assert summary.annotators == {"rules": 7}


def test_a_page_loads_nothing(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path))
    loads = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)|(@import)""", page)
    assert loads
    assert {found for groups in loads for found in groups if found and not found.startswith("#")} == set()
    assert "<script" not in page


def test_text_of_a_trace_is_shown_and_not_run(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    assert page_of(one) == page_of(other) == page_of(one)
    assert card_of(one) == card_of(other)


def test_a_page_draws_every_step_of_its_examples_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    drawn = re.findall(r'<g class="s\d( executed)?"><title>(\d+): ', page_of(folder))
    expected = [
        (" executed" if executes else "", str(number))
        for example in summarise(folder).examples
        for number, executes in enumerate(example.executes, 1)
    ]
    assert drawn == expected


@st.composite
def examples(draw: st.DrawFn) -> Example:
    count = draw(st.integers(1, 12))
    parents = [
        draw(st.sets(st.integers(1, number - 1), max_size=3)) if number > 1 else set() for number in range(1, count + 1)
    ]
    steps = tuple(
        Step(f"plan {n}", f"prompt {n}", LONG.format(n), parents=tuple(sorted(needed)))
        if draw(st.booleans())
        else Step(f"plan {n}", parents=tuple(sorted(needed)))
        for n, needed in enumerate(parents, 1)
    )
    return Example.of(pack_record(link(Trace("t", "q", steps, "4"))))


@given(examples())
def test_a_graph_has_every_step_once_in_the_column_of_its_stage(example: Example) -> None:
    graph = step_graph(example)
    assert [node.number for node in graph.nodes] == list(range(1, len(example.trace.steps) + 1))
    assert [node.executed for node in graph.nodes] == list(example.executes)
    for node, stage in zip(graph.nodes, example.sigma, strict=True):
        assert node.x == graph.column(stage)
        assert 0 < node.x < graph.width
        assert 0 < node.y < graph.height


@given(examples())
def test_steps_stand_apart_and_each_dependency_is_drawn_once(example: Example) -> None:
    graph = step_graph(example)
    centres = [(node.x, node.y) for node in graph.nodes]
    assert len(set(centres)) == len(centres)
    assert len(graph.edges) == sum(len(step.parents) for step in example.trace.steps)


@given(examples())
def test_a_step_executes_if_the_trajectory_holds_its_execution(example: Example) -> None:
    assert list(example.executes) == [bool(step.execution) for step in example.trace.steps]


def test_a_run_that_kept_nothing_still_reports(tmp_path: Path) -> None:
    folder = write_run(tmp_path, min_ratio=100.0)
    summary = summarise(folder)
    assert summary.kept == ShapeStatistics()
    assert summary.examples == ()
    assert "No trace was kept." in page_of(folder)
    assert "| filter | 8 | 0 | 8 | ratio 8 |" in card_of(folder)
    assert "ratio 8" in printed(folder)


def test_a_run_that_packed_nothing_still_reports(tmp_path: Path) -> None:
    folder = write_run(tmp_path, costs=(), traces=())
    assert "No model was asked." in page_of(folder)
    assert "| pack | 0 | 0 | 0 |  |" in card_of(folder)
    assert "no components 2" in printed(folder)


def test_the_cards_counts_are_those_of_the_files(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    card = card_of(folder)
    told = dict(re.findall(r"^\| (\w+\.\w+\.jsonl) \| (\d+) \|$", card, re.MULTILINE))
    assert told == {path.name: str(len(path.read_text().splitlines())) for path in folder.glob("*.*.jsonl")}
    assert "\n7 traces." in card
    assert "7 were annotated by rules and 0 with an LLM" in card


def test_the_cards_front_matter_names_the_files_that_have_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    head = yaml.safe_load(card_of(folder).split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    files = {data["path"] for config in head["configs"] for data in config["data_files"]}
    assert files == {path.name for path in folder.glob("*.*.jsonl") if path.stat().st_size}


def settings_by(*overrides: str) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: CurationConfig = OmegaConf.to_object(hydra.compose("curate", overrides=list(overrides)))  # type: ignore[assignment]
    stages = make_stages(replace(config, stages=[]), Teacher(config.teacher))  # reads no benchmark
    return card_settings({name: to_json_values(stage.settings) for name, stage in stages.items()}, config.rows)


def test_the_cards_command_gives_the_same_settings_again() -> None:
    settings = settings_by(
        "source.path=my folder/traces.jsonl",
        "source.columns.response=generations.*",
        r"++source.where={a.0.kind: 'it\'s | \\', level: 3}",
        "models={extract: gpt-4o, dag: gpt-4o-mini}",
        "filter.min_ratio=2",
        "benchmarks=[{path: HuggingFaceH4/MATH-500}]",
        "rows.format=transcript",
    )
    words = shlex.split(command_line(settings).replace("\\\n", ""))
    assert words[:2] == ["sprint-sgl", "curate"]
    assert settings_by(*words[2:]) == settings


def test_costs_of_shards_are_added_by_stage_and_model(tmp_path: Path) -> None:
    folder = write_run(tmp_path, costs=(PAID, PAID, replace(PAID, model="other")))
    assert [(cost.model, cost.usage.calls) for cost in summarise(folder).costs] == [("gpt-4o", 10), ("other", 5)]
    assert "0.75" in printed(folder)


def test_the_terminal_shows_the_ratios_before_and_after_the_filter(tmp_path: Path) -> None:
    lines = [line.split() for line in printed(write_run(tmp_path)).splitlines()]
    shown = {line[0]: tuple(map(int, line[1:3])) for line in lines if line and line[0] in ("1-1.5", "1.5-2", "2-2.5")}
    summary = summarise(tmp_path)
    for ends, counts in shown.items():
        low, high = map(float, ends.split("-"))
        assert counts == tuple(
            sum(count for ratio, count in shape.ratio.items() if low <= ratio < high)
            for shape in (summary.packed, summary.kept)
        )
    assert sum(packed for packed, _ in shown.values()) == summary.packed.traces


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.75, 2), (0.76, 5), (1.0, 5)])
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(share: float, value: float) -> None:
    assert Measure("m", Counter([1, 2, 2, 5])).quantile(share) == value


def test_the_shape_counts_stages_prompts_and_executions() -> None:
    shape = shape_statistics([pack_record(link(WIDE)), pack_record(link(MIXED))])
    assert shape.ratio == {round(5 / 3, 2): 2}
    assert shape.width == {1: 4, 2: 1, 3: 1}
    assert shape.executions == {5: 1, 4: 1}
    assert shape.plan_only == pytest.approx(0.1)


def test_the_saving_is_the_part_of_the_trace_that_is_off_the_critical_path() -> None:
    branch = "\n".join(["x" * 33] * 3)
    steps = tuple(Step("", "p", branch.replace("x", letter)) for letter in "abcd")
    example = Example.of(pack_record(link(Trace("t", "q", steps, "4"))))
    longest = 4 + len(branch) + len("4")
    assert example.saving == round(100 * (1 - longest / (4 * len(branch) + 3 * 2 + 1)))


def test_a_packed_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    packed = [pack_record(link(trace, index)) for index, trace in enumerate(TRACES)]
    path = tmp_path / "pack.jsonl"
    path.write_text("".join(map(record_line, packed)))
    assert list(read_records(path, PackedTrace)) == packed


def test_stages_are_drawn_as_bars_only_if_one_rejected_a_trace() -> None:
    load = StageCounts("load", 5, 5, {})
    assert funnel_svg([load]) == ""
    assert "kept 3 of 5" in funnel_svg([load, StageCounts("verify", 5, 3, {"wrong": 2})])


def test_packed_traces_are_drawn_behind_the_kept_ones_unless_all_were_kept() -> None:
    few, many = ([Measure("stages", Counter({2.0: count}))] * PER_ROW for count in (3, 5))
    assert "packed" not in histograms_svg(many, many)
    assert "packed" in histograms_svg(many, few)
