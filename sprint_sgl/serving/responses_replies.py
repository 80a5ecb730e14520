"""Replies of /v1/responses: the reasoning is an item of its own before the message, and every event is numbered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
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
from sprint_sgl.serving.tool_calls import ClientCall

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
    """Text of one branch; clients ignore event types that they do not know."""

    type: Literal["sprint.branch"]
    sequence_number: int
    sprint: dict[str, Any]


@dataclass(frozen=True)
class ResponsesReply(ReplyEnvelope):
    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")
    end: str = ""  # the type of the last event marks the end
    asked: Mapping[str, Any] = field(default_factory=dict)  # what a response repeats of its request
    _numbers: Iterator[int] = field(default_factory=count)
    _written: dict[ItemType, str] = field(default_factory=dict)  # text streamed so far by item, in output order

    def as_event(self, chunk: BaseModel) -> str:
        return f"event: {chunk.type}\n{sse_event(chunk)}"  # type: ignore[attr-defined]

    def whole(self, run: FinishedRun) -> Response:
        status = response_status(run)
        texts: dict[ItemType, str] = {"reasoning": reasoning_text(run.trajectory), "message": run.content}
        used = token_usage(run).model_dump(exclude_unset=True)
        return self._response(
            status,
            output=[
                *(self._item(kind, text, status) for kind, text in texts.items() if text or kind == "message"),
                *(self._call(call) for call in run.calls),
            ],
            incomplete_details={"reason": "max_output_tokens"} if status == "incomplete" else None,
            usage={
                "input_tokens": used["prompt_tokens"],
                "input_tokens_details": used["prompt_tokens_details"],
                "output_tokens": used["completion_tokens"],
                "output_tokens_details": used["completion_tokens_details"],
                "total_tokens": used["total_tokens"],
            },
            sprint=self.figures(run),
        )

    def opening(self) -> list[BaseModel]:
        started = self._response("in_progress", output=[])
        return [
            self._event(ResponseCreatedEvent, response=started),
            self._event(ResponseInProgressEvent, response=started),
        ]

    def chunks(self, piece: Piece) -> list[BaseModel]:
        if isinstance(piece, BranchPiece):
            return [self._event(BranchEvent, sprint=branch_event(piece))] if self.events else []
        kind: ItemType = "reasoning" if isinstance(piece, ReasoningPiece) else "message"
        opening = [] if kind in self._written else self._open_item(kind)
        self._written[kind] += piece.text
        return [
            *opening,
            self._event(DELTA_EVENTS[kind], delta=piece.text, **self._position(kind), **_no_logprobs(kind)),
        ]

    def closing(self, run: FinishedRun) -> list[BaseModel]:
        opening = [] if "message" in self._written else self._open_item("message")
        status = response_status(run)
        last: type[BaseModel] = ResponseIncompleteEvent if status == "incomplete" else ResponseCompletedEvent
        called = [event for number, call in enumerate(run.calls) for event in self._call_events(number, call)]
        return [*opening, *self._close_item("message", status), *called, self._event(last, response=self.whole(run))]

    def _open_item(self, kind: ItemType) -> list[BaseModel]:
        before = [event for other in self._written for event in self._close_item(other)]
        self._written[kind] = ""
        item, index = self._item(kind), len(self._written) - 1
        added = self._event(ResponseOutputItemAddedEvent, item=item, output_index=index)
        part = self._event(ResponseContentPartAddedEvent, part=_part(kind, ""), **self._position(kind))
        return [*before, added, part]

    def _close_item(self, kind: ItemType, status: ResponseStatus = "completed") -> list[BaseModel]:
        text, position = self._written[kind], self._position(kind)
        item = self._item(kind, text, status)
        return [
            self._event(DONE_EVENTS[kind], text=text, **position, **_no_logprobs(kind)),
            self._event(ResponseContentPartDoneEvent, part=_part(kind, text), **position),
            self._event(ResponseOutputItemDoneEvent, item=item, output_index=position["output_index"]),
        ]

    def _call(self, call: ClientCall, status: ResponseStatus = "completed") -> dict[str, Any]:
        arguments = "" if status == "in_progress" else call.arguments
        item = {"id": call.id.replace("call", "fc", 1), "call_id": call.id, "name": call.name, "arguments": arguments}
        return {"type": "function_call", "status": status, **item}

    def _call_events(self, number: int, call: ClientCall) -> list[BaseModel]:
        index, item = len(self._written) + number, self._call(call)
        place = {"output_index": index, "item_id": item["id"]}
        begun = self._call(call, "in_progress")
        return [
            self._event(ResponseOutputItemAddedEvent, item=begun, output_index=index),
            self._event(ResponseFunctionCallArgumentsDeltaEvent, delta=call.arguments, **place),
            self._event(ResponseFunctionCallArgumentsDoneEvent, arguments=call.arguments, name=call.name, **place),
            self._event(ResponseOutputItemDoneEvent, item=item, output_index=index),
        ]

    def _event(self, kind: type[BaseModel], **fields: Any) -> BaseModel:
        (name,) = get_args(kind.model_fields["type"].annotation)
        return kind.model_validate({"type": name, "sequence_number": next(self._numbers), **fields})

    def _position(self, kind: ItemType) -> dict[str, Any]:
        return {"item_id": self._item_id(kind), "output_index": list(self._written).index(kind), "content_index": 0}

    def _item_id(self, kind: ItemType) -> str:
        return self.id.replace("resp", "rs" if kind == "reasoning" else "msg", 1)

    def _item(self, kind: ItemType, text: str | None = None, status: ResponseStatus = "in_progress") -> dict[str, Any]:
        """Return an item of the output; text=None is one that has just started. Only messages can be incomplete."""
        content = [] if text is None else [_part(kind, text)]
        if kind == "reasoning":
            status = "completed" if status == "incomplete" else status
            return {"type": "reasoning", "id": self._item_id(kind), "summary": [], "status": status, "content": content}
        return {"type": "message", "id": self._item_id(kind), "role": "assistant", "status": status, "content": content}

    def _response(self, status: ResponseStatus, **more: Any) -> Response:
        head = {"id": self.id, "object": "response", "created_at": self.created, "model": self.model, "status": status}
        return Response.model_validate({**head, "error": None, **self.asked, **more})


def response_status(run: FinishedRun) -> ResponseStatus:
    return "incomplete" if run.finish_reason == "length" else "completed"


def _part(kind: ItemType, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": []}


def _no_logprobs(kind: ItemType) -> dict[str, Any]:
    """Return the empty list that OpenAI's text events of a message require."""
    return {"logprobs": []} if kind == "message" else {}
