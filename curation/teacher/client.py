"""The LLM that annotates traces, behind any endpoint with OpenAI's chat completions.

A reply is cached on disk before it is read, under a digest of the whole request: no process pays for it again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TypeVar

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from curation.annotate.components import Refused
from curation.teacher.budget import Budget, BudgetReached
from curation.teacher.calls import (
    BAD_REQUEST,
    FAULTS,
    Account,
    Price,
    Reply,
    ReplyCache,
    TeacherRequest,
    Usage,
)
from curation.teacher.deferred import DeferredRequests
from curation.teacher.failures import (
    NO_KEY,
    BadRequest,
    CallFailed,
    Deferred,
    EndpointFailed,
    hide_key,
    translate_errors,
)
from sprint_sgl.errors import BadInput

OPENAI_URL = "https://api.openai.com/v1"
STATE = "batches.json"  # in the cache's folder
SIMPLE_PROMPT = "Answer with one word: yes."  # one that every model answers
COMPLAINT = "Your reply cannot be used. {} Answer again, in full and in the required form."

T = TypeVar("T")


@dataclass
class TeacherConfig:
    """The endpoint of the annotating LLM, and the limits of its use.

    base_url         of the endpoint, None for OpenAI's
    api_key_env      environment variable with the key; an endpoint other than OpenAI's may need none
    concurrency      requests at a time
    timeout          seconds for one request
    max_retries      repetitions of a failed request by the client
    max_tokens       of one reply; must fit the model's context together with the prompt
    cache            folder of cached replies, which processes may share
    budget           dollars that one start may pay, None for no limit
    structured       whether replies are constrained to a JSON schema
    prices           dollars per million tokens, by model
    batch            whether calls are collected in `Teacher.deferred` instead of sent
    batch_discount   share of the price that a batch saves
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
            raise BadInput("teacher: concurrency, max_tokens and timeout must be above 0, max_retries 0 or more")
        if self.budget is not None and not self.budget >= 0:
            raise BadInput(f"teacher.budget must be 0 dollars or more, got {self.budget}")
        if not 0 <= self.batch_discount <= 1:
            raise BadInput(f"teacher.batch_discount must be in [0, 1], got {self.batch_discount}")
        if wrong := next((name for name, price in self.prices.items() if min(price.input, price.output) < 0), None):
            raise BadInput(f"teacher.prices.{wrong} must be 0 or more, got {self.prices[wrong]}")

    @property
    def url(self) -> str:
        return (self.base_url or OPENAI_URL).rstrip("/")

    def client(self) -> AsyncOpenAI:
        """Return a client with the key from the environment. Raises EndpointFailed if OpenAI's key is missing."""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key.isascii() or not key.isprintable():
            raise EndpointFailed(f"the key in {self.api_key_env} has characters that a key cannot have: copy it again")
        if not key and self.url == OPENAI_URL:
            raise EndpointFailed(f"{self.url} needs a key: set the environment variable {self.api_key_env}")
        return AsyncOpenAI(base_url=self.url, api_key=key or NO_KEY, timeout=self.timeout, max_retries=self.max_retries)


class Teacher:
    """Asks the LLM, for the length of an `async with`.

    Leaving the `with` waits for the requests in flight and caches their replies. Client and cache are opened
    by the first call, so that a teacher without calls needs no key.
    """

    def __init__(self, config: TeacherConfig, submitted: Collection[str] = ()) -> None:
        """`submitted`: keys of requests that wait in batches (curation/teacher/batches.py)."""
        self.config, self._submitted = config, submitted
        self.account = Account()
        self.deferred = DeferredRequests(config.cache)
        self._budget = Budget(config.budget, self.account)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}
        self._deferred_dollars = 0.0
        self._counted: set[str] = set()  # keys of requests whose tokens are in the account
        self._answering: set[str] = set()  # models that have answered a request
        self._stopped: EndpointFailed | BudgetReached | None = None

    @cached_property
    def client(self) -> AsyncOpenAI:
        """Raises EndpointFailed if OpenAI's key is missing."""
        return self.config.client()

    @cached_property
    def cache(self) -> ReplyCache:
        return ReplyCache(self.config.cache)

    async def __aenter__(self) -> Teacher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._in_flight.values())
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
        """Return what `read` makes of the model's reply at temperature 0.

        A reply that `read` refuses is answered once with a complaint.

        stage    to which the account adds this call
        schema   of the reply, if the endpoint is `structured`
        Raises Refused, CallFailed, Deferred, EndpointFailed or BudgetReached.
        """
        form = schema if self.config.structured else None
        request = TeacherRequest.of(self.config.url, model, prompt, self.config.max_tokens, form)
        text = (await self._reply(stage, request)).usable_text()
        try:
            return read(text)
        except Refused as refusal:
            first = refusal
        again = request.with_complaint(text, COMPLAINT.format(first))
        try:
            reply = await self._reply(stage, again)
            self.account.add(stage, model, Usage(asked_again=1))
            return read(reply.usable_text())
        except Refused as second:
            raise Refused(second.reason, f"{first} Asked again: {second}") from None

    async def _reply(self, stage: str, request: TeacherRequest) -> Reply:
        if reply := self._cached_reply(stage, request):
            return reply
        if self.config.batch:
            raise self._defer(request)
        if request.key in self._submitted:
            raise BadInput(
                f"calls of this run wait in batches: collect them with teacher.batch=true, or remove "
                f"{self.config.cache}/{STATE} to pay for them again"
            )
        async with self._slots:
            if reply := self._cached_reply(stage, request):
                return reply
            if self._stopped:
                raise self._stopped.with_traceback(None)
            if task := self._in_flight.get(request.key):
                return self._count(stage, request, await asyncio.shield(task), Usage(calls=1, cached=1))
            task = asyncio.create_task(self._send(stage, request))
            self._in_flight[request.key] = task
            return await asyncio.shield(task)

    def _cached_reply(self, stage: str, request: TeacherRequest) -> Reply | None:
        reply = self.cache.get(request.key)
        if reply is None or reply.empty:
            return None
        return self._count(stage, request, reply, Usage(calls=1, cached=1))

    def _count(self, stage: str, request: TeacherRequest, reply: Reply, usage: Usage) -> Reply:
        """Add the usage to the account, with the reply's tokens if they are not counted yet; return the reply."""
        if request.key not in self._counted:
            self._counted.add(request.key)
            usage += Usage.of(reply, self._price(request))
        self.account.add(stage, request.model, usage)
        if reply.end not in FAULTS:
            self._answering.add(request.model)
        return reply

    def _price(self, request: TeacherRequest) -> Price | None:
        return self.config.prices.get(request.model)

    def _defer(self, request: TeacherRequest) -> Deferred:
        """Leave the request to a batch, and return the error that says so.

        Raises BudgetReached if all deferred requests together might cost more than the budget.
        """
        if request not in self.deferred and request.key not in self._submitted:
            most = request.max_dollars(self._price(request)) * (1 - self.config.batch_discount)
            self._budget.check(self._deferred_dollars + most)
            self.deferred.add(request)
            self._deferred_dollars += most
        return Deferred("waiting for a batch", "The call is left to the next batch.")

    async def _send(self, stage: str, request: TeacherRequest) -> Reply:
        price = self._price(request)
        try:
            async with self._budget.reserve(request.max_dollars(price)):
                if self._stopped:
                    raise self._stopped.with_traceback(None)
                try:
                    reply, resent = await self._completion(request)
                except BadRequest as error:
                    await self._check_settings(stage, request)
                    raise Refused(BAD_REQUEST, str(error)) from None
                return self._store(stage, request, reply, resent)
        except (EndpointFailed, BudgetReached) as error:
            self._stopped = error
            raise
        finally:
            del self._in_flight[request.key]

    def _store(self, stage: str, request: TeacherRequest, reply: Reply, resent: int) -> Reply:
        """Cache and count a reply that was paid for, and return it.

        Raises CallFailed for an empty reply, which is counted and not cached.
        """
        price = self._price(request)
        usage = Usage(calls=1, resent=resent, paid_dollars=reply.cost(price))
        if reply.empty:
            self.account.add(stage, request.model, usage + Usage.of(reply, price))
            raise CallFailed("empty reply", f"{self.config.url} sent a completion of {request.model} without a reply")
        self.cache.put(request.key, reply)
        return self._count(stage, request, reply, usage)

    async def _check_settings(self, stage: str, request: TeacherRequest) -> None:
        """Ask a question that every model answers, under the settings of a refused request.

        Raises BadRequest if the endpoint refuses that too: then the settings are at fault.
        """
        simple = request.with_prompt(SIMPLE_PROMPT)
        if self.cache.get(simple.key) is None:
            self._store(stage, simple, *await self._completion(simple))
        self._answering.add(request.model)

    async def _completion(self, request: TeacherRequest) -> tuple[Reply, int]:
        """Return the reply, and how often the client repeated the request."""
        with translate_errors(self.client, request.model, self._answering):
            raw = await self.client.chat.completions.with_raw_response.create(**request.body)
            if not isinstance(raw.parse(), ChatCompletion):
                body = hide_key(raw.text, self.client)
                raise EndpointFailed(f"{self.config.url} does not answer as an OpenAI endpoint does: {body}")
            parsed = json.loads(raw.text)
        reply = Reply.of(parsed, request.prompt_tokens)
        if reply is None:
            raise CallFailed("empty reply", f"{self.config.url} sent a completion of {request.model} without a reply")
        return reply, raw.retries_taken


# Errors
