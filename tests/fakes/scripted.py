"""A backend that answers from a script: run programs without a server, for tests and offline demonstrations.

    sprint_program.run(question, backend=ScriptedBackend(replay(trajectory)))

A token is a word. The cache is an ideal radix cache: every prefix of an earlier request is cached.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sprint_sgl import protocol
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime.executor import call_options
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.trajectory import Trajectory

_TOKEN = re.compile(r"\s*\S+|\s+")
Script = Callable[[str], str]


@dataclass(frozen=True)
class ScriptedRequest:
    """A request as the backend received it, with arrival time, seed, and sampling parameters beside the usual ones."""

    context: str
    text: str
    start: float
    end: float
    seed: int | None
    request_id: str | None
    sampling: Mapping[str, Any]


@dataclass
class ScriptedBackend(BaseBackend):  # type: ignore[misc]
    """`script` maps a context to the model's text; stop strings and token limits cut it.

    `pause` returns the seconds a request takes, by its context; `logprob` the mean log-probability of a text. `room` is
    the number of tokens of prompt and text together; beyond it the text is cut off, as by SGLang.
    """

    script: Script
    pause: Callable[[str], float] = lambda context: 0.0
    logprob: Callable[[str], float] = lambda text: 0.0
    prompt_style: str = DEFAULT_PROMPT_STYLE
    room: int = 10**9
    requests: list[ScriptedRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        BaseBackend.__init__(self)
        self._lock = threading.Lock()
        self._aborted: set[str] = set()

    def get_model_name(self) -> str:
        return "scripted"

    def abort(self, request_id: str) -> None:
        self._aborted.add(request_id)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        start = time.perf_counter()
        options = call_options(s)
        limit = min(sampling_params.max_new_tokens, max(0, self.room - count_tokens(s.text_)))
        text, finish = cut(self.script(s.text_), sampling_params.stop, limit)
        aborted = self._wait(self.pause(s.text_), options.request_id)
        finish = {"type": "abort"} if aborted else finish
        with self._lock:
            seen = [request.context + request.text for request in self.requests]
            end = time.perf_counter()
            extra = (options.seed, options.request_id, options.sampling)
            self.requests.append(ScriptedRequest(s.text_, text, start, end, *extra))
        return text, {
            "prompt_tokens": count_tokens(s.text_),
            "cached_tokens": max((count_tokens(shared_prefix(s.text_, other)) for other in seen), default=0),
            "completion_tokens": count_tokens(text) + (finish["type"] == "stop"),
            "finish_reason": finish,
            "output_token_logprobs": [(self.logprob(text), 0, None)] if options.logprobs else [],
            "start": start,
            "end": end,
        }

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        text, meta = self.generate(s, sampling_params)
        for token in _TOKEN.findall(text):
            yield token, meta
        yield "", meta

    def _wait(self, seconds: float, request_id: str | None) -> bool:
        """Sleep as long as the request takes. Return whether it was aborted."""
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            if request_id in self._aborted:
                return True
            time.sleep(0.002)
        return False


def count_tokens(text: str) -> int:
    return len(_TOKEN.findall(text))


def shared_prefix(one: str, other: str) -> str:
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def cut(text: str, stops: str | Sequence[str], limit: int) -> tuple[str, dict[str, Any]]:
    """Return the text up to its first stop string or its token limit, and SGLang's finish reason."""
    found = [(text.find(stop), stop) for stop in ([stops] if isinstance(stops, str) else stops) if stop in text]
    end, stop = min(found, default=(len(text), None))
    tokens = _TOKEN.findall(text[:end])
    if len(tokens) > limit:
        return "".join(tokens[:limit]), {"type": "length", "length": limit}
    return text[:end], {"type": "stop", "matched": stop if stop is not None else 0}


def replay(trajectory: Trajectory, format: protocol.Format = protocol.SPRINT) -> Script:
    """Return the script of a model that writes exactly this trajectory, in the tags of the format."""
    stages = "".join(
        format.spell(protocol.render_plan(i, stage.prompts, stage.tail)) + format.render_executions(i, stage.executions)
        for i, stage in enumerate(trajectory.stages, 1)
    )
    transcript = stages + format.spell(protocol.render_final_answer(trajectory.final_answer))

    def script(context: str) -> str:
        for i, stage in enumerate(trajectory.stages, 1):
            for j, execution in enumerate(stage.executions, 1):
                if context.endswith(format.spell(protocol.open_execution(i, j))):
                    return format.spell(protocol.escape_tags(execution.text) + protocol.close_execution(i, j))
        written = context.partition("<think>\n")[2]
        return transcript[len(written) :] if transcript.startswith(written) else ""

    return script
