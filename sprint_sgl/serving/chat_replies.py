"""What clients are told, in the types of the openai package: answers, chunks of a stream, errors, models.

Our own figures stand under `sprint`, a field that clients which do not know it pass over.
"""

from __future__ import annotations

import json
import time
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
from sprint_sgl.trajectory import Trajectory

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: the answer as the client is to have it, the run, and whether a stop string ended the answer."""

    content: str
    trajectory: Trajectory
    stopped: bool = False

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """Length where a limit cut anything that the answer rests on, unless it came behind a stop string."""
        behind = self.stopped and any(call.finish == "length" for call in self.trajectory.answer_calls)
        return "length" if self.trajectory.cuts > behind else "stop"


class RunFigures(BaseModel):
    """The extension field: tokens on the critical path and in all, the run's shape, seconds from first call to last.

    `cached_share` is the share of prompt tokens that the prefix cache had, `repairs` what was mended by kind.
    """

    sequential_tokens: int
    total_tokens: int
    stages: int
    width: int
    seconds: float
    cached_share: float
    repairs: dict[str, int]
    launch: str
    trajectory: dict[str, Any] | None = None

    @staticmethod
    def of(trajectory: Trajectory, whole: bool) -> RunFigures:
        return RunFigures(
            sequential_tokens=trajectory.sequential_tokens,
            total_tokens=trajectory.total_tokens,
            stages=len(trajectory.stages),
            width=trajectory.width,
            seconds=trajectory.seconds,
            cached_share=round(trajectory.cached_share, 4),
            repairs=dict(trajectory.repairs),
            launch=trajectory.launch,
            trajectory=trajectory.to_dict() if whole else None,
        )


def token_usage(answered: FinishedRun) -> CompletionUsage:
    """Tokens of all calls together. Which of them are the answer's is told by its share of the last call's text."""
    trajectory = answered.trajectory
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
    """What all messages of one answer share: an id, when it began, which model was asked, and what was asked for."""

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
    def no_usage_yet(self) -> dict[str, Any]:
        """OpenAI has a null in every chunk before the one with the usage."""
        return {"usage": None} if self.with_usage else {}

    def framed(self, chunk: BaseModel) -> str:
        return sse_event(chunk)

    def figures(self, answered: FinishedRun) -> dict[str, Any]:
        return RunFigures.of(answered.trajectory, self.whole_trajectory).model_dump(exclude_none=True)


class ReplyFormat(Protocol):
    """An answer in one of OpenAI's shapes, whole or as the chunks of a stream."""

    @property
    def end(self) -> str:
        """What is sent behind the last chunk."""

    def framed(self, chunk: BaseModel) -> str:
        """The chunk as a server-sent event."""

    def whole(self, answered: FinishedRun) -> BaseModel: ...

    def opening(self) -> list[BaseModel]: ...

    def chunks(self, piece: Piece) -> list[BaseModel]:
        """Empty where this shape has no place for such a piece."""

    def closing(self, answered: FinishedRun) -> list[BaseModel]:
        """Why the stream ends, our figures, and the usage for those who asked for it."""


class ChatReply(ReplyEnvelope):
    """As /v1/chat/completions answers."""

    def whole(self, answered: FinishedRun) -> BaseModel:
        text = {"content": answered.content, "reasoning_content": reasoning_text(answered.trajectory)}
        message = ChatCompletionMessage.model_validate({"role": "assistant", **text})
        choice = Choice(index=0, message=message, finish_reason=answered.finish_reason, logprobs=None)
        tail = {"choices": [choice], "usage": token_usage(answered), "sprint": self.figures(answered)}
        return ChatCompletion.model_validate(self.head("chat.completion") | tail)

    def opening(self) -> list[BaseModel]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def chunks(self, piece: Piece) -> list[BaseModel]:
        """A delta of the reasoning or of the answer, or an empty one with its branch."""
        if isinstance(piece, BranchPiece):
            return [self._chunk({}, sprint=branch_event(piece))] if self.events else []
        name = "reasoning_content" if isinstance(piece, ReasoningPiece) else "content"
        return [self._chunk({name: piece.text})]

    def closing(self, answered: FinishedRun) -> list[BaseModel]:
        last = self._chunk({}, finish_reason=answered.finish_reason, sprint=self.figures(answered))
        return [last, self._chunk(None, usage=token_usage(answered))] if self.with_usage else [last]

    def _chunk(self, delta: dict[str, Any] | None, finish_reason: str | None = None, **more: Any) -> BaseModel:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        choices = [] if delta is None else [choice]
        head = self.head("chat.completion.chunk") | self.no_usage_yet
        return ChatCompletionChunk.model_validate(head | {"choices": choices} | more)


class CompletionReply(ReplyEnvelope):
    """As /v1/completions answers, which has no place for reasoning."""

    def whole(self, answered: FinishedRun) -> BaseModel:
        more = {"usage": token_usage(answered), "sprint": self.figures(answered)}
        return self._message([self._choice(answered.content, answered.finish_reason)], **more)

    def opening(self) -> list[BaseModel]:
        return []

    def chunks(self, piece: Piece) -> list[BaseModel]:
        if not isinstance(piece, AnswerPiece):
            return []
        return [self._message([self._choice(piece.text)], **self.no_usage_yet)]

    def closing(self, answered: FinishedRun) -> list[BaseModel]:
        choice = self._choice("", answered.finish_reason)
        last = self._message([choice], sprint=self.figures(answered), **self.no_usage_yet)
        return [last, self._message([], usage=token_usage(answered))] if self.with_usage else [last]

    def _choice(self, text: str, finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _message(self, choices: list[dict[str, Any]], **more: Any) -> BaseModel:
        # OpenAI's type wants a reason in every chunk, its server gives none but in the last.
        return Completion.model_construct(**self.head("text_completion"), choices=choices, **more)


def branch_event(piece: BranchPiece) -> dict[str, Any]:
    """Who wrote: the stage, the prompt's number, or null for the planner, and the text."""
    branch = piece.branch
    role = "planner" if branch.prompt is None else "executor"
    return {"role": role, "stage": branch.stage, "prompt": branch.prompt, "text": piece.text}


def sse_event(value: BaseModel) -> str:
    """A server-sent event."""
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
    """An error after the stream has begun, as OpenAI's client raises it."""
    return f"data: {json.dumps(error_body(message, kind, code))}\n\n"


ERROR_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_type(status: int) -> str:
    return ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_reply(
    status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """In OpenAI's shape, with the header that its clients wait by."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return JSONResponse(error_body(message, error_type(status), code, param), status, headers)
