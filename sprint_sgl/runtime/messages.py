"""What goes to an SGLang server and what comes back: the body of a generation, its answer, its refusals."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import httpx

from sprint_sgl.errors import ContextFull, RequestFailed, SprintError
from sprint_sgl.runtime import gateway_client as behind
from sprint_sgl.runtime.context_tokens import Tokenized
from sprint_sgl.runtime.frontend import SglSamplingParams, StreamExecutor

GENERATE = "/generate"

Meta = dict[str, Any]


def lacks_worker(response: httpx.Response) -> bool:
    """Whether a gateway has nobody to send the request to, for now."""
    return response.status_code >= 500 and behind.lacks_worker(response.status_code, json_object(response))


def refused(said: str) -> SprintError:
    """What a server's refusal means: SGLang has no code for a prompt that is too long."""
    full = re.search(r"context length|exceeds the maximum allowed length", said)
    return ContextFull(said) if full else RequestFailed(said)


def request_body(s: StreamExecutor, context: Tokenized | None, sampling_params: SglSamplingParams) -> Meta:
    """A generation from the executor's text; from the context's tokens where they are known."""
    params = sampling_params.to_srt_kwargs() | {"skip_special_tokens": True, "spaces_between_special_tokens": False}
    if (seed := getattr(s, "sampling_seed", None)) is not None:
        params["sampling_seed"] = seed
    params |= getattr(s, "extra_sampling_params", {})
    prompt: Meta = {"text": s.text_} if context is None else {"input_ids": context.ids}
    body = prompt | {"sampling_params": params, "rid": getattr(s, "request_id", None) or uuid.uuid4().hex}
    return body | ({"return_logprob": True} if getattr(s, "return_logprob", False) else {})


def renamed(body: Meta | None, attempt: int) -> Meta | None:
    """The server may still hold the first attempt's request: a second one needs a name of its own."""
    return body | {"rid": f"{body['rid']}~{attempt}"} if body and attempt and "rid" in body else body


def held_back(text: str, stops: str | list[str] | tuple[str, ...]) -> int:
    """Length of the longest end of the text that begins one of the stop strings."""
    stops = [stops] if isinstance(stops, str) else stops
    longest = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0


def json_object(response: httpx.Response) -> Meta:
    """The answer's JSON object, an empty one for an answer that is none."""
    return parsed(response.content)


def parsed(text: str | bytes) -> Meta:
    """Its JSON object, an empty one for a text that is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def generated(answer: Meta, url: str) -> Meta:
    """Raises RequestFailed where a text or its accounting is missing."""
    if isinstance(answer.get("text"), str) and isinstance(answer.get("meta_info"), dict):
        return answer
    raise RequestFailed(f"{url}{GENERATE} does not answer as an SGLang server does: {json.dumps(answer)[:200]}")
