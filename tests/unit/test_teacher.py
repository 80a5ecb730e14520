"""The teacher against a real socket: what is paid for once, what is asked again, and what stops a run."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from omegaconf import OmegaConf
from openai import AsyncOpenAI
from openai.resources.batches import AsyncBatches
from pydantic import BaseModel

from curation.annotate.components import Refused, cover
from curation.annotate.numbering import number_lines
from curation.annotate.reply_parser import ComponentsReply, read_components, read_parents
from curation.teacher import batches as batch
from curation.teacher.batches import Batch, Collected, collect, pending_keys, split_into_batches, submit
from curation.teacher.budget import BudgetReached
from curation.teacher.calls import Price, ReplyCache, TeacherRequest, estimate_tokens
from curation.teacher.client import STATE, Teacher, TeacherConfig
from curation.teacher.deferred import DeferredRequests
from curation.teacher.failures import CallFailed, Deferred, EndpointFailed
from sprint_sgl.errors import BadInput
from tests.fakes.fake_endpoint import Answer, FakeEndpoint, answer

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
KEY = "sk-very-secret-123"
PRICES = {"m": Price(1.0, 10.0)}  # a scripted reply of 1000 and 100 tokens costs 0.002 dollars
COST = 0.002


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    # Certificates are not needed here, and each new client takes 0.1 s to read them.
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as server:
        yield server


@pytest.fixture
def config(endpoint: FakeEndpoint, tmp_path: Path) -> TeacherConfig:
    return TeacherConfig(
        endpoint.url,
        "TEACHER_KEY",
        timeout=5.0,
        max_retries=0,
        max_tokens=100,
        cache=str(tmp_path / "cache"),
        prices=PRICES,
    )


def run(config: TeacherConfig, work: Callable[[Teacher], Awaitable[Any]]) -> tuple[Any, Teacher]:
    """What the work returns, and the teacher it had."""

    async def main() -> tuple[Any, Teacher]:
        async with Teacher(config) as teacher:
            return await work(teacher), teacher

    return asyncio.run(main())


def asking(
    prompt: str = "2 + 2?", read: Callable[[str], Any] = str, schema: type[BaseModel] | None = None
) -> Callable[[Teacher], Any]:
    return lambda teacher: teacher.ask("extract", "m", prompt, read, schema)


def asking_all(*prompts: str) -> Callable[[Teacher], Any]:
    async def ask(teacher: Teacher) -> list[Any]:
        asks = (teacher.ask("extract", "m", prompt, str) for prompt in prompts)
        return await asyncio.gather(*asks, return_exceptions=True)

    return ask


def four(reply: str) -> int:
    if reply != "4":
        raise Refused("not four", f"{reply} is not 4.")
    return 4


def line(teacher: Teacher) -> Any:
    return teacher.account.usage["extract", "m"]


# What is paid for once


def test_a_reply_is_paid_for_once_by_all_teachers_that_share_a_cache(
    config: TeacherConfig, endpoint: FakeEndpoint
) -> None:
    first, payer = run(config, asking())
    second, reader = run(config, asking())
    assert first == second == "4"
    assert len(endpoint.log) == 1
    assert (line(payer).paid_dollars, line(reader).paid_dollars) == (pytest.approx(COST), 0)
    assert (line(payer).cached, line(reader).cached) == (0, 1)
    assert line(reader).total_dollars == pytest.approx(COST)


def test_another_process_finds_the_reply(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    process = get_context("fork").Process(target=run, args=(config, asking()))
    process.start()
    process.join()
    assert process.exitcode == 0
    run(config, asking())
    assert len(endpoint.log) == 1


def test_a_different_request_is_a_different_call(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    run(config, asking())
    run(config, asking("3 + 1?"))
    run(replace(config, max_tokens=9), asking())
    assert len(endpoint.log) == 3


def test_the_same_prompt_asked_at_once_is_sent_once(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.seconds = 0.1
    replies, teacher = run(config, asking_all(*["same"] * 5, "other"))
    assert replies == ["4"] * 6
    assert len(endpoint.log) == 2
    assert (line(teacher).calls, line(teacher).cached) == (6, 4)
    assert line(teacher).prompt_tokens == 2000
    assert teacher.account.dollars == line(teacher).total_dollars == pytest.approx(2 * COST)


def test_a_reply_is_kept_when_its_reader_breaks(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    with pytest.raises(ZeroDivisionError):
        run(config, asking(read=lambda reply: 1 / 0))
    assert run(config, asking())[0] == "4"
    assert len(endpoint.log) == 1


def test_a_reply_under_way_is_kept_when_nobody_waits_for_it_any_more(
    config: TeacherConfig, endpoint: FakeEndpoint
) -> None:
    endpoint.seconds = 0.2

    async def give_up(teacher: Teacher) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking()(teacher), 0.1)

    _, teacher = run(config, give_up)
    assert line(teacher).paid_dollars == pytest.approx(COST)
    run(config, asking())
    assert len(endpoint.log) == 1


def test_at_most_concurrency_requests_are_under_way(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.seconds, config.concurrency = 0.05, 3
    run(config, asking_all(*map(str, range(9))))
    assert endpoint.peak == 3


def test_half_a_surrogate_pair_survives_in_prompt_and_reply(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.script = lambda request: "a\ud83d" if len(request["messages"]) == 1 else "4"
    assert run(config, asking("\ud83d", four))[0] == 4
    assert run(config, asking("\ud83d", four))[0] == 4
    assert len(endpoint.log) == 2


# What is asked again


def test_a_refused_reply_is_complained_about_once(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.script = lambda request: "5" if len(request["messages"]) == 1 else "4"
    reply, teacher = run(config, asking(read=four))
    assert reply == 4
    user, assistant, complaint = endpoint.log[1]["messages"]
    assert (user["content"], assistant) == ("2 + 2?", {"role": "assistant", "content": "5"})
    assert complaint["role"] == "user"
    assert "5 is not 4." in complaint["content"]
    assert (line(teacher).calls, line(teacher).asked_again) == (2, 1)


def test_a_second_refusal_tells_both(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.script = lambda request: str(4 + len(request["messages"]))
    with pytest.raises(Refused, match=r"5 is not 4\. Asked again: 7 is not 4\.") as error:
        run(config, asking(read=four))
    assert error.value.reason == "not four"
    assert len(endpoint.log) == 2


@pytest.mark.parametrize(
    ("scripted", "reason"),
    [
        (Answer("4", finish="length"), "cut off"),
        (Answer(None, refusal="I will not"), "declined"),
        (Answer("4", finish="content_filter"), "declined"),
        (
            Answer(status=400, error={"code": "context_length_exceeded", "message": "128000 at most"}),
            "too long for the model",
        ),
        (
            Answer(status=400, error={"message": "The input (9 tokens) is longer than the model's context length"}),
            "too long for the model",
        ),
    ],
)
def test_an_unusable_reply_is_refused_with_a_reason(
    config: TeacherConfig, endpoint: FakeEndpoint, scripted: Answer, reason: str
) -> None:
    endpoint.script = lambda request: scripted
    with pytest.raises(Refused) as error:
        run(config, asking())
    assert error.value.reason == reason
    assert len(endpoint.log) == 1


def test_a_structured_endpoint_is_held_to_a_strict_schema(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    config.structured = True
    run(config, asking(schema=ComponentsReply))
    form = endpoint.log[0]["response_format"]["json_schema"]
    assert form["strict"]
    assert form["schema"]["additionalProperties"] is False
    assert set(form["schema"]["$defs"]["ComponentReply"]["required"]) >= {"plan", "execution", "comment"}


# What stops a trace, and what stops the run


def test_a_rate_limit_passes_by_the_clients_own_retry(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    config.max_retries = 1
    wait = Answer(status=429, headers={"retry-after-ms": "20"})
    endpoint.script = lambda request: wait if len(endpoint.log) == 1 else "4"
    reply, teacher = run(config, asking())
    assert reply == "4"
    assert line(teacher).resent == 1


@pytest.mark.parametrize(
    ("scripted", "reason"),
    [
        (Answer(status=500), "server error"),
        (Answer(status=503), "server error"),
        (Answer(status=429), "rate limited"),
        (Answer(seconds=0.6), "timed out"),
    ],
)
def test_what_may_pass_fails_one_trace(
    config: TeacherConfig, endpoint: FakeEndpoint, scripted: Answer, reason: str
) -> None:
    config.timeout = 0.3
    endpoint.script = lambda request: scripted if request["messages"][0]["content"] == "bad" else "4"
    (bad, good), _ = run(config, asking_all("bad", "good"))
    assert isinstance(bad, CallFailed)
    assert bad.reason == reason
    assert good == "4"


@pytest.mark.parametrize(
    "scripted",
    [
        Answer(status=401, error={"message": f"Incorrect API key provided: {KEY}"}),
        Answer(status=403),
        Answer(status=404, error={"code": "model_not_found", "message": "no such model"}),
        Answer(status=400, error={"code": "unsupported_value", "message": "m takes no temperature"}),
        Answer(status=429, error={"code": "insufficient_quota", "message": "pay first"}),
    ],
    ids=lambda scripted: str(scripted.error),
)
def test_what_each_call_would_meet_stops_the_run_in_one_line_without_the_key(
    config: TeacherConfig, endpoint: FakeEndpoint, scripted: Answer
) -> None:
    endpoint.script = lambda request: scripted
    with pytest.raises(EndpointFailed) as error:
        run(config, asking())
    said = str(error.value)
    assert endpoint.url in said
    assert "model m" in said
    assert "\n" not in said
    assert KEY not in said
    assert endpoint.keys == {f"Bearer {KEY}"}


def test_a_stopped_teacher_sends_nothing_more(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.script = lambda request: Answer(status=401)
    config.concurrency = 1
    results, _ = run(config, asking_all("a", "b", "c"))
    assert [type(result) for result in results] == [EndpointFailed] * 3
    assert len(endpoint.log) == 1


def test_a_bad_request_of_a_model_that_answers_others_stops_one_trace(
    config: TeacherConfig, endpoint: FakeEndpoint
) -> None:
    endpoint.script = lambda request: Answer(status=400) if request["messages"][0]["content"] == "bad" else "4"
    config.concurrency = 1
    (good, bad), _ = run(config, asking_all("good", "bad"))
    assert good == "4"
    assert isinstance(bad, Refused)
    assert bad.reason == "bad request"


def test_a_bad_request_before_any_answer_is_told_from_bad_settings_by_a_plain_question(
    config: TeacherConfig, endpoint: FakeEndpoint
) -> None:
    endpoint.script = lambda request: Answer(status=400) if request["messages"][0]["content"] == "bad" else "4"
    config.concurrency = 1
    (bad, good), teacher = run(config, asking_all("bad", "good"))
    assert isinstance(bad, Refused)
    assert (bad.reason, good) == ("bad request", "4")
    assert line(teacher).calls == 2  # the plain question is accounted for as well


CHOICE = {"finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}


@pytest.mark.parametrize(
    "choices",
    [None, [], [{}], [None], [{"message": None}], "abc", {"a": 1}]
    + [[{"message": {"content": content}}] for content in (["4"], 4, {"text": "4"})],
    ids=str,
)
def test_what_is_no_completion_fails_one_trace_and_is_not_kept(
    config: TeacherConfig, endpoint: FakeEndpoint, choices: object
) -> None:
    endpoint.script = lambda request: Answer(sent={"id": "x", "choices": choices})
    (failed,), _ = run(config, asking_all("q"))
    assert isinstance(failed, CallFailed)
    assert failed.reason == "empty reply"
    endpoint.script = lambda request: "4"
    assert run(config, asking("q"))[0] == "4"


@pytest.mark.parametrize("scripted", [Answer(" "), Answer(None), Answer(sent={"choices": [], "usage": USAGE})])
def test_a_reply_that_says_nothing_is_paid_for_and_asked_for_again(
    config: TeacherConfig, endpoint: FakeEndpoint, scripted: Answer
) -> None:
    config.prices = {"m": Price(1, 1)}
    endpoint.script = lambda request: scripted
    (failed,), teacher = run(config, asking_all("q"))
    assert isinstance(failed, CallFailed)
    assert failed.reason == "empty reply"
    assert line(teacher).paid_dollars == pytest.approx(1100 / 1e6)
    endpoint.script = lambda request: "4"
    assert run(config, asking("q"))[0] == "4"


def test_a_reply_in_parts_is_one_text(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    parts = [{"type": "text", "text": "for"}, {"type": "text", "text": "ty"}]
    endpoint.script = lambda request: Answer(sent={"choices": [{"message": {"role": "assistant", "content": parts}}]})
    assert run(config, asking())[0] == "forty"


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": None}, {"prompt_tokens": "many", "completion_tokens": -1}, "x"]
)
def test_a_usage_without_counts_is_estimated(config: TeacherConfig, endpoint: FakeEndpoint, usage: object) -> None:
    config.prices = {"m": Price(1, 1)}
    endpoint.script = lambda request: Answer(sent={"id": "x", "choices": [CHOICE], "usage": usage})
    reply, teacher = run(config, asking())
    assert (reply, line(teacher).estimated) == ("4", 1)


def test_a_key_with_a_line_end_is_used_and_one_that_no_header_can_hold_is_refused(
    config: TeacherConfig, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", f"{KEY}\n")
    run(config, asking())
    assert endpoint.keys == {f"Bearer {KEY}"}
    monkeypatch.setenv("TEACHER_KEY", "schl\u00fcssel")
    with pytest.raises(EndpointFailed, match="copy it again") as error:
        run(config, asking("other"))
    assert "schl" not in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"budget": -1.0}, {"budget": float("nan")}, {"batch_discount": 2.0}, {"prices": {"m": Price(-1, 1)}}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="teacher"):
        TeacherConfig(**wrong)


def test_nothing_at_the_address_stops_the_run(config: TeacherConfig) -> None:
    with FakeEndpoint() as gone:
        config.base_url = gone.url
    with pytest.raises(EndpointFailed, match=config.base_url):
        run(config, asking())


def test_only_openai_itself_needs_a_key(
    config: TeacherConfig, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_KEY")
    assert run(config, asking())[0] == "4"
    assert endpoint.keys == {"Bearer none"}
    config.base_url = None
    with pytest.raises(EndpointFailed, match="TEACHER_KEY"):
        run(config, asking())


def test_the_key_is_nowhere_on_disk_nor_in_a_repr(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda request: Answer(status=401, error={"message": KEY}) if len(endpoint.log) == 2 else "4"
    _, teacher = run(config, asking())
    with pytest.raises(EndpointFailed):
        run(config, asking("other"))
    collected_in_batch(config, tmp_path / "batches.json", "third")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"prompt_tokens" in data for data in written)
    assert not any(KEY.encode() in data for data in written)
    assert KEY not in f"{config!r} {teacher!r} {teacher.account.usage}"


# What it costs


def test_the_budget_stops_the_run_before_it_is_overdrawn_and_a_larger_one_goes_on(
    config: TeacherConfig, endpoint: FakeEndpoint
) -> None:
    endpoint.seconds, config.budget = 0.02, 3.5 * COST
    prompts = [f"{n}" * 1900 for n in range(6)]  # about as dear, at most, as the script's replies
    results, teacher = run(config, asking_all(*prompts))
    stops = [result for result in results if isinstance(result, BudgetReached)]
    assert results.count("4") == 3 == len(endpoint.log)
    assert len(stops) == 3
    assert "0.0060 of 0.0070 dollars are spent" in str(stops[0])
    assert "repeats nothing" in str(stops[0])
    assert teacher.account.dollars <= config.budget

    config.budget = 1.0
    results, teacher = run(config, asking_all(*prompts))
    assert results == ["4"] * 6
    assert len(endpoint.log) == 6
    assert teacher.account.dollars == pytest.approx(3 * COST)


def test_a_budget_allows_no_call_that_might_overdraw_it(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    config.budget = COST
    with pytest.raises(BudgetReached):
        run(replace(config, max_tokens=1000), asking())
    assert endpoint.log == []


def test_the_account_adds_up_over_stages_and_models(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    async def ask(teacher: Teacher) -> None:
        await teacher.ask("extract", "m", "a", str)
        await teacher.ask("extract", "m", "b", str)
        await teacher.ask("dag", "m", "c", str)
        await teacher.ask("dag", "free", "c", str)

    _, teacher = run(config, ask)
    lines = [cost.to_dict() for stage in ("extract", "dag") for cost in teacher.account.costs_of(stage)]
    assert [(line["stage"], line["model"], line["calls"]) for line in lines] == [
        ("extract", "m", 2),
        ("dag", "m", 1),
        ("dag", "free", 1),
    ]
    assert [line["unpriced"] for line in lines] == [0, 0, 1]
    assert teacher.account.total.prompt_tokens == 4000
    assert teacher.account.dollars == pytest.approx(3 * COST)
    assert json.loads(json.dumps(lines)) == lines


def test_missing_token_counts_are_estimated_and_said_to_be(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    endpoint.script = lambda request: Answer("four", usage=False)
    _, teacher = run(config, asking("x" * 41))
    assert (line(teacher).prompt_tokens, line(teacher).completion_tokens) == (estimate_tokens("x" * 41), 1) == (11, 1)
    assert line(teacher).estimated == 1


# Batches


def with_client(config: TeacherConfig, work: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with config.client() as client:
            return await work(client)

    return asyncio.run(main())


def gathered(config: TeacherConfig, *prompts: str) -> tuple[list[Any], Teacher]:
    config.batch = True
    results, teacher = run(config, asking_all(*prompts))
    config.batch = False
    return results, teacher


def submitted(config: TeacherConfig, state: Path, *prompts: str) -> int:
    _, teacher = gathered(config, *prompts)
    return with_client(config, lambda client: submit(teacher.deferred, state, client))


def collected(config: TeacherConfig, state: Path, every: float | None = None) -> Collected:
    cache = ReplyCache(config.cache)
    try:
        return with_client(config, lambda client: collect(state, client, cache, config.batch_discount, every))
    finally:
        cache.close()


def collected_in_batch(config: TeacherConfig, state: Path, *prompts: str) -> Collected:
    submitted(config, state, *prompts)
    return collected(config, state)


def test_a_run_after_a_batch_is_free_and_knows_that_it_cost_half(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    results, teacher = gathered(config, "a", "b", "a")
    assert [type(result) for result in results] == [Deferred] * 3
    assert len(teacher.deferred) == 2
    state = tmp_path / "batches.json"
    assert collected_in_batch(config, state, "a", "b") == Collected(done=2)
    results, teacher = run(config, asking_all("a", "b"))
    assert results == ["4", "4"]
    assert endpoint.log == []
    assert (line(teacher).cached, teacher.account.dollars) == (2, 0)
    assert line(teacher).total_dollars == pytest.approx(2 * COST / 2)


def test_calls_that_wait_are_not_submitted_twice(config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path) -> None:
    state, endpoint.holding = tmp_path / "batches.json", True
    assert submitted(config, state, "a") == 1
    assert submitted(config, state, "a", "b") == 1
    assert collected(config, state) == Collected(pending=2)
    endpoint.holding = False
    assert collected(config, state) == Collected(done=2)
    assert len(endpoint.batches) == 2


def test_collecting_can_wait_until_nothing_does(config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path) -> None:
    state, endpoint.holding = tmp_path / "batches.json", True
    submitted(config, state, "a")
    Timer(0.1, setattr, (endpoint, "holding", False)).start()
    assert collected(config, state, every=0.02) == Collected(done=1)


@pytest.mark.parametrize("created", [0, 1], ids=["before the batch is created", "after the batch is created"])
def test_a_kill_while_submitting_pays_for_nothing_twice(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, created: int
) -> None:
    state, create = tmp_path / "batches.json", AsyncBatches.create

    async def killed(*args: Any, **options: Any) -> None:
        if created:
            await create(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AsyncBatches, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            submitted(config, state, "a")
    assert len(endpoint.batches) == created
    assert submitted(config, state, "b", "a") == 2 - created
    assert collected(config, state) == Collected(done=2)
    custom_ids = [json.loads(line)["custom_id"] for text in inputs(endpoint) for line in text.splitlines()]
    assert len(custom_ids) == len(set(custom_ids)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batches.json", "batches.lock", "cache"]


def test_a_state_that_cannot_be_written_leaves_the_batch_to_be_found(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, store = tmp_path / "batches.json", batch._store

    def full(state: Path, batches: list[Batch]) -> None:
        if batches[-1].id:
            raise OSError("disk full")
        store(state, batches)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "_store", full)
        with pytest.raises(OSError, match="disk full"):
            submitted(config, state, "a")
    assert submitted(config, state, "a") == 0
    assert collected(config, state) == Collected(done=1)
    assert len(endpoint.batches) == 1


def inputs(endpoint: FakeEndpoint) -> list[str]:
    return [endpoint.uploads[made["input_file_id"]] for made in endpoint.batches.values()]


def test_a_lost_batch_is_found_on_a_later_page(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    for n in range(250):
        endpoint.create_batch({"metadata": {batch.MARK: str(n)}})
    endpoint.create_batch({"metadata": None})
    assert with_client(config, lambda client: batch._ids_by_mark({"3", "unknown"}, client, "m")) == {"3": "batch_3"}


def test_a_failed_call_can_be_submitted_again(config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path) -> None:
    state = tmp_path / "batches.json"
    endpoint.script = lambda request: Answer(status=500, error={"code": "server_error"})
    first = collected_in_batch(config, state, "a")
    assert (first.done, first.failed, first.reasons) == (0, 1, {"server_error": 1})
    endpoint.script = lambda request: "4"
    assert collected_in_batch(config, state, "a") == Collected(done=1)


def test_an_expired_batch_keeps_what_it_answered(config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path) -> None:
    state = tmp_path / "batches.json"
    endpoint.script = lambda request: "4" if request["messages"][0]["content"] == "a" else Answer(status=500)
    submitted(config, state, "a", "b")
    made = endpoint.batch("batch_0")
    made["status"] = "expired"
    del made["error_file_id"]
    result = collected(config, state)
    assert (result.done, result.failed, result.reasons) == (1, 1, {"batch expired": 1})
    assert submitted(config, state, "a", "b") == 1


def test_a_prompt_too_long_for_the_model_is_not_submitted_for_ever(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda request: Answer(status=400, error={"code": "context_length_exceeded", "message": "no"})
    assert collected_in_batch(config, tmp_path / "batches.json", "a").failed == 0
    (result,), teacher = gathered(config, "a")
    assert isinstance(result, Refused)
    assert result.reason == "too long for the model"
    assert len(teacher.deferred) == 0


def test_a_refused_reply_from_a_batch_is_complained_about_in_the_next(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    state = tmp_path / "batches.json"
    endpoint.script = lambda request: "5" if len(request["messages"]) == 1 else "4"
    for _ in range(2):
        config.batch = True
        _, teacher = run(config, lambda teacher: asyncio.gather(asking(read=four)(teacher), return_exceptions=True))
        with_client(config, lambda client, calls=teacher.deferred: submit(calls, state, client))
        assert collected(config, state).done == 1
    assert run(config, asking(read=four))[0] == 4


def test_calls_that_wait_in_a_batch_are_not_paid_for_beside_it(config: TeacherConfig, endpoint: FakeEndpoint) -> None:
    state, endpoint.holding = Path(config.cache) / STATE, True
    submitted(config, state, "a")

    async def ask() -> None:
        async with Teacher(config, pending_keys(state)) as teacher:
            await teacher.ask("extract", "m", "b", str)
            await teacher.ask("extract", "m", "a", str)

    with pytest.raises(BadInput, match="wait in batches"):
        asyncio.run(ask())
    assert len(endpoint.log) == 1


def test_a_request_that_is_at_fault_is_submitted_once(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    state, refusal = tmp_path / "batches.json", Answer(status=400, error={"message": "odd characters"})
    endpoint.script = lambda request: refusal if request["messages"][0]["content"] == "a" else "4"
    assert collected_in_batch(config, state, "a").reasons == {"bad request, odd characters": 1}  # or the settings are
    assert collected_in_batch(config, state, "a", "b") == Collected(done=2)
    (result,), teacher = gathered(config, "a")
    assert isinstance(result, Refused)
    assert (result.reason, str(result)) == ("bad request", "odd characters")
    assert len(teacher.deferred) == 0


@pytest.mark.parametrize("error", ["oops", ["oops"], {"message": {"a": 1}}, None])
def test_a_batch_with_an_error_of_another_form_can_be_collected(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path, error: object
) -> None:
    endpoint.script = lambda request: Answer(status=500, error=error)  # type: ignore[arg-type]
    assert collected_in_batch(config, tmp_path / "batches.json", "a").reasons == {"HTTP 500": 1}


def test_a_queue_of_deferred_requests_takes_more_while_it_is_read(tmp_path: Path) -> None:
    deferred = DeferredRequests(str(tmp_path))
    for name in "abc":
        deferred.add(TeacherRequest.of("u", "m", name, 10))
        next(iter(deferred))
    assert [request.body["messages"][0]["content"] for request in deferred] == ["a", "b", "c"]


def test_a_batch_that_the_endpoint_does_not_know_says_the_way_out(
    config: TeacherConfig, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    state = tmp_path / "batches.json"
    submitted(config, state, "a")
    endpoint.batches.clear()
    with pytest.raises(EndpointFailed, match=r"knows no batch batch_0.*batches\.json"):
        collected(config, state)


def test_gathering_stops_at_the_budget(config: TeacherConfig) -> None:
    config.budget = COST
    results, teacher = gathered(config, *map(str, range(6)))
    assert [type(result) for result in results].count(BudgetReached) == 3
    assert len(teacher.deferred) == 3


def test_a_batch_holds_one_model_and_keeps_to_the_limits() -> None:
    requests = [TeacherRequest.of("u", model, "x" * 100, 10) for model in ("m", "n", "m", "m")]
    size = len(next(split_into_batches(requests))[0].line)
    assert [[call.model for call in chunk] for chunk in split_into_batches(requests)] == [["m", "m", "m"], ["n"]]
    assert [len(chunk) for chunk in split_into_batches(requests, most_requests=2)] == [2, 1, 1]
    assert [len(chunk) for chunk in split_into_batches(requests, most_bytes=2 * size)] == [2, 1, 1]
    assert [len(chunk) for chunk in split_into_batches(requests, most_bytes=1)] == [1, 1, 1, 1]


# The configuration and the endpoint of these tests


@pytest.mark.parametrize("name", ["openai", "sglang"])
def test_the_shipped_settings_fit_the_config(name: str) -> None:
    settings = OmegaConf.load(Path(__file__).parents[2] / "conf" / "teacher" / f"{name}.yaml")
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TeacherConfig), settings.teacher))
    assert isinstance(config, TeacherConfig)
    assert all(price.output > price.input > 0 for price in config.prices.values())


def test_the_hook_answers_both_prompts_validly() -> None:
    lines = [f"line {n}\n" for n in range(1, 45)]
    reply = answer([{"role": "user", "content": f"Solution:\n{number_lines(lines)}"}])
    steps = cover(read_components(reply), lines)
    listed = "\n\n".join(f"### Component {n}\nPlan: x" for n in range(1, len(steps) + 1))
    parents = read_parents(answer([{"role": "user", "content": listed}]), len(steps))
    assert len(parents) == len(steps) == 8
