"""What clients may ask: the fields of OpenAI's requests that mean something here, and our own under `sprint`.

A field that would change the answer and cannot be honoured is refused, never ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from sprint_sgl.lang.conversation import Turn, question_from
from sprint_sgl.limits import COUNT_LIMIT, SECONDS_LIMIT
from sprint_sgl.serving.fields import Only, Request, as_list

MAX_STOPS = 4  # as OpenAI has it
Count = Annotated[int | None, Field(ge=1, le=COUNT_LIMIT)]

# Of whom, for whom, where it is kept: nothing that an answer could show.
HARMLESS = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)


class SprintOptions(Request):
    """Our own options, under the key `sprint` (`extra_body={"sprint": {...}}` in the openai package).

    max_stages, launch   as in sprint_program
    time_limit           seconds for the whole answer, at most the server's
    stop_on_disconnect   whether a client that goes away ends its run
    events               whether a stream shows every branch as it is written
    trajectory           whether the answer carries the whole trajectory
    """

    max_stages: Count = None
    launch: Literal["eager", "barrier"] | None = None
    time_limit: Annotated[float | None, Field(gt=0, le=SECONDS_LIMIT, allow_inf_nan=False)] = None
    stop_on_disconnect: bool = True
    events: bool = True
    trajectory: bool = False


class StreamOptions(Request):
    ignored = frozenset({"include_obfuscation"})

    include_usage: bool = False


class TextFormat(Request):
    type: Literal["text"]


class Asked(Request, ABC):
    """What all kinds of requests have in common. Token limits are for each call of a program."""

    ignored: ClassVar[frozenset[str]] = HARMLESS

    model: str | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: Annotated[list[str], as_list("a text or a list of texts"), Field(max_length=MAX_STOPS)] = Field(
        default_factory=list
    )
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    sprint: SprintOptions = SprintOptions()
    response_format: TextFormat | None = None
    # What OpenAI and other servers have and clients send without asking for anything.
    n: Annotated[None, Only(1)] = None
    tools: Annotated[None, Only([])] = None
    tool_choice: Annotated[None, Only("none", "auto")] = None
    functions: Annotated[None, Only([])] = None
    function_call: Annotated[None, Only("none", "auto")] = None
    logprobs: Annotated[None, Only(False)] = None
    top_logprobs: Annotated[None, Only(0)] = None
    logit_bias: Annotated[None, Only({})] = None
    frequency_penalty: Annotated[None, Only(0)] = None
    presence_penalty: Annotated[None, Only(0)] = None
    repetition_penalty: Annotated[None, Only(1)] = None
    length_penalty: Annotated[None, Only(1)] = None
    min_p: Annotated[None, Only(0)] = None
    top_k: Annotated[None, Only(-1, 0)] = None
    min_tokens: Annotated[None, Only(0)] = None
    ignore_eos: Annotated[None, Only(False)] = None
    stop_token_ids: Annotated[None, Only([])] = None
    skip_special_tokens: Annotated[None, Only(True)] = None
    use_beam_search: Annotated[None, Only(False)] = None
    chat_template_kwargs: Annotated[None, Only({})] = None

    @property
    @abstractmethod
    def question(self) -> str: ...

    @property
    @abstractmethod
    def limit(self) -> int | None: ...

    @property
    def stops(self) -> list[str]:
        """Where the answer, not the reasoning, is cut off."""
        return [stop for stop in self.stop if stop]


class TextPart(Request):
    ignored = frozenset({"annotations", "cache_control", "logprobs"})

    type: Literal["text", "input_text", "output_text"]
    text: str


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


CONTENT = as_list("a text or a list of text parts", text_part, schema=str | list[TextPart])


class Said(Request):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], CONTENT] = Field(default_factory=list)

    @property
    def turn(self) -> Turn:
        return Turn(self.role, "\n".join(part.text for part in self.content))


class Message(Said):
    """Of a chat; an answer of ours may be handed back as it came, with a thought that no program reads."""

    ignored = frozenset({"annotations", "reasoning", "reasoning_content"})

    name: str | None = None
    tool_calls: Annotated[None, Only([])] = None

    @property
    def turn(self) -> Turn:
        return super().turn._replace(name=self.name)


class ChatAsked(Asked):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Count = None
    max_completion_tokens: Count = None
    best_of: Annotated[None, Only(1)] = None
    modalities: Annotated[None, Only(["text"])] = None
    verbosity: Annotated[None, Only("medium")] = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def question(self) -> str:
        return question_from([message.turn for message in self.messages])


class CompletionAsked(Asked):
    prompt: Annotated[list[str], as_list("a text or a list of one text"), Field(min_length=1, max_length=1)]
    max_tokens: Count = None
    echo: Annotated[None, Only(False)] = None
    best_of: Annotated[None, Only(1)] = None
    suffix: Annotated[None, Only("")] = None

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def question(self) -> str:
        return self.prompt[0]


class PastMessage(Said):
    """Of a conversation in `input`; an answer of ours may be handed back as it came."""

    ignored = frozenset({"id", "phase", "status"})

    type: Literal["message"] = "message"


class PastReasoning(Request):
    """An earlier response's thought, which a client hands back with its output; no program reads it."""

    ignored = frozenset({"content", "encrypted_content", "id", "status", "summary"})

    type: Literal["reasoning"]


ITEM = " item"  # ends the tags of the kinds of items, which are no part of a field's path


def item_kind(item: Any) -> str | None:
    kind = item.get("type") or "message" if isinstance(item, dict) else getattr(item, "type", None)
    return f"{kind}{ITEM}"


Item = Annotated[
    Annotated[PastMessage, Tag(f"message{ITEM}")] | Annotated[PastReasoning, Tag(f"reasoning{ITEM}")],
    Discriminator(
        item_kind, custom_error_type="item", custom_error_message="an item of type message or reasoning is expected"
    ),
]


def user_item(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


INPUT = as_list("a text or a list of items", user_item, schema=str | list[Item])


class Reasoning(Request):
    """A program's limits are under `sprint`; how hard it thinks is its own, so that no field of this is offered."""


class TextOptions(Request):
    format: TextFormat | None = None
    verbosity: Annotated[None, Only("medium")] = None


class ResponseAsked(Asked):
    """Nothing is stored here, so that a conversation comes whole in `input`."""

    ignored = HARMLESS | {"max_tool_calls"}

    input: Annotated[list[Item], INPUT, Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Count = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    include: Annotated[None, Only([])] = None
    truncation: Annotated[None, Only("disabled")] = None
    background: Annotated[None, Only(False)] = None

    @property
    def limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def question(self) -> str:
        turns = [Turn("system", self.instructions)] if self.instructions else []
        return question_from([*turns, *(item.turn for item in self.input if isinstance(item, PastMessage))])
