"""Calls of an LLM as values: what is asked, what came back, what it cost, and the folder in which replies are kept."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
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
FAULTS = (TOO_LONG, BAD_REQUEST, DECLINED)  # a request's own, which another attempt would not mend


@dataclass
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def dollars(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its characters, rounded up. Formulas have more."""
    return -(-len(text) // 4)


@dataclass(frozen=True)
class Request:
    """The body of one chat completion by the endpoint at `url`."""

    url: str
    body: dict[str, Any]

    @staticmethod
    def of(url: str, model: str, prompt: str, max_tokens: int, schema: type[BaseModel] | None = None) -> Request:
        """A prompt at temperature 0; with a schema the endpoint holds the reply to it."""
        body = {"model": model, "messages": [_message("user", prompt)], "temperature": 0, "max_tokens": max_tokens}
        if schema:
            form = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return Request(url, body)

    def again(self, reply: str, complaint: str) -> Request:
        """The same request after a reply and a complaint about it."""
        said = [_message("assistant", reply), _message("user", complaint)]
        return replace(self, body=self.body | {"messages": [*self.body["messages"], *said]})

    def plain(self, prompt: str) -> Request:
        """Another prompt under the same settings."""
        return replace(self, body=self.body | {"messages": [_message("user", prompt)]})

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @cached_property
    def key(self) -> str:
        """A digest of everything that the reply depends on: 64 hexadecimal digits."""
        canonical = json.dumps({"base_url": self.url} | self.body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def prompt_tokens(self) -> int:
        """By estimate_tokens."""
        return sum(estimate_tokens(message["content"]) for message in self.body["messages"])

    def most_dollars(self, price: Price | None) -> float:
        """The cost if the reply is as long as it may be and two bytes sent are a token; 0 without a price."""
        return price.dollars(len(json.dumps(self.body)) / 2, self.body["max_tokens"]) if price else 0.0


def _message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": clean(text)}


def clean(text: str) -> str:
    """The text as UTF-8 can hold it: JSON can spell half a surrogate pair, which could be neither sent nor written."""
    return text.encode("utf-8", "replace").decode()


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, content: object) -> object:
        """The text of a content in parts, as some gateways send it."""
        if not isinstance(content, list):
            return content
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)]


class Completion(BaseModel):
    """As much of a chat completion as is used here: choices that are none, or a usage without counts, are None."""

    choices: Annotated[list[_Choice] | None, Field(min_length=1)] = None
    usage: _Usage | None = None

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

    end           its finish reason, or one of FAULTS, with what the endpoint said as text
    estimated     it gave no token counts, these are estimates
    price_share   of the list price that was paid; less in a batch
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
    def of(sent: object, prompt_tokens: int, price_share: float = 1.0) -> Reply | None:
        """The reply in what an endpoint sent, None if there is none; the prompt's estimate stands in for a missing
        usage. A usage without a reply has been paid for all the same: it makes an empty one."""
        try:
            completion = Completion.model_validate(sent)
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
        """Nothing was said and no reason given: the same request may well get a reply another time."""
        return not self.text.strip() and self.end not in ("length", "content_filter")

    def usable(self) -> str:
        """Its text. Raises Refused where it is cut off or declined."""
        if self.end == "length":
            raise Refused("cut off", f"The reply was cut off after {self.completion_tokens} tokens.")
        if self.end == "content_filter":
            raise Refused(DECLINED, f"The model declined: {self.text.strip()[:200] or 'its reply was filtered'}")
        if self.end in FAULTS:
            raise Refused(self.end, self.text)
        return self.text

    def cost(self, price: Price | None) -> float:
        """Dollars; 0 without a price."""
        return self.price_share * price.dollars(self.prompt_tokens, self.completion_tokens) if price else 0.0


@dataclass(frozen=True)
class Line:
    """Sums over one stage's calls of one model.

    calls, cached        replies, empty ones too, and those among them that needed no request of their own
    asked_again          second askings after a refused reply
    resent               requests that the client repeated by itself
    prompt_tokens, completion_tokens, total_dollars   of all replies used, cached ones too, each counted once
    paid_dollars         for this run's requests
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
    def of(reply: Reply, price: Price | None) -> Line:
        """A reply's tokens and its cost, whoever paid it."""
        return Line(
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            estimated=int(reply.estimated),
            unpriced=int(price is None),
            total_dollars=reply.cost(price),
        )

    def __add__(self, other: Line) -> Line:
        return Line(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Account:
    """What was asked and what it cost, a Line for each stage and model."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = {}

    def add(self, stage: str, model: str, line: Line) -> None:
        self.lines[stage, model] = self.lines.get((stage, model), Line()) + line

    @property
    def total(self) -> Line:
        return sum(self.lines.values(), Line())

    @property
    def dollars(self) -> float:
        """What this run has paid."""
        return self.total.paid_dollars

    def lines_of(self, stage: str) -> list[dict[str, Any]]:
        """A Line's fields for each model that the stage asked, with both names before them."""
        return [{"stage": s, "model": model} | asdict(line) for (s, model), line in self.lines.items() if s == stage]


class ReplyCache:
    """Replies by a request's key, in a folder that processes may share; none is ever dropped."""

    def __init__(self, folder: str) -> None:
        try:
            self._disk = diskcache.Cache(folder, eviction_policy="none")
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"teacher.cache={folder} cannot be used as a folder of replies: {error}") from error

    def get(self, key: str) -> Reply | None:
        text = self._disk.get(key, retry=True)
        return None if text is None else Reply(**json.loads(text))

    def put(self, key: str, reply: Reply) -> None:
        """On disk when it returns."""
        self._disk.set(key, json.dumps(asdict(reply)), retry=True)

    def close(self) -> None:
        self._disk.close()
