"""The server against its own OpenAPI: what the schema allows and what it forbids, sent from outside over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sprint_sgl.serving.requests import (
    ChatMessage,
    ChatRequest,
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
from tests.fakes.served import FakeRuntime, serving

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import checks  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
AS_SAID = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)
READ = (
    *(ChatRequest, ResponsesRequest, StreamOptions, ChatMessage, TextPart, InputMessage, InputReasoning),
    *(ToolParameter, FunctionSchema, ToolCallPart, FunctionTool, InputCall, InputResult),
)
FREE = {"logit_bias", "chat_template_kwargs", "parameters"}  # objects with fields of any name
UNREAD = frozenset().union(*(each.ignored for each in READ))
few = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(FakeRuntime(), places=16, queue=16) as url:
        yield url


@pytest.fixture(scope="module")
def api(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("path", PATHS)
def test_what_the_schema_allows_is_answered_or_refused_as_it_says(api: Any, path: str) -> None:
    @few
    @given(case=api[path]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def check(case: Any) -> None:
        answer = case.call_and_validate(checks=list(AS_SAID))
        assert answer.status_code in (200, 400, 404)
        if answer.status_code == 400:
            assert "not supported" not in answer.text

    check()


@pytest.mark.parametrize("path", PATHS)
def test_what_the_schema_forbids_is_refused(api: Any, path: str) -> None:
    @few
    @given(case=api[path]["POST"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case: Any) -> None:
        answer = case.call_and_validate(checks=[*AS_SAID, checks.negative_data_rejection])
        assert answer.json()["error"]["type"] == "invalid_request_error"

    check()


@pytest.mark.parametrize("path", PATHS)
def test_a_field_that_nobody_knows_is_refused_wherever_it_stands(api: Any, url: str, path: str) -> None:
    web = httpx.Client(base_url=url)

    @few
    @given(
        case=api[path]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE),
        value=st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({})),
    )
    def check(case: Any, value: Any) -> None:
        for place, _ in objects(case.body):
            body = deepcopy(case.body)
            found = next(each for at, each in objects(body) if at == place)
            found["qzvx"] = value
            answer = web.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, ".".join([*place, "qzvx"]))

    with web:
        check()


def objects(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The objects of a body that are read, with their paths."""
    if isinstance(value, dict) and not set(place[-1:]) & FREE:
        yield place, value
        for name, each in value.items():
            if name not in UNREAD:
                yield from objects(each, (*place, name))
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from objects(each, (*place, str(number)))
