"""The LLM that annotates traces, behind any endpoint that speaks OpenAI's chat completions.

A reply is on disk before anything reads it, under a digest of all that the endpoint was sent: what has been paid for
is not asked again, by any process. What can go wrong:

EndpointFailed   every further call would fail alike: the run stops
└── BadRequest   unless a plain request is answered: then this one's own content is at fault
BudgetReached    the next call might cost more than is left: the run stops
CallFailed       this trace only, and another run may succeed
└── Deferred     the call waits for a batch (curation/teacher/batches.py)
Refused          the reply, or the request itself, cannot be used (curation/annotate/components.py)
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TypeVar

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from curation.annotate.components import Refused
from curation.teacher.budget import BudgetReached, Purse
from curation.teacher.calls import (
    BAD_REQUEST,
    DECLINED,
    FAULTS,
    TOO_LONG,
    Account,
    Line,
    Price,
    Reply,
    ReplyCache,
    Request,
)
from curation.teacher.deferred import Spool
from sprint_sgl.errors import BadInput, RequestFailed

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
STATE = "batches.json"  # in the cache's folder
PLAIN = "Answer with one word: yes."
COMPLAINT = "Your reply cannot be used. {} Answer again, in full and in the required form."

T = TypeVar("T")


class EndpointFailed(RequestFailed):
    pass


class BadRequest(EndpointFailed):
    pass


class CallFailed(RequestFailed):
    """`reason` is a short phrase that is counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Deferred(CallFailed):
    pass


@dataclass
class TeacherConfig:
    """Where the annotating LLM answers, and on what terms.

    base_url         None: OpenAI's
    api_key_env      the variable that holds the key; an endpoint other than OpenAI's may need none
    concurrency      requests under way at a time
    timeout          seconds for one request
    max_retries      how often the client repeats a failed request
    max_tokens       of one reply; it has to fit the model's context beside the prompt
    cache            folder of the replies; processes may share it
    budget           dollars that one start may pay, None: no limit
    structured       replies are held to a JSON schema
    batch            calls are gathered in `Teacher.pending` and not sent
    batch_discount   the share that a batch takes off the price
    """

    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 64
    timeout: float = 300.0
    max_retries: int = 5
    max_tokens: int = 8192
    cache: str = "work/curation-cache"
    budget: float | None = None
    structured: bool = False
    prices: dict[str, Price] = field(default_factory=dict)
    batch: bool = False
    batch_discount: float = 0.5

    def __post_init__(self) -> None:
        if min(self.concurrency, self.max_tokens) < 1 or not self.timeout > 0 or self.max_retries < 0:
            raise BadInput("teacher: concurrency, max_tokens and timeout must be above 0, max_retries not below")
        if self.budget is not None and not self.budget >= 0:
            raise BadInput(f"teacher.budget={self.budget} is no sum of dollars")
        if not 0 <= self.batch_discount <= 1:
            raise BadInput(f"teacher.batch_discount={self.batch_discount} is no share: from 0 to 1")
        if wrong := next((name for name, price in self.prices.items() if min(price.input, price.output) < 0), None):
            raise BadInput(f"teacher.prices.{wrong} is below 0")

    @property
    def url(self) -> str:
        return (self.base_url or OPENAI_URL).rstrip("/")

    def client(self) -> AsyncOpenAI:
        """A client with the key from the environment. Raises EndpointFailed where OpenAI's is missing."""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key.isascii() or not key.isprintable():
            raise EndpointFailed(f"the key in {self.api_key_env} has characters that no key has: copy it again")
        if not key and self.url == OPENAI_URL:
            raise EndpointFailed(f"{self.url} needs a key: set the environment variable {self.api_key_env}")
        return AsyncOpenAI(base_url=self.url, api_key=key or NO_KEY, timeout=self.timeout, max_retries=self.max_retries)


class Teacher:
    """Asks the LLM, for the length of an `async with`; leaving it waits for requests under way, and keeps the replies.

    Making one costs nothing and needs no key: client and cache begin with the first call.
    """

    def __init__(self, config: TeacherConfig, awaited: Collection[str] = ()) -> None:
        """`awaited`: keys of requests that wait in batches (curation/teacher/batches.py)."""
        self.config, self._awaited = config, awaited
        self.account = Account()
        self._purse = Purse(config.budget, self.account)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._under_way: dict[str, asyncio.Task[Reply]] = {}
        self.pending = Spool(config.cache)  # the calls that are left to a batch
        self._deferred_dollars = 0.0
        self._counted: set[str] = set()
        self._answering: set[str] = set()
        self._stopped: EndpointFailed | BudgetReached | None = None

    @cached_property
    def client(self) -> AsyncOpenAI:
        """Raises EndpointFailed where OpenAI's key is missing."""
        return self.config.client()

    @cached_property
    def cache(self) -> ReplyCache:
        return ReplyCache(self.config.cache)

    async def __aenter__(self) -> Teacher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._under_way.values())
        if tasks and (error is None or isinstance(error, Exception)):
            await asyncio.wait(tasks, timeout=self.config.timeout)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if "client" in vars(self):
            await self.client.close()
        if "cache" in vars(self):
            self.cache.close()

    async def ask(
        self,
        stage: str,
        model: str,
        prompt: str,
        read: Callable[[str], T],
        schema: type[BaseModel] | None = None,
    ) -> T:
        """What `read` makes of the model's reply at temperature 0; a reply that it refuses is complained about once.

        stage    the account's heading for this call
        schema   the form of the reply where the endpoint is `structured`
        Raises Refused, CallFailed, Deferred, EndpointFailed or BudgetReached.
        """
        form = schema if self.config.structured else None
        request = Request.of(self.config.url, model, prompt, self.config.max_tokens, form)
        text = (await self._reply(stage, request)).usable()
        try:
            return read(text)
        except Refused as refusal:
            first = refusal
        again = request.again(text, COMPLAINT.format(first))
        try:
            reply = await self._reply(stage, again)
            self.account.add(stage, model, Line(asked_again=1))
            return read(reply.usable())
        except Refused as second:
            raise Refused(second.reason, f"{first} Asked again: {second}") from None

    async def _reply(self, stage: str, request: Request) -> Reply:
        if reply := self._kept(stage, request):
            return reply
        if self.config.batch:
            raise self._defer(request)
        if request.key in self._awaited:
            raise BadInput(
                f"calls of this run wait in batches: collect them with teacher.batch=true, or remove "
                f"{self.config.cache}/{STATE} to pay for them again"
            )
        async with self._slots:
            if reply := self._kept(stage, request):
                return reply
            if self._stopped:
                raise self._stopped.with_traceback(None)
            if task := self._under_way.get(request.key):
                return self._counted_in(stage, request, await asyncio.shield(task), Line(calls=1, cached=1))
            task = asyncio.create_task(self._send(stage, request))
            self._under_way[request.key] = task
            return await asyncio.shield(task)

    def _kept(self, stage: str, request: Request) -> Reply | None:
        reply = self.cache.get(request.key)
        if reply is None or reply.empty:
            return None
        return self._counted_in(stage, request, reply, Line(calls=1, cached=1))

    def _counted_in(self, stage: str, request: Request, reply: Reply, line: Line) -> Reply:
        if request.key not in self._counted:
            self._counted.add(request.key)
            line += Line.of(reply, self._price(request))
        self.account.add(stage, request.model, line)
        if reply.end not in FAULTS:
            self._answering.add(request.model)
        return reply

    def _price(self, request: Request) -> Price | None:
        return self.config.prices.get(request.model)

    def _defer(self, request: Request) -> Deferred:
        """Adds to `pending`. Raises BudgetReached if all of it together might cost more than the budget."""
        if request not in self.pending and request.key not in self._awaited:
            most = request.most_dollars(self._price(request)) * (1 - self.config.batch_discount)
            self._purse.check(self._deferred_dollars + most)
            self.pending.add(request)
            self._deferred_dollars += most
        return Deferred("waiting for a batch", "The call is left to the next batch.")

    async def _send(self, stage: str, request: Request) -> Reply:
        price = self._price(request)
        try:
            async with self._purse.holding(request.most_dollars(price)):
                if self._stopped:
                    raise self._stopped.with_traceback(None)
                try:
                    reply, resent = await self._completion(request)
                except BadRequest as error:
                    await self._plain(stage, request)
                    raise Refused(BAD_REQUEST, str(error)) from None
                return self._paid(stage, request, reply, resent)
        except (EndpointFailed, BudgetReached) as error:
            self._stopped = error
            raise
        finally:
            del self._under_way[request.key]

    def _paid(self, stage: str, request: Request, reply: Reply, resent: int) -> Reply:
        """The reply, on disk and in the account. Raises CallFailed for an empty one, which is paid for and not kept."""
        price = self._price(request)
        line = Line(calls=1, resent=resent, paid_dollars=reply.cost(price))
        if reply.empty:
            self.account.add(stage, request.model, line + Line.of(reply, price))
            raise CallFailed("empty reply", f"{self.config.url} sent a completion of {request.model} without a reply")
        self.cache.put(request.key, reply)
        return self._counted_in(stage, request, reply, line)

    async def _plain(self, stage: str, request: Request) -> None:
        """Asks something that every model answers, under the same settings. Raises what the endpoint says of it."""
        plain = request.plain(PLAIN)
        if self.cache.get(plain.key) is None:
            self._paid(stage, plain, *await self._completion(plain))
        self._answering.add(request.model)

    async def _completion(self, request: Request) -> tuple[Reply, int]:
        """The reply, and how often the client had to repeat the request for it."""
        with boundary(self.client, request.model, self._answering):
            raw = await self.client.chat.completions.with_raw_response.create(**request.body)
            if not isinstance(raw.parse(), ChatCompletion):
                said = _without_key(raw.text, self.client)
                raise EndpointFailed(f"{self.config.url} does not answer as an OpenAI endpoint does: {said}")
            sent = json.loads(raw.text)
        reply = Reply.of(sent, request.prompt_tokens)
        if reply is None:
            raise CallFailed("empty reply", f"{self.config.url} sent a completion of {request.model} without a reply")
        return reply, raw.retries_taken


# Errors


@contextmanager
def boundary(client: AsyncOpenAI, model: str, answering: Container[str] = ()) -> Iterator[None]:
    """Turns the client's errors into ours, without the key. `answering`: models that have answered other requests."""
    try:
        yield
    except openai.OpenAIError as error:
        said = _without_key(f"{error} {error.__cause__ or ''}", client)
        raise _meaning(error, f"{client.base_url} with model {model}: {said}", model in answering) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CallFailed("unreadable answer", f"{client.base_url} sent broken JSON: {error}") from None


def _without_key(text: str, client: AsyncOpenAI) -> str:
    line = " ".join(text.split())
    return (line if client.api_key == NO_KEY else line.replace(client.api_key, "(key)"))[:400]


_TOO_LONG = re.compile(r"context.?(length|window)|maximum (model|sequence) length|too long", re.I)
_DECLINED = ("content_filter", "content_policy_violation", "invalid_prompt")


def too_long(code: object, message: object) -> bool:
    """Whether an endpoint's error says that prompt and reply do not fit the model."""
    return _TOO_LONG.search(f"{code} {message}") is not None


def fault_of(code: object, message: object) -> str | None:
    """Why a request itself is refused, whatever the settings: it is too long, or its content is declined."""
    if too_long(code, message):
        return TOO_LONG
    return DECLINED if code in _DECLINED else None


def _meaning(error: openai.OpenAIError, message: str, answering: bool) -> Exception:
    match error:
        case openai.APITimeoutError():
            return CallFailed("timed out", message)
        case openai.RateLimitError() if "insufficient_quota" not in (error.code, error.type):
            return CallFailed("rate limited", message)
        case openai.APIStatusError(status_code=408 | 409) | openai.InternalServerError():
            return CallFailed("server error", message)
        case openai.APIStatusError(status_code=400 | 413 | 422) if fault := fault_of(error.code, error.message):
            return Refused(fault, message)
        case openai.APIStatusError(status_code=400 | 422):
            return Refused(BAD_REQUEST, message) if answering else BadRequest(message)
    return EndpointFailed(message)
