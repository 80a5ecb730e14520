"""Fuzz the server: each request gets a status below 500 in OpenAI's format, and nothing is raised inside.

Requests go to the real app in this process; its runtime answers at once.
"""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache
from typing import Any

from benchmarks.fuzzing.cases import Target, check_message
from benchmarks.fuzzing.request_bodies import PATHS, odd_body, request_body
from benchmarks.fuzzing.texts import any_text, short_text

KEY = "the-right-key"
BODY_LIMIT = 200_000  # bytes
METHODS = ("POST",) * 30 + ("GET", "GET", "GET", "PUT", "HEAD", "OPTIONS", "DELETE")
KEYS = ((f"Bearer {KEY}".encode(),) * 40) + (b"", b"Bearer", b"Basic x", b"\xff\xfe", f"bearer  {KEY}".encode())
TYPES = (b"application/json",) * 8 + (b"", b"text/plain", b"application/json; charset=utf-16", b"\xff", b"multipart/x")
Sent = tuple[str, str, list[tuple[bytes, bytes]], list[bytes]]


@cache
def app() -> Any:
    """Return the server's app, built once."""
    from sprint_sgl.lang.registry import named_method
    from sprint_sgl.serving.admission import Admission
    from sprint_sgl.serving.app import Api
    from sprint_sgl.serving.metrics import Metrics
    from sprint_sgl.serving.service import Service

    admission = Admission(4, 4)
    offered = {f"mini:{name}": (named_method(name), AtOnce()) for name in ("sprint", "sequential")}
    return Api(Service(offered, admission), Metrics(admission), 60.0, (KEY,), BODY_LIMIT).app()


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop for all requests."""
    return asyncio.new_event_loop()


class AtOnce:
    """A backend of the server whose model writes the same text for every context."""

    def session(self, time_limit: float) -> Any:
        from tests.fakes.scripted import ScriptedBackend

        class Session(ScriptedBackend):
            def close(self) -> None:
                pass

            def get_server_info(self) -> dict[str, Any]:
                return {}

        return Session(lambda context: "<Final_answer>\n9\n</Final_answer>\n</think>")


def request(rng: random.Random) -> Sent:
    """Return method, path, headers and the body in chunks."""
    path = rng.choice(
        (*PATHS * 9, "/v1/models", f"/v1/models/{short_text(rng)}", "/health", "/metrics", "/", short_text(rng))
    )
    body = odd_body(rng)
    if rng.random() < 0.01:
        body = b" " * (BODY_LIMIT + 1) + body
    headers = [(b"authorization", rng.choice(KEYS)), (b"content-type", rng.choice(TYPES))]
    if rng.random() < 0.5:
        headers.append((b"content-length", str(len(body)).encode()))
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(3)))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    return rng.choice(METHODS), path, headers, chunks


def check_request(sent: Sent) -> None:
    """Check the status, and that the body is valid JSON or an event stream."""
    status, headers, body = loop().run_until_complete(app_response(sent))
    assert 200 <= status < 500, f"{status}: {body[:200]!r}"
    kind = headers.get(b"content-type", b"").decode()
    if status >= 400 and sent[0] != "HEAD":
        error = json.loads(body)["error"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert error["type"]
    elif kind.startswith("application/json"):
        json.loads(body)
    elif kind.startswith("text/event-stream"):
        for line in body.decode().splitlines():
            assert not line or line.startswith(("data: ", "event: "))
            if line.startswith("data: {"):
                json.loads(line[6:])


async def app_response(sent: Sent) -> tuple[int, dict[bytes, bytes], bytes]:
    """Call the app through its ASGI interface; return status, headers and body."""
    method, path, headers, chunks = sent
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    rest, done = list(chunks), asyncio.Event()
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if rest:
            body = rest.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(rest)}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app()(scope, receive, send)
    done.set()
    body = b"".join(message.get("body", b"") for message in said[1:])
    return said[0]["status"], dict(said[0]["headers"]), body


def wire_case(rng: random.Random) -> tuple[str, Any]:
    """Return a path and a request body."""
    return rng.choice(PATHS), request_body(rng)


def check_wire(case: tuple[str, Any]) -> None:
    """Check that the body is parsed or refused with a message, and that a parsed request has a valid question."""
    from pydantic import ValidationError

    from sprint_sgl.errors import BadInput
    from sprint_sgl.serving.requests import ChatRequest, CompletionRequest
    from sprint_sgl.serving.responses_requests import ResponsesRequest
    from sprint_sgl.tasks.question import checked_question

    path, body = case
    kinds = dict(zip(PATHS, (ChatRequest, CompletionRequest, ResponsesRequest), strict=True))
    try:
        read = kinds[path].model_validate(body)
        question = checked_question(read.question)
        stops = read.stops
    except (ValidationError, BadInput) as error:
        check_message(error)
    else:
        assert question.strip() == question != ""
        assert all(stops)
        assert read.token_limit is None or read.token_limit >= 1


def header(rng: random.Random) -> str:
    """Return a header's value as a web server decodes it: bytes, read as Latin-1."""
    return any_text(rng).encode("utf-8", "replace").decode("latin-1")


def check_key(text: str) -> None:
    """Check that only the right key is allowed."""
    from sprint_sgl.serving.keys import is_authorized

    assert not is_authorized(text, (KEY,)) or text.partition(" ")[2].strip() == KEY
    assert not is_authorized(f"Bearer {text}", (KEY,)) or text.strip() == KEY


TARGETS = (
    Target("server", 0.03, request, check_request, ready=app),
    Target("requests", 0.04, wire_case, check_wire),
    Target("keys", 0.02, header, check_key),
)
