"""Errors as OpenAI's clients understand them: an HTTP status, a code, and when to ask again."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sprint_sgl.console import say
from sprint_sgl.errors import (
    BadInput,
    Busy,
    ContextFull,
    DeadlinePassed,
    NoSuchModel,
    RuntimeUnavailable,
    ServerStopping,
    SprintError,
    ToolFailed,
)
from sprint_sgl.serving.chat_replies import error_event, error_reply, error_type
from sprint_sgl.serving.requests import TAG_END

RUNTIME_RETRY = 5  # seconds after which a client may ask again while the runtime is starting
RUNTIME_GONE = "the runtime is gone or still starting: ask again"
_ADDRESS = re.compile(r"https?://[^\s/]+?(?::\d+)?(?:/\w+)*(?=[\s:,]|$)")


def status_and_code(error: SprintError) -> tuple[int, str | None]:
    match error:
        case DeadlinePassed():
            return 504, "time_limit"
        case ServerStopping():
            return 503, "server_stopping"
        case Busy():
            return 429, "rate_limit_exceeded"
        case NoSuchModel():
            return 404, "model_not_found"
        case ContextFull():
            return 400, "context_length_exceeded"
        case BadInput():
            return 400, None
        case RuntimeUnavailable() | SprintError(__cause__=RuntimeUnavailable()):
            return 503, "runtime_unavailable"
        case ToolFailed() | SprintError(__cause__=ToolFailed()):
            return 502, "tool_failed"
    return 502, "runtime_failed"


def stream_error(error: SprintError) -> str:
    """Return the event that ends a stream with this error."""
    status, code = status_and_code(error)
    return error_event(client_message(error, status), error_type(status), code)


def client_message(error: SprintError, status: int) -> str:
    """Return the error's text without the runtime's address; what failed inside the runtime goes to the server's log.

    A runtime that is starting is not logged here: its start has been, and clients ask again and again.
    """
    if status not in (502, 503) or isinstance(error, ServerStopping):
        return _ADDRESS.sub("the runtime", str(error))
    if not isinstance(error, RuntimeUnavailable):
        say(str(error), style="yellow")
    return _ADDRESS.sub("the runtime", str(error)) if status == 502 else RUNTIME_GONE


async def handle_sprint_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SprintError)
    status, code = status_and_code(error)
    retry_after = error.retry_after if isinstance(error, Busy) else RUNTIME_RETRY if status == 503 else None
    param = "model" if isinstance(error, NoSuchModel) else None
    return error_reply(status, client_message(error, status), code=code, param=param, retry_after=retry_after)


async def handle_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # FastAPI parses JSON only from bodies of that content type
        sent = request.headers.get("content-type")
        found = f"got {sent!r}" if sent else "it is missing"
        return error_reply(415, f"Content-Type must be application/json, {found}", param="Content-Type")
    first = error.errors()[0]
    path = field_path(first)
    return error_reply(400, f"{path or 'the body'}: {first['msg']}", param=path or None)


def field_path(error: Mapping[str, Any]) -> str:
    """Return the field that a validation error is about, such as messages.0.content; empty for the whole body."""
    if error["type"] == "json_invalid":  # located by a character's position
        return ""
    parts = [*error["loc"][1:], error.get("ctx", {}).get("field")]
    return ".".join(str(part) for part in parts if part is not None and not str(part).endswith(TAG_END))


async def handle_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reply = error_reply(error.status_code, str(error.detail))
    reply.headers.update(error.headers or {})
    return reply


async def handle_bug(request: Request, error: Exception) -> JSONResponse:
    return error_reply(500, f"{type(error).__name__} inside the server", code="internal_error")


def add_error_handlers(app: FastAPI) -> None:
    """Make every error leave the app in OpenAI's shape."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Coroutine[Any, Any, JSONResponse]]] = {
        SprintError: handle_sprint_error,
        RequestValidationError: handle_invalid_request,
        HTTPException: handle_http_error,
        Exception: handle_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
