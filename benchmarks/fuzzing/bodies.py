"""Requests as clients send them, and as nobody should: OpenAI's fields with odd values, broken JSON, bytes."""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks.fuzzing.texts import anywhere, damaged, short

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


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and NaN and Infinity, which Python reads as JSON too."""
    kind = rng.randrange(10 if depth < 3 else 6)
    if kind < 2:
        return rng.choice((None, True, False, "auto", "none", "eager", "user", "text"))
    if kind < 4:
        return number(rng)
    if kind < 6:
        return short(rng) if rng.random() < 0.9 else anywhere(rng)
    if kind < 8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice((*OURS, *NAMES, anywhere(rng))): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def message(rng: random.Random) -> Any:
    content: Any = rng.choice((QUESTION, short(rng), short(rng, 30)))
    if rng.random() < 0.2:
        content = [{"type": rng.choice(("text", "input_text", "image_url")), "text": short(rng)} for _ in range(2)]
    if rng.random() < 0.1:
        content = value(rng)
    made = {"role": rng.choice(ROLES), "content": content}
    return value(rng) if rng.random() < 0.03 else made


def asked(rng: random.Random) -> dict[str, Any]:
    """A request whose fields are mostly right, one or two of them odd."""
    body: dict[str, Any] = {}
    turns = [message(rng) for _ in range(rng.choice((0, 1, 1, 2, 4)))]
    turns += [{"role": "user", "content": rng.choice((QUESTION, short(rng, 20)))}] if rng.random() < 0.7 else []
    for name in rng.sample(("messages", "prompt", "input"), rng.choice((1, 1, 2, 3))):
        body[name] = turns if rng.random() < 0.7 else rng.choice((QUESTION, short(rng)))
    for name in rng.sample(NAMES, rng.randrange(4)):
        body[name] = value(rng)
    if rng.random() < 0.3:
        body["sprint"] = {name: value(rng) for name in rng.sample(OURS, rng.randrange(4))}
    if rng.random() < 0.15:
        body["stream"] = True
    if rng.random() < 0.6:
        body["model"] = rng.choice(("mini:sprint", "mini:sprint", "mini:sequential", "mini", short(rng)))
    return body


def odd_body(rng: random.Random) -> bytes:
    """The bytes of a request's body."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(ODD_BODIES)
    text = json.dumps(asked(rng), ensure_ascii=rng.random() < 0.7)
    if kind < 4:
        text = damaged(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if kind == 4:
        data = bytes(rng.randrange(256) if rng.random() < 0.05 else byte for byte in data)
    if kind == 5:
        data = text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "surrogatepass")
    return data


def broken_body(rng: random.Random) -> bytes:
    """One that no server may take: its JSON does not end, or what must be asked is not there."""
    good = json.dumps({"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}]})
    if rng.random() < 0.5:
        return good[: rng.randrange(len(good))].encode()
    body = asked(rng)
    for name in ("messages", "prompt", "input"):
        body[name] = rng.choice((None, [], 7, {}, [{}], [None], {"role": "user"}))
    return json.dumps(body).encode()
