"""Calls of an LLM as values: the request, the reply, the cost, and the cache of replies."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import diskcache
from pydantic import BaseModel, Field, ValidationError, field_validator

from curation.annotate.components import Refused
from sprint_sgl.errors import BadInput

TOO_LONG = "too long for the model"
BAD_REQUEST = "bad request"
DECLINED = "declined"
FAULTS = (TOO_LONG, BAD_REQUEST, DECLINED)  # of the request itself: another attempt would fail alike


@dataclass
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def dollars(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


def estimate_tokens(text: str) -> int:
    """Return a quarter of the number of characters, rounded up. Formulas have more tokens than that."""
    return -(-len(text) // 4)


@dataclass(frozen=True)
class TeacherRequest:
    """The body of one chat completion by the endpoint at `url`."""

    url: str
    body: dict[str, Any]

    @staticmethod
    def of(url: str, model: str, prompt: str, max_tokens: int, schema: type[BaseModel] | None = None) -> TeacherRequest:
        """Return the request for a prompt at temperature 0; the endpoint constrains the reply to the schema."""
        body = {"model": model, "messages": [_message("user", prompt)], "temperature": 0, "max_tokens": max_tokens}
        if schema:
            form = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return TeacherRequest(url, body)

    def with_complaint(self, reply: str, complaint: str) -> TeacherRequest:
        """Return the request with a reply and a complaint about that reply appended."""
        added = [_message("assistant", reply), _message("user", complaint)]
        return replace(self, body=self.body | {"messages": [*self.body["messages"], *added]})

    def with_prompt(self, prompt: str) -> TeacherRequest:
        """Return a request for another prompt under the same settings."""
        return replace(self, body=self.body | {"messages": [_message("user", prompt)]})

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @cached_property
    def key(self) -> str:
        """Return the SHA-256 of everything that the reply depends on, in hexadecimal digits."""
        canonical = json.dumps({"base_url": self.url} | self.body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def prompt_tokens(self) -> int:
        """Return the estimate by `estimate_tokens`."""
        return sum(estimate_tokens(message["content"]) for message in self.body["messages"])

    def max_dollars(self, price: Price | None) -> float:
        """Return the cost of the longest reply, with two bytes of the body as a token; 0 without a price."""
        return price.dollars(len(json.dumps(self.body)) / 2, self.body["max_tokens"]) if price else 0.0


def _message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": clean(text)}


def clean(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: object) -> object:
        """Return the text of a content that some gateways send as a list of parts."""
        if not isinstance(content, list):
            return content
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _TokenCounts(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)]


class Completion(BaseModel):
    """The fields of a chat completion that are used here. Invalid choices and an invalid usage are read as None."""

    choices: Annotated[list[_Choice] | None, Field(min_length=1)] = None
    usage: _TokenCounts | None = None

    @field_validator("choices", "usage", mode="wrap")
    @classmethod
    def _none_if_invalid(cls, value: object, valid: Callable[[object], Any]) -> Any:
        try:
            return valid(value)
        except ValidationError:
            return None


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered.

    end           the finish reason, or one of FAULTS; `text` is then the endpoint's error message
    estimated     whether the token counts are estimates, since the endpoint sent none
    price_share   the paid share of the list price; below 1 in a batch
    """

    text: str
    end: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False
    price_share: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))

    @staticmethod
    def of(body: object, prompt_tokens: int, price_share: float = 1.0) -> Reply | None:
        """Return the reply in the body of an endpoint's answer, None if it has none.

        `prompt_tokens` is the estimate for an answer without usage. An answer with a usage and no choices has been paid
        for: it gives an empty reply.
        """
        try:
            completion = Completion.model_validate(body)
        except ValidationError:
            return None
        usage = completion.usage
        if completion.choices is None:
            return (
                Reply("", "", usage.prompt_tokens, usage.completion_tokens, price_share=price_share) if usage else None
            )
        choice = completion.choices[0]
        refusal, content = choice.message.refusal, choice.message.content or ""
        end = "content_filter" if refusal else choice.finish_reason or ""
        counts = (usage.prompt_tokens, usage.completion_tokens) if usage else (prompt_tokens, estimate_tokens(content))
        return Reply(refusal or content, end, *counts, estimated=usage is None, price_share=price_share)

    @property
    def empty(self) -> bool:
        """Return whether the reply has neither text nor a reason for that: another attempt may get one."""
        return not self.text.strip() and self.end not in ("length", "content_filter")

    def usable_text(self) -> str:
        """Return the text. Raises Refused if the reply is cut off or declined."""
        if self.end == "length":
            raise Refused("cut off", f"The reply was cut off after {self.completion_tokens} tokens.")
        if self.end == "content_filter":
            raise Refused(DECLINED, f"The model declined: {self.text.strip()[:200] or 'its reply was filtered'}")
        if self.end in FAULTS:
            raise Refused(self.end, self.text)
        return self.text

    def cost(self, price: Price | None) -> float:
        """Return dollars, 0 without a price."""
        return self.price_share * price.dollars(self.prompt_tokens, self.completion_tokens) if price else 0.0


@dataclass(frozen=True)
class Usage:
    """Sums over one stage's calls of one model.

    calls                replies, empty ones included
    cached               replies that needed no request of their own
    asked_again          repeated questions after a refused reply
    resent               requests that the client repeated by itself
    prompt_tokens, completion_tokens, total_dollars   of all replies used, each counted once, cached ones included
    paid_dollars         for the requests of this start
    estimated            replies whose token counts are estimates
    unpriced             replies of a model without a price, which count as 0 dollars
    """

    calls: int = 0
    cached: int = 0
    asked_again: int = 0
    resent: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    unpriced: int = 0
    paid_dollars: float = 0.0
    total_dollars: float = 0.0

    @staticmethod
    def of(reply: Reply, price: Price | None) -> Usage:
        """Return a reply's tokens and cost, whichever start paid for it."""
        return Usage(
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            estimated=int(reply.estimated),
            unpriced=int(price is None),
            total_dollars=reply.cost(price),
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class ModelCost:
    """What one stage asked of one model."""

    stage: str
    model: str
    usage: Usage

    def to_dict(self) -> dict[str, Any]:
        return {"stage": self.stage, "model": self.model} | asdict(self.usage)

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> ModelCost:
        """Raises KeyError or TypeError where a field is missing or unknown."""
        sums = {name: value for name, value in row.items() if name not in ("stage", "model")}
        return ModelCost(row["stage"], row["model"], Usage(**sums))


class Account:
    """The usage of each stage and model."""

    def __init__(self) -> None:
        self.usage: dict[tuple[str, str], Usage] = {}

    def add(self, stage: str, model: str, usage: Usage) -> None:
        self.usage[stage, model] = self.usage.get((stage, model), Usage()) + usage

    @property
    def total(self) -> Usage:
        return sum(self.usage.values(), Usage())

    @property
    def dollars(self) -> float:
        """Return what this start has paid."""
        return self.total.paid_dollars

    def costs_of(self, stage: str) -> list[ModelCost]:
        """Return the cost of each model that the stage asked."""
        return [ModelCost(owner, model, usage) for (owner, model), usage in self.usage.items() if owner == stage]


class ReplyCache:
    """Replies by the key of their request, in a folder that processes may share. Nothing is evicted."""

    def __init__(self, folder: str) -> None:
        try:
            self._disk = diskcache.Cache(folder, eviction_policy="none")
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"teacher.cache={folder} cannot be used as a cache of replies: {error}") from error

    def get(self, key: str) -> Reply | None:
        text = self._disk.get(key, retry=True)
        return None if text is None else Reply(**json.loads(text))

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply; it is on disk when this returns."""
        self._disk.set(key, json.dumps(asdict(reply)), retry=True)

    def close(self) -> None:
        self._disk.close()
