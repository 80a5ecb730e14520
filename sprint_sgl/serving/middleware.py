"""ASGI middleware that every request passes: limits the body's size, checks the key, counts the answers."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sprint_sgl.serving.chat_replies import error_reply
from sprint_sgl.serving.keys import is_authorized


class LimitBody:
    """Reads the whole body and answers 413 if it has more than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large, body, more = declared.isdigit() and int(declared) > self.limit, b"", True
        while more and not too_large:
            part = await receive()
            if part["type"] == "http.disconnect":
                return
            body += part.get("body", b"")
            more, too_large = part.get("more_body", False), len(body) > self.limit
        if too_large:
            message = f"the request has more than {self.limit:,} bytes"
            await error_reply(413, message, code="request_too_large")(scope, receive, send)
            return
        replayed = False

        async def receive_again() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_again, send)


class CheckKey:
    """Answers 401 before the body is read if the request carries none of the keys; paths in `open` need no key."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], open: Container[str]) -> None:
        self.app, self.keys, self.open = app, keys, open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode("latin-1")
        if scope["type"] != "http" or scope["path"] in self.open or is_authorized(given, self.keys):
            await self.app(scope, receive, send)
        else:
            await error_reply(401, "the API key is missing or wrong")(scope, receive, send)


class CountAnswers:
    """Calls `count` with the path and the status of every answer."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self.app, self.count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The declared path: one that a client makes up must not become a label.
                declared = {route.path for route in scope["app"].routes} & {scope["path"]}
                path = scope["route"].path if "route" in scope else next(iter(declared), "other")
                self.count(path, message["status"])
            await send(message)

        await self.app(scope, receive, send_and_count if scope["type"] == "http" else send)
