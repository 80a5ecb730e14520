"""The HTTP interface: OpenAI's paths, with whole answers or streams of server-sent events."""

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
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from sprint_sgl.errors import SprintError
from sprint_sgl.lang.calls import Branch
from sprint_sgl.serving.chat_replies import ChatReply, CompletionReply, ErrorReply, FinishedRun, ReplyFormat
from sprint_sgl.serving.errors import add_error_handlers, stream_error
from sprint_sgl.serving.live import live_page
from sprint_sgl.serving.metrics import Metrics
from sprint_sgl.serving.middleware import CheckKey, CountAnswers, LimitBody
from sprint_sgl.serving.requests import ChatRequest, CompletionRequest, ProgramRequest, ViewRequest
from sprint_sgl.serving.responses_replies import ResponsesReply
from sprint_sgl.serving.responses_requests import ResponsesRequest
from sprint_sgl.serving.service import RunRequest, Service
from sprint_sgl.serving.stream import Piece, PieceSorter
from sprint_sgl.view.trajectory_page import ShownRun, render_trajectory_page

HEALTH_LIMIT = 5.0  # seconds
CLIENT_GONE = 499  # nginx's status for a client that closed the connection; only metrics see it
NO_BUFFER = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
ERROR_SCHEMAS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}}
T = TypeVar("T")


@dataclass(frozen=True)
class Api:
    """The handlers of one server. Pages of `origins` may call it; whoever starts the server closes the service."""

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
        if self.origins:  # outermost: a preflight carries no key, and browsers must be able to read refusals
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
        app.add_api_route("/v1/models", self.list_models, responses=ERROR_SCHEMAS)
        app.add_api_route("/v1/models/{name:path}", self.show_model, responses=ERROR_SCHEMAS)
        app.add_api_route("/view", self.view, methods=["POST"], include_in_schema=False)
        for path, page in (("/metrics", self.show_metrics), ("/health", self.health), ("/", self.page)):
            app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
        return app

    async def page(self) -> Response:
        """Return the live page. It needs no key itself; its requests carry the key that is typed into it."""
        return live_page()

    async def view(self, body: ViewRequest) -> Response:
        """Return the viewer's page of trajectories, for the live page."""
        shown = [ShownRun.of(each.parsed_trajectory(), each.method) for each in body.runs]
        return HTMLResponse(await asyncio.to_thread(render_trajectory_page, shown, "Live run"))

    async def chat(self, request: Request, body: ChatRequest) -> Response:
        return await self._answer(request, body, ChatReply(**self._reply_options(body)))

    async def complete(self, request: Request, body: CompletionRequest) -> Response:
        return await self._answer(request, body, CompletionReply(**self._reply_options(body)))

    async def respond(self, request: Request, body: ResponsesRequest) -> Response:
        return await self._answer(request, body, ResponsesReply(asked=body.repeated, **self._reply_options(body)))

    async def list_models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._entry(name) for name in self.service.models]}

    async def show_model(self, name: str) -> dict[str, Any]:
        return self._entry(name)

    def _entry(self, name: str) -> dict[str, Any]:
        """Return OpenAI's description of a model, with its notes under `sprint`."""
        method, backend = self.service.find_model(name)
        entry = Model(id=name, object="model", created=0, owned_by="sprint-sgl").model_dump()
        notes = backend.model_notes(method)
        return {**entry, "sprint": notes} if notes else entry

    async def health(self) -> Response:
        """Return 200 if every runtime answers."""
        for backend in {id(backend): backend for _, backend in self.service.models.values()}.values():
            await asyncio.to_thread(backend.session(HEALTH_LIMIT).get_server_info)
        return JSONResponse({"status": "ok"})

    async def show_metrics(self) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _reply_options(self, body: ProgramRequest) -> dict[str, Any]:
        return {
            "model": self.service.default if body.model is None else body.model,
            "events": body.sprint.events,
            "with_usage": body.stream_options.include_usage,
            "whole_trajectory": body.sprint.trajectory,
        }

    async def _answer(self, request: Request, body: ProgramRequest, form: ReplyFormat) -> Response:
        run = self.service.make_run_request(body, self.time_limit)
        began = time.monotonic()
        if body.stream:
            stream = PieceStream(self.service, run)
            pieces = stream.pieces()
            # An error before the first piece still gets a status of its own.
            first = await result_or_disconnect(request, first_piece(pieces), stop=True)
            self.metrics.observe_first_piece(run.model, time.monotonic() - began)
            events = self._events(stream, first, pieces, form, began)
            return StreamingResponse(events, media_type="text/event-stream", headers=NO_BUFFER)
        finished = await result_or_disconnect(request, self.service.start(run), stop=run.stop_on_disconnect)
        self.metrics.observe_run(run.model, finished.trajectory, time.monotonic() - began)
        text = form.whole(finished).model_dump_json(exclude_unset=True)
        return Response(text, media_type="application/json")

    async def _events(
        self, stream: PieceStream, first: Piece | None, pieces: AsyncIterator[Piece], form: ReplyFormat, began: float
    ) -> AsyncIterator[str]:
        for chunk in [*form.opening(), *(form.chunks(first) if first else [])]:
            yield form.as_event(chunk)
        try:
            async for piece in pieces:
                for chunk in form.chunks(piece):
                    yield form.as_event(chunk)
        except SprintError as error:
            self.metrics.count_broken_stream()
            yield stream_error(error)
            return
        self.metrics.observe_run(stream.run.model, stream.finished_run.trajectory, time.monotonic() - began)
        for chunk in form.closing(stream.finished_run):
            yield form.as_event(chunk)
        yield form.end


def reply_schemas(whole: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of a path's answers: whole, as a stream, and refused."""
    return {200: {"model": whole, "content": {"text/event-stream": {}}}, **ERROR_SCHEMAS}


class PieceStream:
    """The pieces of a run as they are written; `finished_run` is the whole of it once they have ended."""

    def __init__(self, service: Service, run: RunRequest) -> None:
        self.run = run
        self._queue: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._sorter = PieceSorter(run.method.program, run.stops)
        self._task = service.start(run, self._watch)
        self._task.add_done_callback(lambda _: self._queue.put_nowait(None))

    @property
    def finished_run(self) -> FinishedRun:
        return self._task.result()

    def _watch(self, branch: Branch, text: str) -> None:
        for piece in self._sorter.feed(branch, text):
            self._queue.put_nowait(piece)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield the pieces. Raises what stopped the run. Closed early, it cancels a run with `stop_on_disconnect`."""
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
            if self.finished_run.calls:  # the content is then the run's state, which no stop string may cut
                self._sorter.stops = []
            for piece in self._sorter.finish(self.finished_run.content):
                yield piece
        finally:
            if self.run.stop_on_disconnect:
                self._task.cancel()


def first_piece(pieces: AsyncIterator[Piece]) -> asyncio.Task[Piece | None]:
    """Return a task for the first piece, whose result is None if there is none."""

    async def wait() -> Piece | None:
        return await anext(pieces, None)

    return asyncio.create_task(wait())


async def result_or_disconnect(request: Request, task: asyncio.Task[T], stop: bool) -> T:
    """Return the task's result. Raises HTTPException if the client disconnects first, and then cancels it if `stop`."""

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    disconnect = asyncio.create_task(wait_for_disconnect())
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(CLIENT_GONE, "the client has closed the connection")
        return task.result()
    finally:
        disconnect.cancel()
        if stop:
            task.cancel()
