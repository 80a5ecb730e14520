"""Request bodies, valid and invalid: OpenAI's fields with odd values, broken JSON, and bytes."""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks.fuzzing.texts import any_character, damage, short_text

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
QUESTION = "Use 3, 7 and 12 to make 66"
NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e308, 1e-320, 2**31, 2**63, -(2**63), 10**30, float("nan"), float("inf"))
NAMES = (
    *("model", "messages", "prompt", "input", "temperature", "top_p", "seed", "max_tokens", "max_completion_tokens"),
    *("max_output_tokens", "stop", "stream", "stream_options", "sprint", "n", "tools", "tool_choice", "functions"),
    *("function_call", "logprobs", "top_logprobs", "logit_bias", "response_format", "frequency_penalty", "min_p"),
    *("presence_penalty", "repetition_penalty", "top_k", "best_of", "modalities", "echo", "suffix", "instructions"),
    *("text", "reasoning", "truncation", "previous_response_id", "conversation", "background", "reasoning_effort"),
    *("verbosity", "ignore_eos", "regex", "user", "metadata", "store", "__class__", "model_config", ""),
)
OURS = ("max_stages", "launch", "time_limit", "stop_on_disconnect", "events", "trajectory", "max_stage")
ROLES = ("user", "user", "user", "system", "assistant", "developer", "tool", "", None)
ODD_BODIES = (b"", b"null", b"[]", b'""', b"0", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{}")


def number(rng: random.Random) -> Any:
    return rng.choice(NUMBERS)


def json_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a random JSON value, or NaN or Infinity, which Python's parser accepts."""
    kind = rng.randrange(10 if depth < 3 else 6)
    if kind < 2:
        return rng.choice((None, True, False, "auto", "none", "eager", "user", "text"))
    if kind < 4:
        return number(rng)
    if kind < 6:
        return short_text(rng) if rng.random() < 0.9 else any_character(rng)
    if kind < 8:
        return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {
        rng.choice((*OURS, *NAMES, any_character(rng))): json_value(rng, depth + 1) for _ in range(rng.randrange(4))
    }


def chat_message(rng: random.Random) -> Any:
    """Return a chat message, sometimes an invalid one."""
    content: Any = rng.choice((QUESTION, short_text(rng), short_text(rng, 30)))
    if rng.random() < 0.2:
        content = [{"type": rng.choice(("text", "input_text", "image_url")), "text": short_text(rng)} for _ in range(2)]
    if rng.random() < 0.1:
        content = json_value(rng)
    made = {"role": rng.choice(ROLES), "content": content}
    return json_value(rng) if rng.random() < 0.03 else made


def request_body(rng: random.Random) -> dict[str, Any]:
    """Return a request with mostly valid fields and a few odd ones."""
    body: dict[str, Any] = {}
    turns = [chat_message(rng) for _ in range(rng.choice((0, 1, 1, 2, 4)))]
    turns += [{"role": "user", "content": rng.choice((QUESTION, short_text(rng, 20)))}] if rng.random() < 0.7 else []
    for name in rng.sample(("messages", "prompt", "input"), rng.choice((1, 1, 2, 3))):
        body[name] = turns if rng.random() < 0.7 else rng.choice((QUESTION, short_text(rng)))
    for name in rng.sample(NAMES, rng.randrange(4)):
        body[name] = json_value(rng)
    if rng.random() < 0.3:
        body["sprint"] = {name: json_value(rng) for name in rng.sample(OURS, rng.randrange(4))}
    if rng.random() < 0.15:
        body["stream"] = True
    if rng.random() < 0.6:
        body["model"] = rng.choice(("mini:sprint", "mini:sprint", "mini:sequential", "mini", short_text(rng)))
    return body


def odd_body(rng: random.Random) -> bytes:
    """Return the bytes of a request's body, sometimes damaged."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(ODD_BODIES)
    text = json.dumps(request_body(rng), ensure_ascii=rng.random() < 0.7)
    if kind < 4:
        text = damage(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if kind == 4:
        data = bytes(rng.randrange(256) if rng.random() < 0.05 else byte for byte in data)
    if kind == 5:
        data = text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "surrogatepass")
    return data


def broken_body(rng: random.Random) -> bytes:
    """Return a body that every server must refuse: truncated JSON, or a request without a question."""
    good = json.dumps({"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}]})
    if rng.random() < 0.5:
        return good[: rng.randrange(len(good))].encode()
    body = request_body(rng)
    for name in ("messages", "prompt", "input"):
        body[name] = rng.choice((None, [], 7, {}, [{}], [None], {"role": "user"}))
    return json.dumps(body).encode()
