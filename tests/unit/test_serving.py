"""The server with OpenAI's own clients, over real sockets; behind it a model that plays a script."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import openai
import pytest

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput, ServerStopping
from sprint_sgl.lang.registry import named_method
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE, prompt_style
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.keys import check_address, check_origins, is_authorized, read_keys
from sprint_sgl.serving.requests import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    FunctionSchema,
    StreamOptions,
    TextPart,
    ToolCallPart,
    ToolParameter,
)
from sprint_sgl.serving.responses_requests import (
    FunctionTool,
    InputCall,
    InputMessage,
    InputReasoning,
    InputResult,
    ResponsesRequest,
)
from sprint_sgl.serving.service import Service
from sprint_sgl.serving.stream import AnswerPiece, BranchPiece, PieceSorter, ReasoningPiece, reasoning_text
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.trajectory_page import read_runs
from tests.fakes.http_server import META, send, server
from tests.fakes.scripted import count_tokens
from tests.fakes.served import PLAYED, QUESTION, FakeRuntime, serving
from tests.fakes.waiting import wait_for

ANSWERED = {"text": "<Final_answer>\n\\boxed{4}\n", "meta_info": META}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(FakeRuntime()) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return client_of(url)


@pytest.fixture(scope="module")
def web(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as web:
        yield web


def client_of(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def ask(client: openai.OpenAI, **options: object) -> object:
    messages = [{"role": "user", "content": QUESTION}]
    return client.chat.completions.create(**{"model": "mini:sprint", "messages": messages, **options})


def test_an_answer_has_its_reasoning_and_what_it_cost(client: openai.OpenAI) -> None:
    reply = ask(client)
    message = reply.choices[0].message
    assert (message.role, message.content, reply.choices[0].finish_reason) == ("assistant", PLAYED.final_answer, "stop")
    assert message.reasoning_content == reasoning_text(PLAYED)
    assert [s.prompts for s in protocol.parse(message.reasoning_content).stages] == [s.prompts for s in PLAYED.stages]
    usage, ours = reply.usage, reply.sprint
    assert usage.completion_tokens == ours["total_tokens"] > ours["sequential_tokens"] > 0
    assert usage.prompt_tokens_details.cached_tokens > 0
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert (ours["stages"], ours["width"], ours["launch"], ours["repairs"]) == (2, 2, "eager", {})
    assert "trajectory" not in ours


def test_the_whole_trajectory_is_there_for_those_who_ask(client: openai.OpenAI) -> None:
    reply = ask(client, extra_body={"sprint": {"trajectory": True, "launch": "barrier"}})
    trajectory = Trajectory.from_dict(reply.sprint["trajectory"])
    assert (trajectory.question, trajectory.launch, len(trajectory.stages)) == (QUESTION, "barrier", 2)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_saved_with_its_trajectory_can_be_viewed(url: str, tmp_path: Path, stream: bool) -> None:
    bodies = {"chat/completions": {"messages": [{"role": "user", "content": QUESTION}]}}
    bodies |= {"completions": {"prompt": QUESTION}, "responses": {"input": QUESTION}}
    saved, lines = tmp_path / "reply.json", tmp_path / "replies.jsonl"
    for path, body in bodies.items():
        options = {"stream": stream, "stream_options": {"include_usage": True}}
        reply = httpx.post(f"{url}/v1/{path}", json={**body, **options, "sprint": {"trajectory": True}})
        saved.write_bytes(reply.content)
        (shown,) = read_runs(saved)
        assert (shown.trajectory.question, protocol.render(shown.trajectory)) == (QUESTION, protocol.render(PLAYED))
        if not stream:
            lines.open("ab").write(reply.content + b"\n")
        saved.write_bytes(httpx.post(f"{url}/v1/{path}", json={**body, **options}).content)
        with pytest.raises(BadInput, match="the reply has no trajectory: ask with"):
            read_runs(saved)
    assert stream or len(read_runs(lines)) == 3


def test_a_stream_says_the_same_and_who_wrote_what(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == PLAYED.final_answer
    said = "".join(getattr(delta, "reasoning_content", "") for delta in deltas)
    assert said.split() == reasoning_text(PLAYED).split()
    events = [chunk.sprint for chunk in chunks if getattr(chunk, "sprint", {}).get("role")]
    executors = {(e["stage"], e["prompt"]) for e in events if e["role"] == "executor"}
    assert executors == {(1, 1), (1, 2), (2, 1)}
    written = "".join(e["text"] for e in events if (e["stage"], e["prompt"]) == (1, 1))
    assert written.strip() == "2+3=5"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_branch_events_can_be_left_out(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, extra_body={"sprint": {"events": False}}))
    assert not [chunk for chunk in chunks if getattr(chunk, "sprint", {}).get("role")]
    assert chunks[-1].sprint["stages"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_says_which_program_answers(client: openai.OpenAI, stream: bool) -> None:
    reply = ask(client, model="mini:sequential", stream=stream)
    if stream:
        deltas = [chunk.choices[0].delta for chunk in reply]
        content = "".join(delta.content or "" for delta in deltas)
        thought = "".join(getattr(delta, "reasoning_content", "") for delta in deltas)
    else:
        content, thought = reply.choices[0].message.content, reply.choices[0].message.reasoning_content
    assert (thought, content) == ("2+3=5, 5+4=9.", "The sum is \\boxed{9}.")


def test_plain_completions_and_the_list_of_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][:2] == ["mini:sprint", "mini:sequential"]
    assert client.models.retrieve("mini:sequential").owned_by == "sprint-sgl"
    reply = client.completions.create(model="mini:sprint", prompt=QUESTION)
    assert reply.choices[0].text == PLAYED.final_answer
    pieces = list(client.completions.create(model="mini:sprint", prompt=QUESTION, stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == PLAYED.final_answer
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_the_last_chunk_has_the_usage_and_no_choice_for_those_who_ask(client: openai.OpenAI) -> None:
    options = {"model": "mini:sprint", "stream": True, "stream_options": {"include_usage": True}}
    for stream in (client.completions.create(prompt=QUESTION, **options), ask(client, **options)):
        *before, last = stream
        assert (last.choices, last.usage.completion_tokens > 0) == ([], True)
        assert all(chunk.choices and chunk.usage is None for chunk in before)
        assert before[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in ask(client, stream=True))


def test_responses_have_the_reasoning_as_an_item_of_its_own(client: openai.OpenAI) -> None:
    reply = client.responses.create(model="mini:sprint", input=QUESTION)
    thought, message = reply.output
    assert (thought.type, thought.content[0].text) == ("reasoning", reasoning_text(PLAYED))
    assert (message.type, reply.output_text, reply.status) == ("message", PLAYED.final_answer, "completed")
    assert reply.usage.output_tokens == reply.sprint["total_tokens"]
    assert reply.usage.output_tokens_details.reasoning_tokens < reply.usage.output_tokens
    earlier = [*(item.to_dict() for item in reply.output), {"role": "user", "content": "And doubled?"}]
    options = {"instructions": "Be brief.", "extra_body": {"sprint": {"trajectory": True}}}
    again = client.responses.create(model="mini:sprint", input=earlier, **options)
    asked = again.sprint["trajectory"]["question"]
    assert asked.index("Be brief.") < asked.index(PLAYED.final_answer) < asked.index("And doubled?")
    with pytest.raises(openai.BadRequestError, match="previous_response_id: not supported"):
        client.responses.create(model="mini:sprint", input="And?", previous_response_id=reply.id)
    with pytest.raises(openai.BadRequestError, match="no message"):
        client.responses.create(model="mini:sprint", input=[thought.to_dict()])


def test_a_stream_of_responses_is_what_openais_client_puts_together(client: openai.OpenAI) -> None:
    with client.responses.stream(model="mini:sprint", input=QUESTION) as stream:
        events = list(stream)
        whole = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    deltas = {
        name: "".join(event.delta for event in events if event.type == f"response.{name}.delta")
        for name in ("reasoning_text", "output_text")
    }
    assert deltas["reasoning_text"].split() == reasoning_text(PLAYED).split()
    assert deltas["output_text"] == PLAYED.final_answer == whole.output_text
    assert [event.text for event in events if event.type == "response.output_text.done"] == [PLAYED.final_answer]
    items = [(event.type.split(".")[-1], event.item.type) for event in events if ".output_item." in event.type]
    assert items == [("added", "reasoning"), ("done", "reasoning"), ("added", "message"), ("done", "message")]
    branches = {(event.sprint["stage"], event.sprint["prompt"]) for event in events if event.type == "sprint.branch"}
    assert {(1, 1), (1, 2), (2, 1)} < branches


@pytest.mark.parametrize("program", ["sprint", "sequential", "self_consistency"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_that_cut_any_call_is_the_reason_of_the_end(client: openai.OpenAI, program: str, stream: bool) -> None:
    reasons = set()
    for limit in (1, 2, 3, 5, 8, 12, 16, 20, 40):
        options = {"max_completion_tokens": limit, "stream": stream, "extra_body": {"sprint": {"trajectory": True}}}
        reply = ask(client, model=f"mini:{program}", **options)
        last = [chunk for chunk in reply if chunk.choices][-1] if stream else reply
        calls = Trajectory.from_dict(last.sprint["trajectory"]).calls
        cut = any(call.finish == "length" for call in calls)
        assert last.choices[0].finish_reason == ("length" if cut else "stop"), limit
        reasons.add(last.choices[0].finish_reason)
    assert reasons == {"length", "stop"}


def test_completions_and_responses_say_that_a_limit_cut_them(client: openai.OpenAI) -> None:
    model = "mini:sprint"
    text = client.completions.create(model=model, prompt=QUESTION, max_tokens=3)
    *_, last = client.completions.create(model=model, prompt=QUESTION, max_tokens=3, stream=True)
    assert text.choices[0].finish_reason == last.choices[0].finish_reason == "length"
    whole = client.responses.create(model=model, input=QUESTION, max_output_tokens=3)
    with client.responses.stream(model=model, input=QUESTION, max_output_tokens=3) as stream:
        events = list(stream)
    assert events[-1].type == "response.incomplete"
    for response in (whole, events[-1].response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert response.output[-1].status == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_filled_the_context_is_incomplete(stream: bool) -> None:
    asked = count_tokens(protocol.planner_opening(QUESTION, prompt_style(DEFAULT_PROMPT_STYLE)))
    found = set()
    for room in range(asked + 3, asked + 90, 20):
        with serving(FakeRuntime(room=room)) as url:
            reply = client_of(url).responses.create(model="mini:sprint", input=QUESTION, stream=stream)
            response = list(reply)[-1].response if stream else reply
            full = response.sprint["repairs"].keys() & {"context_full", "truncated"}
            assert response.status == ("incomplete" if full else "completed")
            found.add(response.status)
    assert found == {"incomplete", "completed"}


def test_an_answer_that_a_stop_string_ended_first_is_not_cut(client: openai.OpenAI) -> None:
    options = {"model": "mini:sequential", "max_tokens": 4}
    assert ask(client, **options).choices[0].finish_reason == "length"
    stopped = ask(client, stop="sum", **options).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("The", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_to_the_runtime_that_breaks_at_first_costs_no_answer(stream: bool) -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        if len(asked) == 1:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        elif stream:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.end_headers()
            handler.wfile.write(f"data: {json.dumps(ANSWERED)}\n\ndata: [DONE]\n\n".encode())
            handler.close_connection = True
        else:
            send(handler, ANSWERED)

    with server(reply) as runtime, serving(Endpoint(runtime)) as url:
        answer = ask(client_of(url), stream=stream)
        texts = [chunk.choices[0].delta.content for chunk in answer] if stream else [answer.choices[0].message.content]
    assert "".join(filter(None, texts)) == "\\boxed{4}"
    assert len(asked) == 2


def test_stop_strings_cut_the_answer_not_the_reasoning(client: openai.OpenAI) -> None:
    reply = ask(client, stop=[". Done"])
    assert reply.choices[0].message.content == "The sum is \\boxed{9}"
    assert reply.choices[0].message.reasoning_content == reasoning_text(PLAYED)
    chunks = ask(client, stop=". Done", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The sum is \\boxed{9}"


def test_what_was_said_before_is_part_of_the_question(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    messages += [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": QUESTION}]
    reply = ask(client, messages=messages, extra_body={"sprint": {"trajectory": True}})
    asked = reply.sprint["trajectory"]["question"]
    assert [asked.find(text) for text in ("Be brief.", "Hi", "Yes?", QUESTION)] == sorted(
        asked.find(text) for text in ("Be brief.", "Hi", "Yes?", QUESTION)
    )
    assert -1 not in [asked.find(text) for text in ("Be brief.", "Hi", "Yes?", QUESTION)]


@pytest.mark.parametrize(
    ("options", "param", "said"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "user", "content": "  "}]}, None, "the question is empty"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, None, "must be a user's"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"n": 2}, "n", "only 1 is accepted"),
        ({"extra_body": {"n": True}}, "n", "only 1 is accepted"),
        ({"tools": [{"type": "custom", "function": {"name": "f"}}]}, "tools.0.type", "'function'"),
        ({"tools": [{"type": "function", "function": {"name": "f g"}}]}, "tools.0.function.name", "pattern"),
        ({"max_tokens": "5"}, "max_tokens", "valid integer"),
        ({"max_tokens": 10**26}, "max_tokens", "less than"),
        ({"response_format": {"type": "json_object"}}, "response_format.type", "'text'"),
        ({"frequency_penalty": 1}, "frequency_penalty", "only 0 is accepted"),
        ({"extra_body": {"top_k": 5}}, "top_k", "only -1 or 0 is accepted"),
        ({"tool_choice": "always"}, "tool_choice", "'none', 'auto' or 'required'"),
        ({"logprobs": True}, "logprobs", "only false is accepted"),
        ({"extra_body": {"logprobs": 0}}, "logprobs", "only false is accepted"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "not supported"),
        ({"extra_body": {"bad_words": ["x"]}}, "bad_words", "bad_words: not supported here; known: model, "),
        ({"extra_body": {"temprature": 1}}, "temprature", r"did you mean temperature\?"),
        ({"extra_body": {"max_new_tokens": 5}}, "max_new_tokens", r"did you mean max_tokens\?"),
        ({"extra_body": {"sprint": {"time_limit": "1"}}}, "sprint.time_limit", "valid number"),
        ({"stop": 5}, "stop", "a text or a list of texts is expected, got a number"),
        ({"stop": [True]}, "stop.0", "valid string"),
        ({"seed": 10**30}, "seed", "less than"),
        ({"extra_body": {"sprint": {"max_stage": 3}}}, "sprint.max_stage", r"did you mean max_stages\?"),
        ({"stream_options": {"include_usages": True}}, "stream_options.include_usages", "did you mean include_usage"),
        (
            {"model": "mini:sequential", "extra_body": {"sprint": {"max_stages": 3}}},
            None,
            "sprint.max_stages: the program sequential has no such option",
        ),
        ({"stop": list("abcde")}, "stop", "at most 4"),
    ],
)
def test_what_cannot_be_honoured_is_refused(client: openai.OpenAI, options: dict, param: str | None, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        ask(client, **options)
    assert caught.value.body["type"] == "invalid_request_error"
    assert caught.value.body["param"] == param
    assert caught.value.body["message"].startswith(f"{param}: " if param else "")
    assert "\n" not in caught.value.body["message"]


PICTURE = {"type": "image_url", "image_url": {"url": "x"}}


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("chat/completions", {"messages": ["hi"]}, "messages.0", "an object is expected, got a text"),
        ("chat/completions", {"messages": [{"content": 5}]}, "messages.0.content", "text parts is expected, got a num"),
        ("chat/completions", {"messages": [{"content": [PICTURE]}]}, "messages.0.content.0.image_url", "not supported"),
        ("chat/completions", {"messages": [{"tool_calls": [3]}]}, "messages.0.tool_calls.0", "an object is expected"),
        ("chat/completions", {"mesages": []}, "mesages", "did you mean messages?"),
        ("chat/completions", {"response_format": {"json_schema": {}}}, "response_format.json_schema", "not supported"),
        ("completions", {"prompt": 3}, "prompt", "a text or a list of one text is expected, got a number"),
        ("completions", {"prompt": ["x", "y"]}, "prompt", "at most 1 item"),
        ("completions", {"prompt": "x", "max_completion_tokens": 5}, "max_completion_tokens", "not supported"),
        ("completions", {"prompt": "x", "echo": True}, "echo", "not supported"),
        ("responses", {"input": {}}, "input", "a text or a list of items is expected, got an object"),
        ("responses", {"input": [5]}, "input.0", "an item of type message, reasoning"),
        ("responses", {"input": [{"role": "user", "foo": 1}]}, "input.0.foo", "not supported"),
        ("responses", {"input": [{"type": "web_search_call"}]}, "input.0", "of type message, reasoning"),
        ("responses", {"input": [{"type": "reasoning", "sumary": []}]}, "input.0.sumary", "not supported"),
        ("responses", {"input": "x", "max_tokens": 5}, "max_tokens", "did you mean max_output_tokens?"),
        ("responses", {"input": "x", "reasoning": {"effort": "low"}}, "reasoning.effort", "not supported"),
        ("responses", {"input": "x", "text": {"verbosity": "low"}}, "text.verbosity", "not supported"),
        ("responses", {"input": "x", "prompt": {"id": "p"}}, "prompt", "not supported"),
        ("responses", {"input": "x", "sprint": 5}, "sprint", "an object is expected, got a number"),
        ("responses", [], None, "the body: an object is expected, got a list"),
    ],
)
def test_a_refusal_says_where_in_the_request_and_what_is_expected(
    web: httpx.Client, path: str, body: object, param: str | None, said: str
) -> None:
    if isinstance(body, dict) and isinstance(body.get("messages"), list):
        body["messages"] = [{"role": "user", **m} if isinstance(m, dict) else m for m in body["messages"]]
    if path == "chat/completions" and "mesages" not in body:
        body = {"messages": [{"role": "user", "content": QUESTION}], **body}
    reply = web.post(f"/v1/{path}", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert said in error["message"]
    assert error["message"].startswith(f"{param}: " if param else "the body: ")


@pytest.mark.parametrize("value", ["0", "-1", "1e400", "-1e400", "NaN", "9" * 20, "9" * 400, "true", "[]", "1.5e0"])
@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens", "sprint.max_stages", "sprint.time_limit"])
def test_a_number_that_means_nothing_is_refused_by_its_field(web: httpx.Client, field: str, value: str) -> None:
    group, _, name = field.rpartition(".")
    options = f'"{name}": {value}'
    options = f'"{group}": {{{options}}}' if group else options
    content = f'{{"messages": [{{"role": "user", "content": "x"}}], {options}}}'
    reply = web.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    meant = (field, value) == ("sprint.time_limit", "1.5e0")
    assert reply.status_code == (200 if meant else 400)
    assert meant or reply.json()["error"]["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\ud800", r"'\ud800'"), ("a\nb", r"'a\nb'"), ("", "''"), ("x" * 10**5, f"'{'x' * 64}...'"), ("größe", "größe")],
)
def test_an_odd_name_is_shown_on_one_short_line(web: httpx.Client, name: str, shown: str) -> None:
    for body, place in (({name: 1}, ""), ({"sprint": {name: 1}}, "sprint.")):
        content = json.dumps({"messages": [{"role": "user", "content": QUESTION}], **body})
        headers = {"Content-Type": "application/json"}
        reply = web.post("/v1/chat/completions", content=content, headers=headers)
        error = reply.json()["error"]
        assert reply.status_code == 400
        assert error["message"].startswith(f"{error['param']}: not supported here; known: ")
        assert error["param"] == place + shown


def test_what_asks_for_nothing_is_taken(client: openai.OpenAI) -> None:
    """Values that clients send by themselves, and fields that an answer cannot show."""
    nothing = {"n": 1, "tools": [], "tool_choice": "auto", "logprobs": False, "logit_bias": {}, "top_logprobs": 0}
    nothing |= {"frequency_penalty": 0, "presence_penalty": 0.0, "response_format": {"type": "text"}}
    harmless = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": True}
    harmless |= {"safety_identifier": "s", "prompt_cache_key": "k", "stream_options": {"include_obfuscation": False}}
    others = {"top_k": -1, "min_p": 0, "repetition_penalty": 1.0, "min_tokens": 0, "ignore_eos": False, "new": None}
    others |= {"skip_special_tokens": True, "chat_template_kwargs": {}, "stop_token_ids": []}
    assert ask(client, **nothing, **harmless, extra_body=others).choices[0].message.content == PLAYED.final_answer
    options = {"include": [], "truncation": "disabled", "background": False, "text": {"format": {"type": "text"}}}
    reply = client.responses.create(model="mini:sprint", input=QUESTION, tools=[], store=False, reasoning={}, **options)
    assert reply.output_text == PLAYED.final_answer
    text = client.completions.create(model="mini:sprint", prompt=[QUESTION], echo=False, best_of=1, suffix="")
    assert text.choices[0].text == PLAYED.final_answer


def test_the_guide_names_every_field_that_is_ignored() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    table = guide.partition("| where | ignored |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table.partition("\n")[2]))
    kinds = (
        ChatRequest,
        CompletionRequest,
        ResponsesRequest,
        StreamOptions,
        ChatMessage,
        ToolParameter,
        FunctionSchema,
        ToolCallPart,
        FunctionTool,
        InputCall,
        InputResult,
        InputMessage,
        InputReasoning,
        TextPart,
    )
    assert named - {"stream_options", "input"} == set().union(*(kind.ignored for kind in kinds))


def test_an_answer_can_be_handed_back_as_it_came(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": QUESTION, "name": "Ann"}]
    reply = client.chat.completions.create(model="mini:sprint", messages=messages)
    messages += [reply.choices[0].message.model_dump(), {"role": "user", "content": "And doubled?"}]
    again = ask(client, messages=messages, extra_body={"sprint": {"trajectory": True}})
    asked = again.sprint["trajectory"]["question"]
    assert f"user (Ann): {QUESTION}\n\nassistant: {PLAYED.final_answer}" in asked
    assert reply.choices[0].message.reasoning_content not in asked


@pytest.mark.parametrize("sent", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_content_type_that_is_not_json_is_named(web: httpx.Client, sent: str | None) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": QUESTION}]})
    reply = web.post("/v1/chat/completions", content=body, headers={"Content-Type": sent} if sent else {})
    assert reply.status_code == 415
    assert "Content-Type must be application/json" in (said := reply.json()["error"]["message"])
    assert (sent or "missing") in said


def test_half_a_pair_of_surrogates_is_no_question(url: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "half: \ud800"}]})
    reply = httpx.post(f"{url}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert "half a pair of surrogates" in reply.text


def test_a_null_is_what_is_left_out(client: openai.OpenAI) -> None:
    nulls = dict.fromkeys(("n", "top_p", "stream", "temperature", "stop", "logprobs", "seed", "reasoning_effort"))
    nested = {"sprint": {"events": None, "max_stages": None}, "stream_options": {"include_usage": None}}
    assert ask(client, extra_body=nulls | nested).choices[0].message.content == PLAYED.final_answer


def test_a_question_beyond_the_models_context_is_refused() -> None:
    with serving(FakeRuntime(room=10)) as url:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="fills the model's context") as caught:
                ask(client_of(url), stream=stream)
            assert caught.value.code == "context_length_exceeded"


def test_an_unknown_model_or_path_is_named(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="unknown model 'gpt-4o'; known: mini:sprint") as caught:
        ask(client, model="gpt-4o")
    assert caught.value.code == "model_not_found"
    assert httpx.get(f"{url}/v1/nothing").json()["error"]["type"] == "not_found_error"
    assert httpx.post(f"{url}/v1/chat/completions", content=b"{oh").json()["error"]["type"] == "invalid_request_error"


def test_without_a_key_nothing_is_answered() -> None:
    with serving(FakeRuntime(), keys=("first", "second")) as url:
        assert httpx.post(f"{url}/v1/chat/completions", content=b"{oh").status_code == 401  # before the body is read
        assert httpx.head(f"{url}/health").status_code == 200
        with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
            ask(client_of(url, "third"))
        assert ask(client_of(url, "second")).choices[0].message.content == PLAYED.final_answer
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(declared: bool) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 3000}]}).encode()
    with serving(FakeRuntime(), body_limit=2000) as url:
        content = body if declared else iter([body[:1500], body[1500:]])
        reply = httpx.post(f"{url}/v1/chat/completions", content=content)
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "request_too_large"


def test_beyond_the_queue_clients_are_told_when_to_come_back() -> None:
    with serving(FakeRuntime(pause=0.3), places=1, queue=1) as url:

        async def crowd() -> list[httpx.Response]:
            body = {"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}]}
            async with httpx.AsyncClient(timeout=30) as client:
                return await asyncio.gather(*[client.post(f"{url}/v1/chat/completions", json=body) for _ in range(5)])

        replies = asyncio.run(crowd())
        assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429, 429]
        refused = next(reply for reply in replies if reply.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_run(stream: bool) -> None:
    backend = FakeRuntime(pause=30.0)
    with serving(backend) as url:
        body = {"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.5)
        assert backend.sessions[0].closed.wait(5)
        wait_for(lambda: "sprint_running 0.0" in httpx.get(f"{url}/metrics").text, 10)


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_goes_on_without_its_client_where_it_is_told_to(stream: bool) -> None:
    backend = FakeRuntime(pause=0.3)
    with serving(backend) as url:
        body = {"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
        body["sprint"] = {"stop_on_disconnect": False}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.1)
        wait_for(lambda: backend.sessions, 10)
        wait_for(lambda: "sprint_running 0.0" in httpx.get(f"{url}/metrics").text, 10)
        ask(client_of(url))
    left, whole = backend.sessions
    assert len(left.requests) == len(whole.requests) > 4


def test_a_run_past_its_deadline_is_ended() -> None:
    backend = FakeRuntime(pause=30.0)
    with serving(backend, time_limit=20.0) as url:
        with pytest.raises(openai.InternalServerError, match=r"no answer within 0\.3 s") as caught:
            ask(client_of(url), extra_body={"sprint": {"time_limit": 0.3}})
        assert caught.value.status_code == 504
        assert backend.sessions[0].closed.is_set()


def test_a_runtime_that_is_gone_is_503_until_it_is_back(capfd: pytest.CaptureFixture[str]) -> None:
    backend = FakeRuntime(down=True, said="it ended: [/usr/lib/x] at http://127.0.0.1:1/generate")
    with serving(backend) as url:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="gone or still starting") as caught:
                ask(client_of(url), stream=stream)
            assert (caught.value.status_code, caught.value.code) == (503, "runtime_unavailable")
            assert int(caught.value.response.headers["retry-after"]) >= 1
        assert httpx.get(f"{url}/health").status_code == 503
        assert "it ended" not in capfd.readouterr().err  # clients may ask a thousand times before it is back
        backend.down = False
        assert ask(client_of(url)).choices[0].message.content == PLAYED.final_answer
        assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize("hangs", [False, True])
def test_a_shutdown_ends_what_takes_too_long(hangs: bool) -> None:
    backend = FakeRuntime(pause=30.0, hangs=hangs)

    def told(stream: bool) -> openai.APIError:
        with pytest.raises(openai.APIError, match="is being stopped") as caught:
            for _ in ask(client_of(url), stream=stream):
                pass
        return caught.value

    with ThreadPoolExecutor() as pool, serving(backend) as url:
        told_by = [pool.submit(told, stream) for stream in (False, True)]
        wait_for(lambda: len(backend.sessions) == 2, 10)
        begun = time.monotonic()
    assert [future.result().code for future in told_by] == ["server_stopping"] * 2
    assert all(session.closed.is_set() for session in backend.sessions)
    assert time.monotonic() - begun < 10


def test_what_is_asked_of_a_server_that_stops_is_refused() -> None:
    async def late() -> None:
        service = Service({"mini:sprint": (named_method("sprint"), FakeRuntime())}, Admission(1, 1))
        job = service.make_run_request(ChatRequest(messages=[ChatMessage(role="user", content=QUESTION)]), 10.0)
        await service.close()
        await service.start(job)

    with pytest.raises(ServerStopping):
        asyncio.run(late())


def test_metrics_count_answers_and_tokens(client: openai.OpenAI, url: str) -> None:
    ask(client)
    text = httpx.get(f"{url}/metrics").text
    assert 'sprint_answers_total{path="/v1/chat/completions",status="200"}' in text
    assert 'sprint_tokens_total{kind="sequential",model="mini:sprint"}' in text
    assert 'sprint_seconds_count{model="mini:sprint"}' in text
    assert QUESTION not in text


def test_the_asynchronous_client_is_served_as_well(url: str) -> None:
    async def both() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            replies = await asyncio.gather(ask(client), ask(client, model="mini:self_consistency"))
        return [reply.choices[0].message.content for reply in replies]

    assert "\\boxed{9}" in asyncio.run(both())[1]


def test_only_loopback_is_served_without_keys() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_address(host, ())
    for host in ("0.0.0.0", "10.1.2.3", "example.org"):
        with pytest.raises(BadInput, match="SPRINT_SERVE_KEYS"):
            check_address(host, ())
        check_address(host, ("key",))


OURS, THEIRS = "https://ours.example", "https://theirs.example"


def preflight(url: str, origin: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return httpx.options(f"{url}/v1/chat/completions", headers={"Origin": origin, **asked})


@pytest.mark.parametrize("stream", [False, True])
def test_pages_of_an_allowed_origin_may_ask(stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": stream}
    with serving(FakeRuntime(), keys=("key",), origins=(OURS,)) as url:
        asked = preflight(url, OURS)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, OURS)
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()
        for key, status in (("key", 200), ("none", 401)):
            headers = {"Origin": OURS, "Authorization": f"Bearer {key}"}
            reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)
            assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, OURS)
        assert preflight(url, THEIRS).status_code == 400
        headers = {"Origin": THEIRS, "Authorization": "Bearer key"}
        assert "access-control-allow-origin" not in httpx.get(f"{url}/v1/models", headers=headers).headers


def test_no_other_page_may_ask_by_default(url: str) -> None:
    assert preflight(url, OURS).status_code == 405
    reply = httpx.get(f"{url}/v1/models", headers={"Origin": OURS})
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origin", ["ours.example", "https://ours.example/", "https://*.example", "https://", "null", ""]
)
def test_what_no_page_has_as_its_origin_is_refused(origin: str) -> None:
    check_origins(["*", OURS, "http://localhost:5173", "http://[::1]:5173"])
    with pytest.raises(BadInput, match="is not an origin"):
        check_origins([origin])


def test_keys_come_from_the_environment_and_from_a_file(tmp_path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("\ufeff# mine\none\n\n  # his\ntwo\n")
    assert read_keys("zero, one", file) == ("zero", "one", "two")
    with pytest.raises(BadInput, match="use ASCII"):
        read_keys("schl\u00fcssel", None)
    file.write_text("# none\n")
    with pytest.raises(BadInput, match="contains no key"):
        read_keys(None, file)
    assert is_authorized("Bearer two", ("one", "two"))
    assert not is_authorized("Basic two", ("one", "two"))
    assert not is_authorized(None, ("one",))


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("That makes 75.\n</execution_1.1>", "That makes 75."),
        ("</think>", ""),
        ("It is 9.\n</Final_answer>\n</think>", "It is 9."),
        ("It is 9 <prom", "It is 9"),
    ],
)
def test_a_stream_sends_of_a_cut_answer_what_the_whole_reply_holds(written: str, answer: str) -> None:
    from sprint_sgl.lang.calls import Branch

    for size in (1, 3, len(written)):
        sorter = PieceSorter(named_method("sprint").program)
        pieces = sorter.feed(Branch(1), protocol.FINAL_ANSWER_OPEN)
        pieces += [p for k in range(0, len(written), size) for p in sorter.feed(Branch(1), written[k : k + size])]
        pieces += sorter.finish(answer)
        assert "".join(p.text for p in pieces if isinstance(p, AnswerPiece)) == answer


def test_pieces_cut_anywhere_make_the_same_stream() -> None:
    from sprint_sgl.lang.calls import Branch

    text = f"<Plan_1>\nx\n</Plan_1>\n\n{protocol.FINAL_ANSWER_OPEN}It is 9.\n"
    for size in range(1, 9):
        sorter = PieceSorter(named_method("sprint").program)
        pieces = [p for k in range(0, len(text), size) for p in sorter.feed(Branch(1), text[k : k + size])]
        pieces += sorter.finish("It is 9.")
        assert "".join(p.text for p in pieces if isinstance(p, AnswerPiece)) == "It is 9."
        assert "".join(p.text for p in pieces if isinstance(p, ReasoningPiece)) == "<Plan_1>\nx\n</Plan_1>\n\n"
        assert "".join(p.text for p in pieces if isinstance(p, BranchPiece)) == text
