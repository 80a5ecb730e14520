"""A backend that replays one recorded trajectory: each call writes as many tokens as in the recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sprint_sgl import protocol
from sprint_sgl.bench.replay import TrajectoryShape
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import CallOptions, ExecutorStandIn, call_options, context_of, set_call_options
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.storage.checkpoints import load_tokenizer


@lru_cache(maxsize=8)
def tag_token_bias(tokenizer: str) -> dict[str, float]:
    """Return a logit bias against tokens that could form tags, blanks or broken characters, by token id.

    Programs parse what is written, so that the replayed text must contain no tags.
    """
    loaded = load_tokenizer(tokenizer)
    texts = {id: loaded.decode([id]) for id in range(len(loaded))}
    special = set(loaded.all_special_ids)
    return {
        str(id): -1e4
        for id, text in texts.items()
        if id in special or "<" in text or "-" in text or "\ufffd" in text or not text.strip()
    }


class ForcedBackend(BaseBackend):  # type: ignore[misc]
    """Has the real runtime write as many tokens as a call is to take."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.runtime, self.prompt_style = endpoint, endpoint.prompt_style
        self._bias = tag_token_bias(str(endpoint.model_info["tokenizer_path"]))

    def get_chat_template(self) -> Any:
        return self.runtime.get_chat_template()

    def abort(self, request_id: str) -> None:
        self.runtime.abort(request_id)

    def write(
        self, s: StreamExecutor, sampling_params: SglSamplingParams, tokens: int, opening: str = ""
    ) -> tuple[str, dict[str, Any], CallOptions]:
        """Return so many tokens behind the context and the opening, their accounting, and the call's options."""
        forced = sampling_params.clone()
        forced.stop, forced.max_new_tokens, forced.ignore_eos = [], tokens, True
        options = replace(call_options(s), sampling={"logit_bias": self._bias})
        call = ExecutorStandIn(context_of(s) + opening, options)
        return *self.runtime.generate(call, forced), call.call_options


class ReplayBackend(ForcedBackend):
    """Answers every call of one run on the real runtime, with as many tokens as in the recording."""

    def __init__(self, endpoint: Endpoint, shape: TrajectoryShape, thought: int | None = None) -> None:
        """`thought` is the length of a sequential thought; by default that of the whole recording."""
        super().__init__(endpoint)
        self.shape, self.thought = shape, thought or shape.total
        self.max_new_tokens = self.max_sequential_tokens = max(shape.total, self.thought) + 1
        self._planner = iter(_planner_calls(shape))

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        opening, tokens, stop = self._call(context_of(s), sampling_params.stop)
        allowed = min(tokens, sampling_params.max_new_tokens)
        text, meta, options = self.write(s, sampling_params, allowed, opening)
        set_call_options(s, tokenized=options.tokenized)
        cut = allowed < tokens or meta["finish_reason"]["type"] == "abort"
        return opening + text, meta if cut else meta | {"finish_reason": {"type": "stop", "matched": stop}}

    def _call(self, context: str, stops: Sequence[str]) -> tuple[str, int, str]:
        """Return the tags that the call is taken to begin with, its number of tokens, and its stop string."""
        if not stops:
            return "", self.thought, ""
        if numbers := protocol.open_execution_numbers(context):
            i, j = numbers
            return "", self.shape.stages[i - 1].executions[j - 1], protocol.close_execution(i, j).strip()
        return next(self._planner)


def _planner_calls(shape: TrajectoryShape) -> Iterator[tuple[str, int, str]]:
    for i, stage in enumerate(shape.stages, 1):
        opening = protocol.open_plan(i)
        for j, tokens in enumerate(stage.prompts, 1):
            yield f"{opening}{protocol.open_prompt(i, j)} ", tokens, protocol.PROMPT_STOP
            opening = ""
        yield opening, stage.tail, protocol.PLAN_STOP
    yield protocol.FINAL_ANSWER_OPEN, shape.answer, protocol.ANSWER_STOP
