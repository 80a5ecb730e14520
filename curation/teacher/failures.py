"""What may go wrong between us and the teacher, and how the client's errors become one of these.

EndpointFailed   every further call would fail alike: the run stops
└── BadRequest   the endpoint refuses the request, and may answer one with another prompt
BudgetReached    the next call might cost more than is left: the run stops
CallFailed       the call of one trace failed, and another start may succeed
└── Deferred     the call waits for a batch (curation/teacher/batches.py)
Refused          the reply, or the request itself, cannot be used (curation/annotate/components.py)
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager

import openai
from openai import AsyncOpenAI

from curation.annotate.components import Refused
from curation.teacher.calls import BAD_REQUEST, DECLINED, TOO_LONG
from sprint_sgl.errors import RequestFailed

NO_KEY = "none"  # the key that is sent where there is none


class EndpointFailed(RequestFailed):
    pass


class BadRequest(EndpointFailed):
    pass


class CallFailed(RequestFailed):
    """`reason` is a short phrase, by which failures are counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Deferred(CallFailed):
    pass


@contextmanager
def translate_errors(client: AsyncOpenAI, model: str, answering: Container[str] = ()) -> Iterator[None]:
    """Translate the client's errors into this module's, without the key.

    `answering`: models that have answered other requests.
    """
    try:
        yield
    except openai.OpenAIError as error:
        message = hide_key(f"{error} {error.__cause__ or ''}", client)
        raise _translate(error, f"{client.base_url} with model {model}: {message}", model in answering) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CallFailed("unreadable answer", f"{client.base_url} sent broken JSON: {error}") from None


def hide_key(text: str, client: AsyncOpenAI) -> str:
    """Return the first 400 characters in one line, without the key."""
    line = " ".join(text.split())
    return (line if client.api_key == NO_KEY else line.replace(client.api_key, "(key)"))[:400]


_TOO_LONG = re.compile(r"context.?(length|window)|maximum (model|sequence) length|too long", re.I)
_DECLINED = ("content_filter", "content_policy_violation", "invalid_prompt")


def request_fault(code: object, message: object) -> str | None:
    """Return why an endpoint's error blames the request itself: too long, or declined for its content; else None."""
    if _TOO_LONG.search(f"{code} {message}"):
        return TOO_LONG
    return DECLINED if code in _DECLINED else None


def _translate(error: openai.OpenAIError, message: str, answering: bool) -> Exception:
    match error:
        case openai.APITimeoutError():
            return CallFailed("timed out", message)
        case openai.RateLimitError() if "insufficient_quota" not in (error.code, error.type):
            return CallFailed("rate limited", message)
        case openai.APIStatusError(status_code=408 | 409) | openai.InternalServerError():
            return CallFailed("server error", message)
        case openai.APIStatusError(status_code=400 | 413 | 422) if fault := request_fault(error.code, error.message):
            return Refused(fault, message)
        case openai.APIStatusError(status_code=400 | 422):
            return Refused(BAD_REQUEST, message) if answering else BadRequest(message)
    return EndpointFailed(message)
