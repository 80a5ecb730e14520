"""What every request passes: its key is checked, a body that is too large is refused unread, answers are counted."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sprint_sgl.serving.chat_replies import error_reply
from sprint_sgl.serving.keys import is_authorized


class LimitBody:
    """ASGI middleware: takes in the whole body, and answers 413 for one of more than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large, body, more = declared.isdigit() and int(declared) > self.limit, b"", True
        while more and not too_large:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more, too_large = message.get("more_body", False), len(body) > self.limit
        if too_large:
            said = f"the request has more than {self.limit:,} bytes"
            await error_reply(413, said, code="request_too_large")(scope, receive, send)
            return
        read = False

        async def again() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


class CheckKey:
    """ASGI middleware: answers 401 without one of the keys, before anything is read; what is `open` needs none."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], open: Container[str]) -> None:
        self.app, self.keys, self.open = app, keys, open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode("latin-1")
        if scope["type"] != "http" or scope["path"] in self.open or is_authorized(given, self.keys):
            await self.app(scope, receive, send)
        else:
            await error_reply(401, "the API key is missing or wrong")(scope, receive, send)


class CountAnswers:
    """ASGI middleware: tells `count` the path and the status of every answer."""

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self.app, self.count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # As it was declared: a path that a client makes up is no label.
                declared = {route.path for route in scope["app"].routes} & {scope["path"]}
                path = scope["route"].path if "route" in scope else next(iter(declared), "other")
                self.count(path, message["status"])
            await send(message)

        await self.app(scope, receive, counted if scope["type"] == "http" else send)
