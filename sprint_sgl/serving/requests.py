"""The requests that clients may send: the fields of OpenAI's requests that are supported, and our own under `sprint`.

Those of /v1/responses are in responses_requests.py.

A field that would change the answer and is not supported is refused, never ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.conversation import Turn
from sprint_sgl.serving.fields import INTEGRAL, Only, RequestObject, as_list
from sprint_sgl.serving.tool_calls import ClientCall, Said, question_in, run_in
from sprint_sgl.tools.tool import NAME, Tool
from sprint_sgl.trajectory import Trajectory, error_detail
from sprint_sgl.validation import COUNT_LIMIT, SECONDS_LIMIT, suggestion

TAG_END = " item"  # of the tags of unions, which keeps them apart from the field names in an error's path
MAX_STOPS = 4  # OpenAI's limit
TokenCount = Annotated[Annotated[int, Field(ge=1, le=COUNT_LIMIT)] | None, INTEGRAL]

# Fields about accounts, storage and scheduling, which change nothing in an answer.
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


class SprintOptions(RequestObject):
    """Our own options, under the key `sprint` (`extra_body={"sprint": {...}}` in the openai package).

    max_stages, launch   as in sprint_program
    time_limit           seconds for the whole answer, at most the server's limit
    stop_on_disconnect   whether the run ends when its client disconnects
    events               whether a stream contains the text of every branch as it is written
    trajectory           whether the answer contains the whole trajectory
    """

    max_stages: TokenCount = None
    launch: Literal["eager", "barrier"] | None = None
    time_limit: Annotated[float | None, Field(gt=0, le=SECONDS_LIMIT, allow_inf_nan=False)] = None
    stop_on_disconnect: bool = True
    events: bool = True
    trajectory: bool = False


class ViewedRun(RequestObject):
    """A run to be drawn: a trajectory as an answer with `sprint.trajectory` contains it."""

    method: str = ""
    trajectory: dict[str, Any]

    def parsed_trajectory(self) -> Trajectory:
        """Return the trajectory. Raises BadInput for anything else."""
        try:
            return Trajectory.from_dict(self.trajectory)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"runs: not a trajectory: {error_detail(error)}") from error


class ViewRequest(RequestObject):
    """What POST /view takes."""

    runs: Annotated[list[ViewedRun], Field(min_length=1, max_length=8)]


class StreamOptions(RequestObject):
    ignored = frozenset({"include_obfuscation"})

    include_usage: bool = False


class TextFormat(RequestObject):
    type: Literal["text"]


class ProgramRequest(RequestObject, ABC):
    """The fields that all kinds of requests share. Token limits apply to each call of a program."""

    ignored: ClassVar[frozenset[str]] = HARMLESS

    model: str | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[Annotated[int, Field(ge=-(2**63), lt=2**63)] | None, INTEGRAL] = None
    stop: Annotated[list[str], as_list("a text or a list of texts"), Field(max_length=MAX_STOPS)] = Field(
        default_factory=list
    )
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    sprint: SprintOptions = SprintOptions()
    response_format: TextFormat | None = None
    # Features of OpenAI's or other servers that are not supported; clients send their default values all the same.
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
    def token_limit(self) -> int | None: ...

    @property
    def client_tools(self) -> list[Tool]:
        """Return the tools that the client carries out. Raises BadInput for a wrong schema."""
        return []

    @property
    def begun(self) -> Trajectory | None:
        """Return the run that the request goes on from, if any.

        Raises BadInput where calls and results do not match.
        """
        return None

    @property
    def one_call(self) -> bool:
        """Whether a reply may hold one call of a client's tools at most."""
        return False

    @property
    def must_call(self) -> list[str]:
        """Return the names of the client's tools of which one has to be called. Raises BadInput for unknown ones."""
        return []

    @property
    def stops(self) -> list[str]:
        """Return the stop strings, which cut the answer and not the reasoning."""
        return [stop for stop in self.stop if stop]


class FunctionSchema(RequestObject):
    """A tool's schema, as OpenAI's clients write it."""

    ignored = frozenset({"strict"})

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class ToolParameter(RequestObject):
    ignored = frozenset({"cache_control"})

    type: Literal["function"]
    function: FunctionSchema

    def tool(self) -> Tool:
        """Return the tool, which the client carries out. Raises BadInput for parameters that are not a JSON schema."""
        return Tool.of_client(self.model_dump())


class CalledFunction(RequestObject):
    name: str
    arguments: str = ""


def kind_of_choice(choice: Any) -> str:
    return f"{'word' if isinstance(choice, str) else 'function'}{TAG_END}"


def one_of_choices(named: Any) -> Any:
    """Return the type of `tool_choice`: a word, or an object that names the one tool that has to be called."""
    word = Annotated[Literal["none", "auto", "required"], Tag(f"word{TAG_END}")]
    return Annotated[word | Annotated[named, Tag(f"function{TAG_END}")], Discriminator(kind_of_choice)]


class FunctionName(RequestObject):
    name: str


class ChosenTool(RequestObject):
    type: Literal["function"]
    function: FunctionName

    @property
    def name(self) -> str:
        return self.function.name


class ToolCallPart(RequestObject):
    """A call in a message of ours that is sent back."""

    ignored = frozenset({"index"})

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction

    @property
    def call(self) -> ClientCall:
        """Return the call. Raises BadInput for arguments that are not JSON."""
        return ClientCall.checked(self.id, self.function.name, self.function.arguments)


class TextPart(RequestObject):
    ignored = frozenset({"annotations", "cache_control", "logprobs"})

    type: Literal["text", "input_text", "output_text"]
    text: str


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


TEXT_PARTS = as_list("a text or a list of text parts", text_part, schema=str | list[TextPart])


class ConversationMessage(RequestObject):
    """A message of a conversation."""

    role: str
    content: Annotated[list[TextPart], TEXT_PARTS] = Field(default_factory=list)

    @property
    def turn(self) -> Turn:
        return Turn(self.role, "\n".join(part.text for part in self.content))


class ChatMessage(ConversationMessage):
    """A message of a chat. Our answers may be sent back as they came; no program reads the reasoning in them."""

    ignored = frozenset({"annotations", "reasoning", "reasoning_content"})

    role: Literal["system", "developer", "user", "assistant", "tool"]
    name: str | None = None
    tool_calls: list[ToolCallPart] = Field(default_factory=list)
    tool_call_id: str | None = None

    @property
    def turn(self) -> Turn:
        return super().turn._replace(name=self.name)

    @property
    def said(self) -> Said:
        return Said(self.turn, [part.call for part in self.tool_calls], self.tool_call_id)


class ConversationRequest(ProgramRequest):
    """A request with a conversation, in which the client's tools may be called."""

    ignored = HARMLESS - {"parallel_tool_calls"}

    tools: list[Any] = Field(default_factory=list)  # type: ignore[assignment]
    tool_choice: Any = None
    parallel_tool_calls: bool = True

    @property
    @abstractmethod
    def said(self) -> list[Said]:
        """Return the conversation. Raises BadInput for calls whose arguments are not JSON."""

    @property
    def question(self) -> str:
        return question_in(self.said)

    @property
    def begun(self) -> Trajectory | None:
        return run_in(self.said)

    @property
    def client_tools(self) -> list[Tool]:
        return [] if self.tool_choice == "none" else [each.tool() for each in self.tools]

    @property
    def one_call(self) -> bool:
        return not self.parallel_tool_calls

    @property
    def must_call(self) -> list[str]:
        names = [tool.name for tool in self.client_tools]
        if self.tool_choice in (None, "auto", "none"):
            return []
        chosen = names if self.tool_choice == "required" else [self.tool_choice.name]
        if not chosen:
            raise BadInput("tool_choice: a call is required, and there are no tools")
        if chosen[0] not in names:
            raise BadInput(f"tool_choice: no tool is named {chosen[0]!r}{suggestion(chosen[0], names)}")
        return chosen


class ChatRequest(ConversationRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: TokenCount = None
    max_completion_tokens: TokenCount = None
    best_of: Annotated[None, Only(1)] = None
    modalities: Annotated[None, Only(["text"])] = None
    verbosity: Annotated[None, Only("medium")] = None
    tools: list[ToolParameter] = Field(default_factory=list)
    tool_choice: one_of_choices(ChosenTool) | None = None  # type: ignore[valid-type]

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def said(self) -> list[Said]:
        return [message.said for message in self.messages]


class CompletionRequest(ProgramRequest):
    prompt: Annotated[list[str], as_list("a text or a list of one text"), Field(min_length=1, max_length=1)]
    max_tokens: TokenCount = None
    echo: Annotated[None, Only(False)] = None
    best_of: Annotated[None, Only(1)] = None
    suffix: Annotated[None, Only("")] = None

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    @property
    def question(self) -> str:
        return self.prompt[0]
