"""What goes to an SGLang server and what comes back: the body of a generation, its reply, its refusals."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from sprint_sgl.errors import ContextFull, RequestFailed, SprintError
from sprint_sgl.runtime.executor import call_options, context_of
from sprint_sgl.runtime.frontend import SglSamplingParams, StreamExecutor
from sprint_sgl.runtime.prefix_reuse import TokenizedContext

GENERATE = "/generate"

Meta = dict[str, Any]


def request_body(s: StreamExecutor, context: TokenizedContext | None, sampling_params: SglSamplingParams) -> Meta:
    """Return the body of a generation that continues the executor's text, as token ids where `context` has them."""
    options = call_options(s)
    params = sampling_params.to_srt_kwargs() | {"skip_special_tokens": True, "spaces_between_special_tokens": False}
    if options.seed is not None:
        params["sampling_seed"] = options.seed
    prompt: Meta = {"text": context_of(s)} if context is None else {"input_ids": context.ids}
    body = prompt | {"sampling_params": params | options.sampling, "rid": options.request_id or uuid.uuid4().hex}
    return body | ({"return_logprob": True} if options.logprobs else {})


def rename_request(body: Meta | None, attempt: int) -> Meta | None:
    """Return the body with a request id of its own for a later attempt: the server may still hold the first one."""
    return body | {"rid": f"{body['rid']}~{attempt}"} if body and attempt and "rid" in body else body


def held_back(text: str, stops: str | list[str] | tuple[str, ...]) -> int:
    """Return the length of the longest end of the text that begins one of the stop strings."""
    stops = [stops] if isinstance(stops, str) else stops
    longest = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0


def parse_object(content: str | bytes) -> Meta:
    """Parse a JSON object; return {} if the content is not one."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def check_generation(reply: Meta, url: str) -> Meta:
    """Return the reply. Raises RequestFailed if its text or its accounting is missing."""
    if isinstance(reply.get("text"), str) and isinstance(reply.get("meta_info"), dict):
        return reply
    raise RequestFailed(f"{url}{GENERATE} does not answer as an SGLang server does: {json.dumps(reply)[:200]}")


def refusal_error(message: str) -> SprintError:
    """Return the error for a server's refusal: SGLang has no status code for a prompt that is too long."""
    full = re.search(r"context length|exceeds the maximum allowed length", message)
    return ContextFull(message) if full else RequestFailed(message)
