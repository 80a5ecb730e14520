"""A backend that plays the recorded plan of one question; the runtime takes the time that its tokens take."""

from __future__ import annotations

from typing import Any

from sprint_sgl import protocol
from sprint_sgl.bench.replay_backend import ForcedBackend
from sprint_sgl.bench.tool_replay import PlannedQuestion, ask_call
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import context_of
from sprint_sgl.runtime.frontend import SglSamplingParams, StreamExecutor

CHARACTERS_A_TOKEN = 4


class RecordedPlanner(ForcedBackend):
    """Asks every sub-question whose needs are answered, closes the plan, and answers when all are."""

    max_new_tokens = 10_000

    def __init__(self, endpoint: Endpoint, question: PlannedQuestion) -> None:
        super().__init__(endpoint)
        self.question = question
        self._stage = 0
        self._asked: list[int] = []  # in this stage
        self._done: set[int] = set()

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        text, stop = self._next(context_of(s))
        _, meta, _ = self.write(s, sampling_params, max(1, round(len(text) / CHARACTERS_A_TOKEN)))
        return text, meta | {"finish_reason": {"type": "stop", "matched": stop}}

    def _next(self, context: str) -> tuple[str, str]:
        """Return what the planner writes next, and the stop string that ends it."""
        stage, opening = context.count(f"\n{protocol.BLOCK_STOP}") + 1, ""
        if stage != self._stage:
            self._stage, opening = stage, protocol.open_plan(stage)
            self._done |= set(self._asked)
            self._asked = []
        for number, lookup in enumerate(self.question.lookups):
            if number not in self._done and number not in self._asked and set(lookup.needs) <= self._done:
                self._asked.append(number)
                prompt = protocol.open_prompt(stage, len(self._asked))
                return f"{opening}{prompt} {ask_call(lookup)} ", protocol.PROMPT_STOP
        if self._asked:
            return "", protocol.PLAN_STOP
        return f"{protocol.FINAL_ANSWER_OPEN}\\boxed{{{self.question.gold}}}\n", protocol.ANSWER_STOP
