"""What clients may ask: the fields of OpenAI's requests that mean something here, and our own under `sprint`.

A field that would change the answer and cannot be honoured is refused, never ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from programs.conversation import Turn, conversation
from sprint_sgl.errors import BadInput

MAX_STOPS = 4
Zero = Annotated[float, Field(ge=0, le=0)]
Limit = Annotated[int | None, Field(ge=1, lt=2**31)]  # runtimes take no number of any size


# What changes the text and no program has; some of them other servers' own. Fields that nobody knows are passed over.
REFUSED = {"reasoning_effort", "verbosity", "min_tokens", "ignore_eos", "stop_token_ids", "stop_regex", "prediction"}
REFUSED |= {"regex", "json_schema", "ebnf", "guided_json", "guided_regex", "guided_choice", "guided_grammar"}


class Request(BaseModel):
    """As in OpenAI's schema, what may be left out may be null."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        return {name: field for name, field in value.items() if field is not None} if isinstance(value, dict) else value


class SprintOptions(Request):
    """Our own options, under the key `sprint` (`extra_body={"sprint": {...}}` in the openai package).

    max_stages, launch   as in sprint_program
    time_limit           seconds for the whole answer, at most the server's
    stop_on_disconnect   whether a client that goes away ends its run
    events               whether a stream shows every branch as it is written
    trajectory           whether the answer carries the whole trajectory
    """

    model_config = ConfigDict(extra="forbid")

    max_stages: Annotated[int | None, Field(ge=1)] = None
    launch: Literal["eager", "barrier"] | None = None
    time_limit: Annotated[float | None, Field(gt=0)] = None
    stop_on_disconnect: bool = True
    events: bool = True
    trajectory: bool = False


class StreamOptions(Request):
    include_usage: bool = False


class Asked(Request, ABC):
    """What all kinds of requests have in common. Token limits are for each call of a program."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    max_tokens: Limit = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    sprint: SprintOptions = SprintOptions()
    n: Literal[1] = 1
    # These change what is written or returned, and no program has them: only the values that do nothing are taken.
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    repetition_penalty: Annotated[float | None, Field(ge=1, le=1)] = None
    min_p: Zero | None = None
    top_k: Literal[-1, 0] | None = None

    @model_validator(mode="after")
    def _nothing_refused(self) -> Self:
        if found := sorted(REFUSED & (self.model_extra or {}).keys()):
            raise ValueError(f"{found[0]} is not offered")
        return self

    @property
    @abstractmethod
    def question(self) -> str: ...

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def stops(self) -> list[str]:
        """Where the answer, not the reasoning, is cut off. Raises BadInput for more than OpenAI takes."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MAX_STOPS:
            raise BadInput(f"stop holds {len(stops)} strings, at most {MAX_STOPS} are allowed")
        return [stop for stop in stops if stop]


class TextPart(BaseModel):
    type: Literal["text", "input_text", "output_text"]
    text: str


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class ChatAsked(Asked):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Limit = None
    best_of: Literal[1] | None = None
    modalities: list[Literal["text"]] | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def question(self) -> str:
        return conversation([Turn(message.role, message.text) for message in self.messages])


class CompletionAsked(Asked):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: None = None  # a number here, and 0 asks for the token's own
    echo: Literal[False] = False
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    @property
    def question(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class PastReasoning(BaseModel):
    """An earlier response's thought, which a client hands back with its output; no program reads it."""

    type: Literal["reasoning"]


class Reasoning(BaseModel):
    """A program's limits are under `sprint`; how hard it thinks is its own."""

    effort: None = None


class TextFormat(BaseModel):
    format: dict[Literal["type"], Literal["text"]] | None = None


class ResponseAsked(Asked):
    """Nothing is stored here, so that a conversation comes whole in `input`."""

    input: str | Annotated[list[Message | PastReasoning], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Limit = None
    text: TextFormat | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["disabled"] | None = None
    previous_response_id: None = None
    conversation: None = None
    background: Literal[False] | None = None

    @property
    def limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def question(self) -> str:
        turns = [Turn("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return conversation([*turns, Turn("user", self.input)])
        return conversation([*turns, *(Turn(m.role, m.text) for m in self.input if isinstance(m, Message))])
