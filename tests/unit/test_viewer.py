"""The viewer's page: what it says, that nothing in a trajectory breaks out of it, and how a browser shows it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from sprint_sgl import protocol
from sprint_sgl.cli.app import app
from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Timing, Trajectory
from sprint_sgl.view.dag import Dag
from sprint_sgl.view.model_text import highlight_tags, text_markup
from sprint_sgl.view.timeline import bars_by_clock, bars_by_tokens, round_ticks
from sprint_sgl.view.trajectory_page import ShownRun, first_questions, read_runs, with_peers, write_trajectory_page
from tests.fakes.rows import rows

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)"> </pre></main> ${7*7} {{7*7}} javascript:alert(3) &amp;'
RUN = Trajectory(
    "What is $2^{10}$?",
    (
        Stage(
            (Prompt("Square 32", "Two ways.", offset=10), Prompt("Double 512", offset=20)),
            (
                Execution("$32^2=1024$", call=Call(completion_tokens=40, start=1.0, end=5.0)),
                Execution("1024", "truncated", call=Call(completion_tokens=5, start=2.0, end=2.5)),
            ),
            planner_calls=(
                Call(completion_tokens=10, start=0.0, end=1.0),
                Call(completion_tokens=10, start=1.0, end=2.0),
                Call(completion_tokens=4, start=2.0, end=2.4),
            ),
        ),
    ),
    final_answer=r"\boxed{1024}",
    answer_calls=(Call(completion_tokens=6, start=5.0, end=5.6),),
    repairs=(("truncated", 1),),
    seconds=5.6,
)


def written(tmp_path: Path, *runs: Trajectory) -> str:
    write_trajectory_page([ShownRun(run) for run in runs], tmp_path / "page.html", "runs")
    return (tmp_path / "page.html").read_text()


class PageElements(HTMLParser):
    """The names, attributes and ids of a page's elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.scripts = 0
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_path_that_the_answer_waited_for_is_marked_on_both_axes() -> None:
    clock, tokens = bars_by_clock(RUN), bars_by_tokens(RUN)
    for bars in (clock, tokens):
        waited = [(bar.name, bar.tokens) for bar in bars if bar.critical]
        assert waited == [("plan 1", 10), ("execution 1.1", 40), ("final answer", 6)]
    assert max(bar.end for bar in clock) == RUN.seconds
    assert max(bar.end for bar in tokens) == RUN.sequential_tokens == sum(bar.tokens for bar in tokens if bar.critical)


def test_a_plan_longer_than_its_branches_is_what_is_waited_for() -> None:
    stage = RUN.stages[0]
    short = Execution("x", call=Call(completion_tokens=1, start=1.0, end=1.1))
    long_plan = Trajectory("q", (Stage(stage.prompts, (short, short), planner_calls=stage.planner_calls),))
    for bars in (bars_by_clock(long_plan), bars_by_tokens(long_plan)):
        assert [bar.name for bar in bars if bar.critical] == ["plan 1"] * 3


def test_a_bar_is_faded_until_its_first_token_where_the_runtime_said_when(tmp_path: Path) -> None:
    timing = Timing(tokenising=0.05, queue=0.1, prefill=0.15, decode=0.2, reply=0.05)
    answer = replace(RUN.answer_calls[0], timing=timing)  # of 0.6 s, of which 0.05 s are HTTP
    page = written(tmp_path, replace(RUN, answer_calls=(answer,)))
    ((x, width),) = re.findall(r'<rect x="([\d.]+)%" [^>]* width="([\d.]+)%" [^>]*class="waiting"/>', page)
    assert float(x) == pytest.approx(100 * answer.start / RUN.seconds, abs=0.01)
    assert float(width) == pytest.approx(100 * (0.6 - 0.2 - 0.05) / RUN.seconds, abs=0.01)
    assert "faded start" in page
    assert 'class="waiting"' not in (plain := written(tmp_path, RUN))
    assert "faded start" not in plain


def test_nothing_that_a_model_wrote_is_markup(tmp_path: Path) -> None:
    math = rf"$\text{{{EVIL}}}$ $\href{{javascript:alert(4)}}{{x}}$ \boxed{{<script>alert(5)</script>}}"
    texts = [EVIL, math, r"$\text{<script>alert(6)</script>}$ \boxed{\text{<img src=x></img>}}"]
    for text in texts:
        stage = Stage((Prompt(text, text),), (Execution(text),), text)
        found = PageElements(written(tmp_path, Trajectory(text, (stage,), final_answer=text, thought=text)))
        assert not found.names & {"script", "img", "a:script", "iframe", "object", "embed", "link"}
        assert not {name for name in found.attributes if name.startswith("on")}
        assert all(link.startswith("#") for link in found.links)


def test_a_page_names_its_parts_for_those_who_hear_it(tmp_path: Path) -> None:
    found = PageElements(written(tmp_path, RUN, RUN))
    assert {"main", "nav", "header", "article", "section", "h1", "h2", "h3"} <= found.names
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)


def test_formulas_are_drawn_and_prices_are_not() -> None:
    assert str(text_markup("so $x^2$ and")).count("<math") == 1
    assert 'class="boxed"' in text_markup(r"\boxed{\frac{1}{2}}")
    assert "<math" not in text_markup("between $5 and $10 for it")
    assert text_markup(r"broken $\frac{1}{$") == r"broken $\frac{1}{$"
    for whole in (r"\[%s\]", r"\boxed{%s}"):
        assert "<math" in text_markup(whole % ("x" * 900))
        assert text_markup(whole % ("x" * 1100)) == whole % ("x" * 1100)


def test_tags_are_set_apart_in_the_transcript() -> None:
    assert '<b class="tag">&lt;Plan_1&gt;</b>' in highlight_tags(protocol.render(RUN))


def test_trajectories_transcripts_and_benchmarks_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(RUN.to_json())
    (tmp_path / "run.txt").write_text(protocol.render(RUN))
    assert read_runs(tmp_path / "run.json")[0].trajectory == RUN
    assert read_runs(tmp_path / "run.txt")[0].trajectory.final_answer == RUN.final_answer
    record = {"method": "sprint", "correct": True, "trajectory": replace(RUN, final_answer="4\u2028\u00855").to_dict()}
    (tmp_path / "lines.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n")
    assert read_runs(tmp_path / "lines.jsonl")[0].trajectory.final_answer == "4\u2028\u00855"
    with (tmp_path / "lines.jsonl").open("ab") as file:
        file.write('{"method": "sprint", "question": "é'.encode()[:-1])  # as a run that is killed leaves it
    assert len(read_runs(tmp_path / "lines.jsonl")) == 1
    (tmp_path / "one.jsonl").write_text(json.dumps(record))  # whole, without an end of line
    assert len(read_runs(tmp_path / "one.jsonl")) == 1
    (tmp_path / "marked.json").write_text(f"\ufeff{RUN.to_json()}")  # as some editors write it
    (tmp_path / "piped").write_text(RUN.to_json())
    assert read_runs(tmp_path / "marked.json") == read_runs(tmp_path / "piped") == read_runs(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.json", b"{}", "is not a trajectory: question: Field required"),
        ("list.json", b"[1]", "is not a trajectory: Input should be an object"),
        ("deep.json", b"[" * 100_000, "is not a trajectory: Invalid JSON"),
        ("bad.jsonl", b'{"method": 1}\n', "is neither a record of sprint-sgl bench, a reply of serve"),
        (
            "deep.jsonl",
            b"[" * 100_000 + b"\n{}\n",
            "is neither a record of sprint-sgl bench, a reply of serve",
        ),
        ("empty.json", b"", "is not a trajectory"),
        ("empty.txt", b" \n", "is empty"),
        ("bytes.txt", b"\xff\xfe\x01", "is not text in UTF-8"),
        ("zeros.txt", bytes(9), "is not text: it holds zero bytes"),
        ("other", b'{"question": 5}', "is not a trajectory"),
    ],
)
def test_what_is_no_trajectory_is_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"{name}.* {message}") as error:
        read_runs(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_or_a_missing_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(BadInput, match=r"holds no run: neither records\.jsonl of a benchmark nor filter\.jsonl"):
        read_runs(tmp_path)
    for name in ("nothing.json", "n" * 300):
        with pytest.raises(BadInput, match="cannot be read: "):
            read_runs(tmp_path / name)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(RUN.to_json())
    out = tmp_path / "deep" / "page.html"
    done = CliRunner().invoke(app, ["view", str(tmp_path / "run.json"), "--out", str(out), "--no-open"])
    assert done.exit_code == 0, done.output
    assert re.search(r"<b>56</b><span>sequential tokens", out.read_text())


def test_runs_before_and_after_a_training_are_drawn_on_one_clock(tmp_path: Path) -> None:
    for name, run in (("before", replace(RUN, seconds=11.2)), ("after", RUN)):
        (tmp_path / f"{name}.json").write_text(run.to_json())
    words = ["view", str(tmp_path / "before.json"), str(tmp_path / "after.json"), "--out", str(tmp_path / "page.html")]
    done = CliRunner().invoke(app, [*words, "--no-open"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert "before and after" in page
    assert "after, the same question" in page


def test_the_page_goes_nowhere_but_into_a_plain_file_of_its_own(tmp_path: Path) -> None:
    (source := tmp_path / "run.json").write_text(RUN.to_json())
    for out, said in (
        ("", "--out is empty"),
        ("/dev/null", "/dev/null is a device"),
        (str(tmp_path), "is a folder"),
        (str(source), "is the file that is read"),
        (str(source / "page.html"), "cannot be written: Not a directory"),
    ):
        done = CliRunner().invoke(app, ["view", str(source), "--out", out, "--no-open"])
        assert (done.exit_code, said in done.output.replace("\n", "")) == (1, True), done.output
    assert source.read_text() == RUN.to_json()


def test_released_transcripts_make_a_page(tmp_path: Path, shared_data: Path) -> None:
    found = rows(shared_data / "sprint_trajectories_dev.jsonl")[:20]
    texts = [next(value for value in row.values() if isinstance(value, str) and "<Plan_1>" in value) for row in found]
    page = PageElements(written(tmp_path, *map(protocol.parse, texts)))
    assert page.scripts == 1  # the index's own
    assert len(page.ids) == len(set(page.ids))


def test_a_browser_shows_the_page_and_runs_nothing_in_it(tmp_path: Path, page: Page) -> None:
    stage = Stage((Prompt(EVIL, EVIL),), (Execution(EVIL.replace("alert(1)", "document.title='broken'")),))
    written(tmp_path, RUN, Trajectory(EVIL, (stage,), final_answer=EVIL))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "runs"
    assert page.locator("article").count() == 2
    assert page.locator("math").first.is_visible()


def test_a_phone_needs_no_scrolling_sideways(tmp_path: Path, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    written(tmp_path, *[replace(RUN, question="a question of some length " * 9, final_answer=r"\boxed{1+2}" * 9)] * 3)
    page.goto((tmp_path / "page.html").as_uri())
    for table in page.locator("article:not([hidden]) summary").all():
        table.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_the_runs_and_both_axes(tmp_path: Path, page: Page) -> None:
    written(tmp_path, RUN, RUN)
    page.goto((tmp_path / "page.html").as_uri())
    page.keyboard.press("Tab")
    assert page.locator(":focus").text_content() == "Skip to content"
    page.locator("#index a").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#run2")
    expect(page.locator("#run1")).to_be_hidden()
    page.locator("#clockrun2").focus()
    assert page.locator("#run2 .chart.clock").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator("#run2 .chart.tokens").is_visible()
    assert not page.locator("#run2 .chart.clock").is_visible()


def test_an_index_searches_filters_sorts_and_steps(tmp_path: Path, page: Page) -> None:
    runs = [
        ShownRun(replace(RUN, question="What is ten?", seconds=9.5), "sprint", correct=True),
        ShownRun(replace(RUN, question="What is two?", repairs=(), seconds=30.0), "sprint", correct=False),
        ShownRun(replace(RUN, question="What is six?", repairs=(), seconds=1.0), "sequential", correct=True),
    ]
    write_trajectory_page(runs, tmp_path / "page.html", "runs")
    page.goto((tmp_path / "page.html").as_uri())
    shown = page.locator("#index tbody tr:visible a")
    for key, names in (("wrong", ["two"]), ("repaired", ["ten"]), ("slow", ["two"]), ("all", ["ten", "two", "six"])):
        page.select_option("#only", key)
        assert [text.split()[-1].strip("?") for text in shown.all_text_contents()] == names
        if len(names) == 1:
            expect(page.locator("article:visible h2")).to_contain_text(names[0])
    page.click("#index th:last-child button")
    assert shown.all_text_contents() == ["What is six?", "What is ten?", "What is two?"]
    expect(page.locator("#place")).to_have_text("3 of 3")
    page.click("#previous")
    expect(page.locator("article:visible h2")).to_have_text("What is ten? · sprint")
    page.fill("#search", "SIX")
    assert shown.all_text_contents() == ["What is six?"]
    page.fill("#search", "seven")
    expect(page.locator("#none")).to_be_visible()


def test_a_page_of_a_few_runs_has_all_methods_of_its_questions() -> None:
    runs = [ShownRun(replace(RUN, question=f"Q{k}"), method) for method in ("sprint", "sequential") for k in range(5)]
    shown = first_questions(runs, 4)
    assert [(run.trajectory.question, run.method) for run in shown] == [
        ("Q0", "sprint"),
        ("Q0", "sequential"),
        ("Q1", "sprint"),
        ("Q1", "sequential"),
    ]
    (kept, *_) = [run for run in with_peers(runs) if run.method == "sprint"]
    assert [peer.method for peer in kept.peers] == ["sequential"]


def test_two_runs_of_a_question_are_drawn_on_one_clock(tmp_path: Path) -> None:
    slow = replace(RUN, seconds=11.2, answer_calls=(Call(completion_tokens=70, start=0.0, end=11.2),), stages=())
    write_trajectory_page([ShownRun(RUN, "sprint"), ShownRun(slow, "sequential")], tmp_path / "page.html", "runs")
    page = (tmp_path / "page.html").read_text()
    first = page[page.index('id="run1"') : page.index('id="run2"')]
    assert "sequential, the same question" in first
    assert "speed-up measured" in first
    assert "<b>2.00</b>" in first  # 11.2 s against 5.6 s
    assert first.count("over 11.2 s") == 2


def test_ticks_are_round() -> None:
    assert round_ticks(5.6) == [0, 1, 2, 3, 4, 5]
    assert round_ticks(0.0042) == [0, 0.001, 0.002, 0.003, 0.004]
    assert round_ticks(342) == [0, 100, 200, 300]
    assert round_ticks(600) == [0, 100, 200, 300, 400, 500, 600]


PACKED = {
    "trace": {
        "steps": [
            {"plan": EVIL, "prompt": "square it", "execution": "done", "parents": []},
            {"plan": "", "prompt": "double it", "execution": "done", "parents": []},
            {"plan": "Compare.", "prompt": "", "execution": "", "parents": [1, 2]},
        ]
    },
    "trajectory": RUN.to_dict(),
    "sigma": [1, 1, 2],
}


def test_a_curated_trace_is_drawn_with_what_its_steps_need(tmp_path: Path) -> None:
    (tmp_path / "filter.jsonl").write_text(json.dumps(PACKED) + "\n")
    (shown,) = read_runs(tmp_path)
    assert shown.dag is not None
    assert [(node.number, node.stage, node.parents, node.about) for node in shown.dag.nodes] == [
        (1, 1, (), "square it"),
        (2, 1, (), "double it"),
        (3, 2, (1, 2), "Compare."),
    ]
    assert len(shown.dag.edges) == 2
    write_trajectory_page([shown], tmp_path / "page.html", "trace")
    found = PageElements((tmp_path / "page.html").read_text())
    assert "circle" in found.names
    assert "script" not in found.names


def test_edges_end_at_the_rims_of_their_steps_and_go_around_those_between() -> None:
    parents, sigma = ([], [1], [1], [3]), (1, 1, 1, 2)
    graph = Dag.of([{"plan": "", "prompt": "p", "execution": "e", "parents": each} for each in parents], sigma)
    assert graph.edges == [
        "M60 57 V75",
        "M51 53 C33 62 33 114 51 123",
        "M73 132 C133 132 137 44 197 44",
    ]


def test_columns_that_are_empty_for_all_runs_are_not_shown(tmp_path: Path) -> None:
    traces = [ShownRun(replace(protocol.parse(protocol.render(RUN)), question=name)) for name in ("one", "two")]
    write_trajectory_page(traces, tmp_path / "page.html", "traces")
    assert "<thead><tr><th>question</th><th>answer</th></tr></thead>" in (tmp_path / "page.html").read_text()
    write_trajectory_page([*traces, ShownRun(RUN, "sprint", True)], tmp_path / "page.html", "runs")
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r"<th[^>]*>(\w+)", page[: page.index("</thead>")]) == [
        *("question", "method", "answer", "verdict", "sequential", "total", "seconds")
    ]


def test_a_phone_shows_the_whole_timeline_and_says_which_colour_is_what(tmp_path: Path, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    written(tmp_path, RUN)
    page.goto((tmp_path / "page.html").as_uri())
    chart = page.locator(".chart.clock")
    assert chart.evaluate("node => node.scrollWidth <= node.clientWidth")
    boxes = [part.bounding_box() for part in chart.locator("rect, text").all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert [item.text_content() for item in chart.locator(".legend li").all()] == ["stage 1", "final answer"]
    assert page.locator(".execution.critical .state").text_content() == "40 tokens, on the critical path"


@pytest.mark.parametrize("change", [{"sigma": [1, 1]}, {"sigma": [0, 1, 2]}, {"sigma": ["1", 1, 2]}])
def test_a_packed_trace_that_does_not_hold_together_is_named(tmp_path: Path, change: dict) -> None:
    (tmp_path / "filter.jsonl").write_text(json.dumps(PACKED | change) + "\n")
    with pytest.raises(BadInput, match=r"filter\.jsonl:1"):
        read_runs(tmp_path)
