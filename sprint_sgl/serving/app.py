"""The HTTP interface: OpenAI's paths, whole answers and streams of server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion
from openai.types.responses import Response as OpenAIResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response, StreamingResponse

from sprint_sgl.lang.calls import Branch
from sprint_sgl.serving.chat_replies import ChatReply, CompletionReply, ErrorReply, FinishedRun, ReplyFormat
from sprint_sgl.serving.errors import FAULTS, add_error_handlers, stream_error
from sprint_sgl.serving.live import live_page
from sprint_sgl.serving.metrics import Metrics
from sprint_sgl.serving.middleware import CheckKey, CountAnswers, LimitBody
from sprint_sgl.serving.requests import ChatRequest, CompletionRequest, ProgramRequest, ResponsesRequest
from sprint_sgl.serving.responses_replies import ResponsesReply
from sprint_sgl.serving.service import RunRequest, Service
from sprint_sgl.serving.stream import Piece, PieceSorter

HEALTH_LIMIT = 5.0  # seconds
CLIENT_GONE = 499  # nobody reads it; metrics do
NO_BUFFER = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
ERROR_SCHEMAS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}}
T = TypeVar("T")


@dataclass(frozen=True)
class Api:
    """The handlers of one server; whoever serves it closes the service. Pages of `origins` may ask it."""

    service: Service
    metrics: Metrics
    time_limit: float
    keys: Sequence[str] = ()
    body_limit: int = 2**20
    origins: Sequence[str] = ()

    def app(self) -> FastAPI:
        app = FastAPI(title="sprint-sgl", version=metadata.version("sprint-sgl"), docs_url=None, redoc_url=None)
        app.add_middleware(LimitBody, limit=self.body_limit)
        app.add_middleware(CheckKey, keys=self.keys, open=("/", "/health"))
        app.add_middleware(CountAnswers, count=self.metrics.count_answer)
        if self.origins:  # before all others: a preflight has no key, and a refusal is to be read too
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self.origins,
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("Retry-After",),
                allow_private_network=True,
            )
        add_error_handlers(app)
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"], responses=reply_schemas(ChatCompletion))
        app.add_api_route("/v1/completions", self.complete, methods=["POST"], responses=reply_schemas(Completion))
        app.add_api_route("/v1/responses", self.respond, methods=["POST"], responses=reply_schemas(OpenAIResponse))
        app.add_api_route("/v1/models", self.models, responses=ERROR_SCHEMAS)
        app.add_api_route("/v1/models/{name:path}", self.model, responses=ERROR_SCHEMAS)
        for path, page in (("/metrics", self.measured), ("/health", self.health), ("/", self.page)):
            app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
        return app

    async def page(self) -> Response:
        """For a person; it asks with the key that is typed into it."""
        return live_page()

    async def chat(self, request: Request, asked: ChatRequest) -> Response:
        return await self._answer(request, asked, ChatReply(**self._wanted(asked)))

    async def complete(self, request: Request, asked: CompletionRequest) -> Response:
        return await self._answer(request, asked, CompletionReply(**self._wanted(asked)))

    async def respond(self, request: Request, asked: ResponsesRequest) -> Response:
        return await self._answer(request, asked, ResponsesReply(**self._wanted(asked)))

    async def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [model_entry(name) for name in self.service.offered]}

    async def model(self, name: str) -> dict[str, Any]:
        self.service.offer(name)
        return model_entry(name)

    async def health(self) -> Response:
        """200 where every runtime can be had."""
        for backend in {id(backend): backend for _, backend in self.service.offered.values()}.values():
            await asyncio.to_thread(backend.session(HEALTH_LIMIT).get_server_info)
        return JSONResponse({"status": "ok"})

    async def measured(self) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _wanted(self, asked: ProgramRequest) -> dict[str, Any]:
        return {
            "model": self.service.default if asked.model is None else asked.model,
            "events": asked.sprint.events,
            "with_usage": asked.stream_options.include_usage,
            "whole_trajectory": asked.sprint.trajectory,
        }

    async def _answer(self, request: Request, asked: ProgramRequest, form: ReplyFormat) -> Response:
        job = self.service.job(asked, self.time_limit)
        began = time.monotonic()
        if asked.stream:
            stream = PieceStream(self.service, job)
            pieces = stream.pieces()
            early = await result_or_disconnect(
                request, first_piece(pieces), stop=True
            )  # what fails before it has a status of its own
            self.metrics.observe_first_piece(job.model, time.monotonic() - began)
            events = self._events(stream, early, pieces, form, began)
            return StreamingResponse(events, media_type="text/event-stream", headers=NO_BUFFER)
        answered = await result_or_disconnect(request, self.service.start(job), stop=job.stop_on_disconnect)
        self.metrics.observe_run(job.model, answered.trajectory, time.monotonic() - began)
        body = form.whole(answered).model_dump_json(exclude_unset=True)
        return Response(body, media_type="application/json")

    async def _events(
        self, stream: PieceStream, early: Piece | None, pieces: AsyncIterator[Piece], form: ReplyFormat, began: float
    ) -> AsyncIterator[str]:
        for chunk in [*form.opening(), *(form.chunks(early) if early else [])]:
            yield form.framed(chunk)
        try:
            async for piece in pieces:
                for chunk in form.chunks(piece):
                    yield form.framed(chunk)
        except FAULTS as error:
            self.metrics.count_broken_stream()
            yield stream_error(error)
            return
        self.metrics.observe_run(stream.job.model, stream.finished_run.trajectory, time.monotonic() - began)
        for chunk in form.closing(stream.finished_run):
            yield form.framed(chunk)
        yield form.end


def reply_schemas(whole: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What the schema says of answers: whole, as a stream, and refused."""
    return {200: {"model": whole, "content": {"text/event-stream": {}}}, **ERROR_SCHEMAS}


def model_entry(name: str) -> dict[str, Any]:
    return Model(id=name, object="model", created=0, owned_by="sprint-sgl").model_dump()


class PieceStream:
    """A run's pieces as they come; afterwards `answered` is the whole of it."""

    def __init__(self, service: Service, job: RunRequest) -> None:
        self.job = job
        self._queue: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._sorter = PieceSorter(job.method.program, job.stops)
        self._task = service.start(job, self._watch)
        self._task.add_done_callback(lambda _: self._queue.put_nowait(None))

    @property
    def finished_run(self) -> FinishedRun:
        return self._task.result()

    def _watch(self, branch: Branch, text: str) -> None:
        for piece in self._sorter.feed(branch, text):
            self._queue.put_nowait(piece)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Raises what stopped the run; left before its end, it ends the run, unless that is to go on."""
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
            for piece in self._sorter.finish(self.finished_run.content):
                yield piece
        finally:
            if self.job.stop_on_disconnect:
                self._task.cancel()


def first_piece(pieces: AsyncIterator[Piece]) -> asyncio.Task[Piece | None]:
    """The first piece, None if there is none."""

    async def one() -> Piece | None:
        return await anext(pieces, None)

    return asyncio.create_task(one())


async def result_or_disconnect(request: Request, task: asyncio.Task[T], stop: bool) -> T:
    """The task's result, unless the client goes away first, which ends the task if it is to stop."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.create_task(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(CLIENT_GONE, "the client has closed the connection")
        return task.result()
    finally:
        leaving.cancel()
        if stop:
            task.cancel()
