"""The runtime that replays one recorded trajectory: it writes as many tokens as the recording had, call by call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sprint_sgl import protocol
from sprint_sgl.bench.replay import Shape
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import ExecutorStandIn, call_options, context_of, set_call_options
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.storage.checkpoints import load_tokenizer

_EXECUTOR = re.compile(r"<execution_(\d+)\.(\d+)>\s*$")


@lru_cache(maxsize=8)
def unreadable(tokenizer: str) -> dict[str, float]:
    """A bias against tokens that could become tags, blanks or broken characters: programs read what is written."""
    loaded = load_tokenizer(tokenizer)
    texts = {id: loaded.decode([id]) for id in range(len(loaded))}
    special = set(loaded.all_special_ids)
    return {
        str(id): -1e4
        for id, text in texts.items()
        if id in special or "<" in text or "-" in text or "\ufffd" in text or not text.strip()
    }


class ReplayBackend(BaseBackend):  # type: ignore[misc]
    """Answers every call of one run with as many tokens as the recording had there, on the real runtime."""

    def __init__(self, endpoint: Endpoint, shape: Shape, thought: int | None = None) -> None:
        """`thought` is the length of a sequential thought, where it is not that of the whole recording."""
        super().__init__()
        self.runtime, self.shape, self.thought = endpoint, shape, thought or shape.total
        self.prompt_style = endpoint.prompt_style
        self.max_new_tokens = self.max_sequential_tokens = max(shape.total, self.thought) + 1
        self._bias = unreadable(str(endpoint.model_info["tokenizer_path"]))
        self._planner = iter(_planner_calls(shape))

    def get_chat_template(self) -> Any:
        return self.runtime.get_chat_template()

    def abort(self, request_id: str) -> None:
        self.runtime.abort(request_id)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        begun, tokens, stop = self._call(context_of(s), sampling_params.stop)
        forced, allowed = sampling_params.clone(), min(tokens, sampling_params.max_new_tokens)
        forced.stop, forced.max_new_tokens, forced.ignore_eos = [], allowed, True
        options = replace(call_options(s), sampling={"logit_bias": self._bias})
        call = ExecutorStandIn(context_of(s) + begun, options)
        text, meta = self.runtime.generate(call, forced)
        set_call_options(s, tokenized=call.call_options.tokenized)
        cut = allowed < tokens or meta["finish_reason"]["type"] == "abort"
        return begun + text, meta if cut else meta | {"finish_reason": {"type": "stop", "matched": stop}}

    def _call(self, context: str, stops: Sequence[str]) -> tuple[str, int, str]:
        """What the model is taken to have begun with, how many tokens it writes, and what stops it."""
        if not stops:
            return "", self.thought, ""
        if executor := _EXECUTOR.search(context):
            i, j = int(executor[1]), int(executor[2])
            return "", self.shape.stages[i - 1].executions[j - 1], f"</execution_{i}.{j}>"
        return next(self._planner)


def _planner_calls(shape: Shape) -> Iterator[tuple[str, int, str]]:
    for i, stage in enumerate(shape.stages, 1):
        opening = protocol.open_plan(i)
        for j, tokens in enumerate(stage.prompts, 1):
            yield f"{opening}{protocol.open_prompt(i, j)} ", tokens, "</prompt_"
            opening = ""
        yield opening, stage.tail, "</Plan_"
    yield protocol.FINAL_ANSWER_OPEN, shape.answer, "</Final_answer>"
