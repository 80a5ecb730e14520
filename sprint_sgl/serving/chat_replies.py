"""Replies in the types of the openai package: chat and text completions, whole or as chunks of a stream, and errors.

Our own figures are under `sprint`, an extension field that other clients ignore.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import uuid4

from openai.types import Completion, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from pydantic import BaseModel
from starlette.responses import JSONResponse

from sprint_sgl.serving.stream import AnswerPiece, BranchPiece, Piece, ReasoningPiece, reasoning_text
from sprint_sgl.serving.tool_calls import ClientCall
from sprint_sgl.trajectory import Trajectory

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    content      the answer that the client gets
    stopped      whether a stop string ended the answer
    warnings     what the client asked for and the runtime could not do
    calls        calls of the client's tools that the run waits for; `content` is then the run so far
    """

    content: str
    trajectory: Trajectory
    stopped: bool = False
    warnings: tuple[str, ...] = ()
    calls: Sequence[ClientCall] = ()

    @property
    def finish_reason(self) -> Literal["stop", "length", "tool_calls"]:
        """Return "tool_calls" if the run waits for tools, else "length" if a limit cut any call that the answer rests
        on, except behind a stop string."""
        if self.calls:
            return "tool_calls"
        cut_behind_stop = self.stopped and any(call.finish == "length" for call in self.trajectory.answer_calls)
        return "length" if self.trajectory.truncated_count > cut_behind_stop else "stop"


class RunFigures(BaseModel):
    """The extension field `sprint`: tokens on the critical path and in total, the run's shape, and its seconds.

    `cached_share` is the share of prompt tokens found in the prefix cache; `repairs` counts tag repairs by kind;
    `warnings` say what was asked for and not done.
    """

    sequential_tokens: int
    total_tokens: int
    stages: int
    width: int
    seconds: float
    cached_share: float
    repairs: dict[str, int]
    launch: str
    warnings: list[str] | None = None
    trajectory: dict[str, Any] | None = None

    @staticmethod
    def of(run: FinishedRun, whole: bool) -> RunFigures:
        trajectory = run.trajectory
        return RunFigures(
            sequential_tokens=trajectory.sequential_tokens,
            total_tokens=trajectory.total_tokens,
            stages=len(trajectory.stages),
            width=trajectory.width,
            seconds=trajectory.seconds,
            cached_share=round(trajectory.cached_share, 4),
            repairs=dict(trajectory.repairs),
            launch=trajectory.launch,
            warnings=list(run.warnings) or None,
            trajectory=trajectory.to_dict() if whole else None,
        )


def token_usage(run: FinishedRun) -> CompletionUsage:
    """Return the tokens of all calls; those of the answer are estimated by its share of the last call's text."""
    trajectory = run.trajectory
    written = trajectory.thought + trajectory.final_answer
    share = len(trajectory.final_answer) / len(written) if written else 0.0
    answer_tokens = round(trajectory.answer_tokens * share)
    return CompletionUsage(
        prompt_tokens=trajectory.prompt_tokens,
        completion_tokens=trajectory.total_tokens,
        total_tokens=trajectory.prompt_tokens + trajectory.total_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=trajectory.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=trajectory.total_tokens - answer_tokens),
    )


@dataclass(frozen=True)
class ReplyEnvelope:
    """What all messages of one answer share: id, time, model, and the client's options for the reply."""

    model: str
    events: bool = True
    with_usage: bool = False
    whole_trajectory: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    end: str = DONE

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "created": self.created, "model": self.model, "object": kind}

    @property
    def null_usage(self) -> dict[str, Any]:
        """Return the null that OpenAI sends in every chunk before the one with the usage."""
        return {"usage": None} if self.with_usage else {}

    def as_event(self, chunk: BaseModel) -> str:
        return sse_event(chunk)

    def figures(self, run: FinishedRun) -> dict[str, Any]:
        return RunFigures.of(run, self.whole_trajectory).model_dump(exclude_none=True)


class ReplyFormat(Protocol):
    """An answer in one of OpenAI's shapes, whole or as the chunks of a stream."""

    @property
    def end(self) -> str:
        """The text behind the last event of a stream."""

    def as_event(self, chunk: BaseModel) -> str:
        """Return the chunk as a server-sent event."""

    def whole(self, run: FinishedRun) -> BaseModel: ...

    def opening(self) -> list[BaseModel]: ...

    def chunks(self, piece: Piece) -> list[BaseModel]:
        """Return the piece's chunks, none where this shape has no place for such a piece."""

    def closing(self, run: FinishedRun) -> list[BaseModel]:
        """Return the last chunks: the finish reason, our figures, and the usage if the client asked for it."""


class ChatReply(ReplyEnvelope):
    """The reply of /v1/chat/completions."""

    def whole(self, run: FinishedRun) -> BaseModel:
        text = {"content": run.content, "reasoning_content": reasoning_text(run.trajectory)}
        calls = {"tool_calls": [call_object(call) for call in run.calls]} if run.calls else {}
        message = ChatCompletionMessage.model_validate({"role": "assistant", **text, **calls})
        choice = Choice(index=0, message=message, finish_reason=run.finish_reason, logprobs=None)
        tail = {"choices": [choice], "usage": token_usage(run), "sprint": self.figures(run)}
        return ChatCompletion.model_validate(self.head("chat.completion") | tail)

    def opening(self) -> list[BaseModel]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def chunks(self, piece: Piece) -> list[BaseModel]:
        """Return a delta of the reasoning or of the answer; a branch's text is in `sprint` beside an empty delta."""
        if isinstance(piece, BranchPiece):
            return [self._chunk({}, sprint=branch_event(piece))] if self.events else []
        name = "reasoning_content" if isinstance(piece, ReasoningPiece) else "content"
        return [self._chunk({name: piece.text})]

    def closing(self, run: FinishedRun) -> list[BaseModel]:
        calls = [call_object(call) | {"index": number} for number, call in enumerate(run.calls)]
        called = [self._chunk({"tool_calls": calls})] if calls else []
        last = self._chunk({}, finish_reason=run.finish_reason, sprint=self.figures(run))
        return [*called, last, *([self._chunk(None, usage=token_usage(run))] if self.with_usage else [])]

    def _chunk(self, delta: dict[str, Any] | None, finish_reason: str | None = None, **more: Any) -> BaseModel:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        choices = [] if delta is None else [choice]
        head = self.head("chat.completion.chunk") | self.null_usage
        return ChatCompletionChunk.model_validate(head | {"choices": choices} | more)


def call_object(call: ClientCall) -> dict[str, Any]:
    """Return a call as it stands in OpenAI's messages."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


class CompletionReply(ReplyEnvelope):
    """The reply of /v1/completions, which has no place for reasoning."""

    def whole(self, run: FinishedRun) -> BaseModel:
        more = {"usage": token_usage(run), "sprint": self.figures(run)}
        return self._message([self._choice(run.content, run.finish_reason)], **more)

    def opening(self) -> list[BaseModel]:
        return []

    def chunks(self, piece: Piece) -> list[BaseModel]:
        if not isinstance(piece, AnswerPiece):
            return []
        return [self._message([self._choice(piece.text)], **self.null_usage)]

    def closing(self, run: FinishedRun) -> list[BaseModel]:
        choice = self._choice("", run.finish_reason)
        last = self._message([choice], sprint=self.figures(run), **self.null_usage)
        return [last, self._message([], usage=token_usage(run))] if self.with_usage else [last]

    def _choice(self, text: str, finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _message(self, choices: list[dict[str, Any]], **more: Any) -> BaseModel:
        # Unvalidated: OpenAI's type requires a finish reason in every chunk, its server sends one in the last only.
        return Completion.model_construct(**self.head("text_completion"), choices=choices, **more)


def branch_event(piece: BranchPiece) -> dict[str, Any]:
    """Return who wrote the text: role, stage, and the prompt's number, which is null for the planner."""
    branch = piece.branch
    role = "planner" if branch.prompt is None else "executor"
    return {"role": role, "stage": branch.stage, "prompt": branch.prompt, "text": piece.text}


def sse_event(value: BaseModel) -> str:
    """Return a server-sent event."""
    return f"data: {value.model_dump_json(exclude_unset=True)}\n\n"


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    error: ErrorDetail


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_event(message: str, kind: str, code: str | None = None) -> str:
    """Return the event of an error after a stream has begun, in the shape that OpenAI's client raises."""
    return f"data: {json.dumps(error_body(message, kind, code))}\n\n"


ERROR_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_type(status: int) -> str:
    return ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_reply(
    status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """Return an error in OpenAI's shape, with the header that tells its clients when to retry."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return JSONResponse(error_body(message, error_type(status), code, param), status, headers)
