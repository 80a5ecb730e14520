"""All pages: no serious accessibility fault by axe-core, in light and dark, and a frame that is the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sprint_sgl.bench.report.page import write_report
from sprint_sgl.view.trajectory_page import read_runs, write_trajectory_page
from tests.fakes.curation import ROOT, curate
from tests.fakes.runs import run_of_two_methods, runs_of_a_sweep
from tests.fakes.served import QUESTION, FakeRuntime, serving
from training.report import lead_sentence, write_training_report

SERIOUS = ("serious", "critical")


@contextmanager
def viewer(folder: Path) -> Iterator[str]:
    write_trajectory_page(read_runs(run_of_two_methods(folder / "bench")), folder / "page.html", "bench")
    yield (folder / "page.html").as_uri()


@contextmanager
def bench_report(folder: Path) -> Iterator[str]:
    write_report([run_of_two_methods(folder / "bench")], folder / "report")
    yield (folder / "report" / "report.html").as_uri()


@contextmanager
def sweep_report(folder: Path) -> Iterator[str]:
    write_report(runs_of_a_sweep(folder), folder / "report")
    yield (folder / "report" / "report.html").as_uri()


@contextmanager
def curation_report(folder: Path) -> Iterator[str]:
    curate(ROOT / "examples" / "traces.jsonl", folder / "curation")
    yield (folder / "curation" / "report.html").as_uri()


@contextmanager
def training_report(folder: Path) -> Iterator[str]:
    run = training_run(folder / "run")
    assert write_training_report(run)
    yield (run / "report.html").as_uri()


def training_run(run: Path) -> Path:
    run.mkdir()
    machines = {"nodes": 1, "processes": 1}
    settings = {"model": "countdown-mini-rft", "recipe": {"args": {"learning_rate": 1e-3}}, "machines": machines}
    data = {name: {"rows": 40, "sha256": "ab" * 32} for name in ("rows.train.jsonl", "rows.valid.jsonl")}
    starts = [{"asked": "sprint-sgl train seed=1", "command": "swift sft"}]
    (run / "run.json").write_text(json.dumps({"settings": settings, "data": data, "starts": starts}))
    (run / "command.sh").write_text("swift sft\n")
    lines: list[dict[str, Any]] = []
    for step in (10, 20):
        at = {"global_step/max_steps": f"{step}/20"}
        lines += [{"loss": 1 / step, "tokens": 9 * step, "tokens_per_second": 90, **at}, {"eval_loss": 2 / step, **at}]
    (run / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@contextmanager
def live(folder: Path) -> Iterator[str]:
    notes = {"scope": "Countdown problems", "notation": "4<21 stands for 21-4"}
    with serving(FakeRuntime(notes=notes, trained_on="sprint")) as url:
        yield url


PAGES = [viewer, bench_report, sweep_report, curation_report, training_report, live]


def serious_faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['html']} {node['failureSummary']}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
def test_no_page_has_a_serious_accessibility_fault(
    make: Callable[[Path], Any], scheme: Literal["light", "dark"], tmp_path: Path, browser: Browser
) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    with make(tmp_path) as url:
        page.goto(url)
        expect(page.locator(".page-head .name")).to_have_text("sprint-sgl")
        if make is live:
            expect(page.locator("#scope")).to_have_text(
                "This model knows Countdown problems, and nothing else; 4<21 stands for 21-4."
            )
            assert serious_faults(page) == []
            page.fill("#question", QUESTION)
            page.click("#ask")
            expect(page.locator("#result article")).to_have_count(1)
            expect(page.locator("#unfit")).to_be_empty()
            page.click("#compare")
            expect(page.locator("#result article")).to_have_count(2)
            expect(page.locator("#unfit")).to_have_text(
                "mini was trained on sprint rows, and the program sequential needs a model trained on rft rows: "
                "expect wrong answers."
            )
        assert serious_faults(page) == []
    context.close()


def test_a_fault_would_be_found(page: Page) -> None:
    page.set_content("<html lang=en><title>page</title><main><h1>page</h1><img src='x.png'><button></button></main>")
    assert {fault.partition(":")[0] for fault in serious_faults(page)} == {"image-alt", "button-name"}


@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
def test_no_page_scrolls_sideways_on_a_phone(make: Callable[[Path], Any], tmp_path: Path, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    with make(tmp_path) as url:
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_training_report_says_what_the_loss_did_on_held_out_rows(tmp_path: Path) -> None:
    with training_report(tmp_path) as url:
        text = (tmp_path / "run" / "report.html").read_text()
    assert url.endswith("report.html")
    assert "the loss on 40 held-out rows went from 0.2000 after step 10 to 0.1000 after step 20." in text
    assert "<b>1 min</b><span>time without evaluations</span>" in text
    assert "sprint-sgl launch" in text or "training.export" in text
    assert "<pre>sprint-sgl train seed=1</pre>" in text


def test_a_loss_that_was_logged_once_went_nowhere() -> None:
    record = {"settings": {"model": "mini"}, "data": {"rows": {"rows": 40}}}
    said = "mini, fine-tuned on 40 rows; the training loss was 0.5000 after step 5, and nothing was evaluated."
    assert lead_sentence(record, [{"loss": 0.5, "step": 5}]) == said
