"""As /v1/responses answers: the reasoning is an item of its own before the message, and every event is numbered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, get_args
from uuid import uuid4

from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseReasoningTextDeltaEvent,
    ResponseReasoningTextDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from pydantic import BaseModel

from sprint_sgl.serving.chat_replies import FinishedRun, ReplyEnvelope, branch_event, sse_event, token_usage
from sprint_sgl.serving.stream import BranchPiece, Piece, ReasoningPiece, reasoning_text

ItemType = Literal["reasoning", "message"]
ResponseStatus = Literal["in_progress", "completed", "incomplete"]
DELTA_EVENTS: dict[ItemType, type[BaseModel]] = {
    "reasoning": ResponseReasoningTextDeltaEvent,
    "message": ResponseTextDeltaEvent,
}
DONE_EVENTS: dict[ItemType, type[BaseModel]] = {
    "reasoning": ResponseReasoningTextDoneEvent,
    "message": ResponseTextDoneEvent,
}


class BranchEvent(BaseModel):
    """What one branch has written; clients pass over a type that they do not know."""

    type: Literal["sprint.branch"]
    sequence_number: int
    sprint: dict[str, Any]


@dataclass(frozen=True)
class ResponsesReply(ReplyEnvelope):
    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")
    end: str = ""  # the last event says that it is the last
    _numbers: Iterator[int] = field(default_factory=count)
    _written: dict[ItemType, str] = field(default_factory=dict)  # what was streamed of each item, in the output's order

    def framed(self, chunk: BaseModel) -> str:
        return f"event: {chunk.type}\n{sse_event(chunk)}"  # type: ignore[attr-defined]

    def whole(self, answered: FinishedRun) -> Response:
        status = response_status(answered)
        texts: dict[ItemType, str] = {"reasoning": reasoning_text(answered.trajectory), "message": answered.content}
        spent = token_usage(answered).model_dump(exclude_unset=True)
        return self._response(
            status,
            output=[self._item(kind, text, status) for kind, text in texts.items() if text or kind == "message"],
            incomplete_details={"reason": "max_output_tokens"} if status == "incomplete" else None,
            usage={
                "input_tokens": spent["prompt_tokens"],
                "input_tokens_details": spent["prompt_tokens_details"],
                "output_tokens": spent["completion_tokens"],
                "output_tokens_details": spent["completion_tokens_details"],
                "total_tokens": spent["total_tokens"],
            },
            sprint=self.figures(answered),
        )

    def opening(self) -> list[BaseModel]:
        begun = self._response("in_progress", output=[])
        return [self._say(ResponseCreatedEvent, response=begun), self._say(ResponseInProgressEvent, response=begun)]

    def chunks(self, piece: Piece) -> list[BaseModel]:
        if isinstance(piece, BranchPiece):
            return [self._say(BranchEvent, sprint=branch_event(piece))] if self.events else []
        kind: ItemType = "reasoning" if isinstance(piece, ReasoningPiece) else "message"
        opened = [] if kind in self._written else self._opened(kind)
        self._written[kind] += piece.text
        return [*opened, self._say(DELTA_EVENTS[kind], delta=piece.text, **self._place(kind), **_no_logprobs(kind))]

    def closing(self, answered: FinishedRun) -> list[BaseModel]:
        opened = [] if "message" in self._written else self._opened("message")
        status = response_status(answered)
        last: type[BaseModel] = ResponseIncompleteEvent if status == "incomplete" else ResponseCompletedEvent
        return [*opened, *self._closed("message", status), self._say(last, response=self.whole(answered))]

    def _opened(self, kind: ItemType) -> list[BaseModel]:
        before = [said for other in self._written for said in self._closed(other)]
        self._written[kind] = ""
        item, index = self._item(kind), len(self._written) - 1
        added = self._say(ResponseOutputItemAddedEvent, item=item, output_index=index)
        part = self._say(ResponseContentPartAddedEvent, part=_part(kind, ""), **self._place(kind))
        return [*before, added, part]

    def _closed(self, kind: ItemType, status: ResponseStatus = "completed") -> list[BaseModel]:
        text, place = self._written[kind], self._place(kind)
        item = self._item(kind, text, status)
        return [
            self._say(DONE_EVENTS[kind], text=text, **place, **_no_logprobs(kind)),
            self._say(ResponseContentPartDoneEvent, part=_part(kind, text), **place),
            self._say(ResponseOutputItemDoneEvent, item=item, output_index=place["output_index"]),
        ]

    def _say(self, kind: type[BaseModel], **fields: Any) -> BaseModel:
        (name,) = get_args(kind.model_fields["type"].annotation)
        return kind.model_validate({"type": name, "sequence_number": next(self._numbers), **fields})

    def _place(self, kind: ItemType) -> dict[str, Any]:
        return {"item_id": self._item_id(kind), "output_index": list(self._written).index(kind), "content_index": 0}

    def _item_id(self, kind: ItemType) -> str:
        return self.id.replace("resp", "rs" if kind == "reasoning" else "msg", 1)

    def _item(self, kind: ItemType, text: str | None = None, status: ResponseStatus = "in_progress") -> dict[str, Any]:
        """An item of the output; without its text it has just begun. Only a message may be incomplete."""
        content = [] if text is None else [_part(kind, text)]
        if kind == "reasoning":
            status = "completed" if status == "incomplete" else status
            return {"type": "reasoning", "id": self._item_id(kind), "summary": [], "status": status, "content": content}
        return {"type": "message", "id": self._item_id(kind), "role": "assistant", "status": status, "content": content}

    def _response(self, status: ResponseStatus, **more: Any) -> Response:
        head = {"id": self.id, "object": "response", "created_at": self.created, "model": self.model, "status": status}
        plain: dict[str, Any] = {"error": None, "tools": [], "tool_choice": "none", "parallel_tool_calls": False}
        return Response.model_validate({**head, **plain, **more})


def response_status(answered: FinishedRun) -> ResponseStatus:
    return "incomplete" if answered.finish_reason == "length" else "completed"


def _part(kind: ItemType, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": []}


def _no_logprobs(kind: ItemType) -> dict[str, Any]:
    """The text events of a message must name them."""
    return {"logprobs": []} if kind == "message" else {}
