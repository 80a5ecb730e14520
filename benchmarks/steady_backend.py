"""A simulated runtime: every token takes the same time at any concurrency; it uses no CPU time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.measuring import runtime_url
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime.executor import call_options
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.runtime.server import DEFAULT_MODEL, resolve_model


class SteadyBackend(BaseBackend):  # type: ignore[misc]
    """Write up to the token limit, one word every `step` seconds. For replays, which set each call's length."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step, self.prompt_style = step, DEFAULT_PROMPT_STYLE
        self.model_info = {"tokenizer_path": resolve_model(DEFAULT_MODEL)}
        self._aborts: dict[str, threading.Event] = {}

    def abort(self, request_id: str) -> None:
        if event := self._aborts.get(request_id):
            event.set()

    def flush_cache(self) -> None:
        """There is no cache."""

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        name, wanted = call_options(s).request_id or uuid.uuid4().hex, sampling_params.max_new_tokens
        event = self._aborts[name] = threading.Event()
        start = time.perf_counter()
        aborted = event.wait(wanted * self.step)
        del self._aborts[name]
        end = time.perf_counter()
        written = min(wanted, round((end - start) / self.step)) if aborted else wanted
        finish = {"type": "abort"} if aborted else {"type": "length"}
        return " word" * written, {
            "completion_tokens": written,
            "finish_reason": finish,
            "start": start,
            "end": end,
        }


@contextmanager
def connect_runtime(step: float | None, url: str | None = None, name: str | None = None) -> Iterator[Any]:
    """Yield a simulated runtime if `step` is given, else the runtime at `url`, else a new one with the shipped
    model."""
    if step is not None:
        yield SteadyBackend(step)
        return
    with runtime_url(url, name) as address, connect(address) as endpoint:
        endpoint.warm_up()
        yield endpoint
