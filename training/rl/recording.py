"""Rollouts in tokens: a connection to a runtime that keeps what each call was sent and what it sampled.

Ids and log-probabilities are the runtime's own. Text that is tokenised again may come out as other tokens than those
that were sampled, and its log-probabilities would be of another text.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.executor import call_options, set_call_options
from sprint_sgl.runtime.frontend import StreamExecutor
from sprint_sgl.runtime.prefix_reuse import TokenizedContext


@dataclass(frozen=True)
class SampledCall:
    """One call of a rollout.

    branch     the executor's place, such as "1.3"; "" for the planner
    context    token ids that were sent
    ids        token ids that were sampled, those of the stop string and the end token included
    logprobs   log-probability of each sampled token under the policy that sampled it
    """

    branch: str
    context: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.logprobs):
            raise ValueError(f"{len(self.ids)} sampled tokens have {len(self.logprobs)} log-probabilities")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(row: dict[str, Any]) -> SampledCall:
        return SampledCall(row["branch"], *(tuple(row[name]) for name in ("context", "ids", "logprobs")))


class RecordingEndpoint(Endpoint):
    """A running SGLang server whose sessions keep the calls of one run each, in the order in which they ended.

    Raises BadInput if the runtime's tokenizer is not on this machine: contexts would be sent as text.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.calls: list[SampledCall] = []
        if self._tokenizer() is None:
            self.close()
            raise BadInput(f"{url}: rollouts need the tokenizer of its model, {self.get_model_name()}, on this machine")

    def session(self, time_limit: float | None = None) -> RecordingEndpoint:
        session = super().session(time_limit)
        assert isinstance(session, RecordingEndpoint)
        session.calls = []
        return session

    def _context(self, s: StreamExecutor) -> TokenizedContext | None:
        set_call_options(s, logprobs=True)
        return super()._context(s)

    def _keep_tokens(self, s: StreamExecutor, context: TokenizedContext | None, reply: dict[str, Any]) -> None:
        super()._keep_tokens(s, context, reply)
        assert context is not None  # the constructor has seen the tokenizer
        sampled = reply["meta_info"].get("output_token_logprobs") or ()
        ids, logprobs = tuple(entry[1] for entry in sampled), tuple(float(entry[0]) for entry in sampled)
        self.calls.append(SampledCall(call_options(s).branch, context.ids, ids, logprobs))
