"""The page at `/` in a real browser: branches side by side as they are written, keys, stopping, a phone's width."""

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from sprint_sgl import protocol
from sprint_sgl.lang.registry import named_method
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE, prompt_style
from sprint_sgl.serving.admission import Admission
from sprint_sgl.trajectory import Execution, Trajectory
from tests.fakes.scripted import count_tokens
from tests.fakes.served import PLAYED, QUESTION, FakeRuntime, serving, serving_programs
from tests.fakes.waiting import wait_for

EVIL = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


def ask(page: Page, url: str, question: str = QUESTION) -> None:
    page.goto(url)
    expect(page.locator("#model option")).to_have_count(3)
    page.fill("#question", question)
    page.press("#question", "Control+Enter")


def test_a_question_is_answered_branch_by_branch(page: Page) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    with serving(FakeRuntime(pause=0.05)) as url:
        ask(page, url)
        expect(page.locator("#status")).to_have_text("Done")
        for place in ("#sections", "#result"):  # as it was written, and as the viewer draws it in the end
            expect(page.locator(f"{place} .plan").first).to_have_text("Split it.\nThen add.")
            stages = page.locator(f"{place} .stage:not([hidden]) h3").all_text_contents()
            assert stages == ["Stage 1", "Stage 2"]
            tasks = ["1.1 Add 2 and 3", "1.2 Name 4", "2.1 Add 5 and 4"]
            assert page.locator(f"{place} h4").all_text_contents() == tasks
            shown = page.locator(f"{place} .execution .text").all_text_contents()
            assert shown == [e.text for stage in PLAYED.stages for e in stage.executions]
        assert page.locator("#answer").text_content() == PLAYED.final_answer
        assert page.locator("#sections .state").all_text_contents() == ["done"] * 3
        assert page.locator("#growing rect").count() == 6  # the planner in two stages and the answer, three executors
        expect(page.locator("#run")).to_be_hidden()
        expect(page.locator("#result .boxed")).to_have_text("9")
        assert "sequential tokens" in (page.locator("#result .facts").text_content() or "")
        assert page.locator(".execution.open").count() == 0
        expect(page.locator("#counted")).to_be_empty()  # the figures say it exactly
    assert errors == []


def test_an_executor_that_reaches_its_limit_is_shown_as_cut_off(page: Page) -> None:
    first, *others = PLAYED.stages
    long = replace(first, executions=(Execution("on and on " * 100), first.executions[1]))
    with serving(FakeRuntime(played=replace(PLAYED, stages=(long, *others)), max_new_tokens=100)) as url:
        ask(page, url)
        expect(page.locator("#status")).to_have_text("Cut off by a limit")
        assert page.locator("#sections .state").all_text_contents() == ["cut off", "done"]


def test_an_executor_runs_once_its_prompt_is_closed(page: Page) -> None:
    with serving(FakeRuntime()) as url:
        page.goto(url)
        expect(page.locator("#model option")).to_have_count(3)
        states, counter = page.locator("#sections .state"), page.locator("#branches")
        page.evaluate("clear()")
        for prompt, text, said, counted in (
            (None, "<Plan_1>\n<prompt_1.1> Add", ["being written"], "a prompt is being written"),
            (None, " 2 and 3 </prompt_1.1>\n", ["running"], "1 executor running"),
            (None, "<prompt_1.2> Na", ["running", "being written"], "1 executor running, a prompt is being written"),
            (1, "2+3", ["running", "being written"], "1 executor running, a prompt is being written"),
            (2, "It is", ["running", "running"], "2 executors running"),
            (1, "", ["done", "running"], "1 executor running"),
        ):
            event = {"role": "planner" if prompt is None else "executor", "stage": 1, "prompt": prompt, "text": text}
            page.evaluate("event => { branch(event); show(); tick(); }", event)
            assert states.all_text_contents() == said
            assert counter.text_content() == counted
        expect(page.locator("#answered")).to_be_hidden()
        assert page.locator("#growing text").all_text_contents()[-1] == "seconds"


def test_a_program_is_listed_once(page: Page) -> None:
    offered = {name: (named_method("sprint"), FakeRuntime()) for name in ("mini", "mini:sprint")}
    with serving_programs(offered, Admission(4, 4)) as url:
        page.goto(url)
        expect(page.locator("#model option")).to_have_text(["mini:sprint"])


def test_the_sequential_model_is_compared_on_one_clock(page: Page) -> None:
    with serving(FakeRuntime()) as url:
        ask(page, url)
        page.click("#compare")
        expect(page.locator("#result article")).to_have_count(2)
        expect(page.locator("#result article").first.locator(".chart.clock svg")).to_have_count(2)
        facts = page.locator("#result .facts").first.text_content() or ""
        assert "speed-up promised, against sequential" in facts
        expect(page.locator("#compare")).to_be_hidden()


def test_the_trajectory_is_saved_and_opens_in_the_viewer(page: Page, tmp_path: Path) -> None:
    with serving(FakeRuntime()) as url:
        ask(page, url)
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "run.json")
        assert Trajectory.from_json((tmp_path / "run.json").read_text()).final_answer == PLAYED.final_answer
        with page.expect_popup() as popup:
            page.click("#open")
        expect(popup.value.locator("article h2")).to_have_text(f"{QUESTION} · sprint")


def test_an_example_is_asked_by_two_clicks(page: Page) -> None:
    with serving(FakeRuntime()) as url:
        page.goto(url)
        example = page.locator("#examples button").first
        example.click()
        assert page.input_value("#question") == example.text_content()
        page.click("#ask")
        expect(page.locator("#status")).to_have_text("Done")


def test_an_answer_that_a_limit_cut_is_shown_as_such(page: Page) -> None:
    room = count_tokens(protocol.planner_opening(QUESTION, prompt_style(DEFAULT_PROMPT_STYLE))) + 20
    with serving(FakeRuntime(room=room)) as url:
        ask(page, url)
        expect(page.locator("#status")).to_have_text("Cut off by a limit")


def test_what_a_model_writes_is_text(page: Page) -> None:
    stage = replace(PLAYED.stages[0], executions=(Execution(EVIL), Execution(EVIL)))
    with serving(FakeRuntime(played=replace(PLAYED, stages=(stage,), final_answer=EVIL))) as url:
        ask(page, url)
        expect(page.locator("#status")).to_have_text("Done")
        assert page.locator("#answer").text_content() == EVIL
        expect(page.locator("#result .answer .text")).to_have_text(EVIL)
        assert page.locator("#run script, #run img, #result script, #result img").count() == 0
        assert page.title() == "sprint-sgl"


def test_a_key_is_asked_for_where_the_server_wants_one(page: Page) -> None:
    with serving(FakeRuntime(), keys=("secret",)) as url:
        page.goto(url)
        expect(page.locator("#error")).to_contain_text("API key is missing or wrong")
        page.fill("#key", "secret")
        page.press("#key", "Tab")
        expect(page.locator("#model option")).to_have_count(3)
        expect(page.locator("#error")).to_be_hidden()


def test_stop_ends_the_run_on_the_runtime(page: Page) -> None:
    backend = FakeRuntime(pause=60)
    with serving(backend) as url:
        ask(page, url)
        wait_for(lambda: backend.sessions, 10)
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped")
        assert backend.sessions[0].closed.wait(5)
        expect(page.locator("#ask")).to_be_enabled()


def test_a_runtime_that_is_gone_is_said(page: Page) -> None:
    with serving(FakeRuntime(down=True)) as url:
        ask(page, url)
        expect(page.locator("[role=alert]")).to_contain_text("the runtime is gone or still starting")


def test_a_phone_needs_no_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    with serving(FakeRuntime()) as url:
        ask(page, url)
        expect(page.locator("#status")).to_have_text("Done")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
