"""The requests of /v1/responses: a list of items in the place of messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from sprint_sgl.lang.conversation import Turn
from sprint_sgl.serving.fields import Only, RequestObject, as_list
from sprint_sgl.serving.requests import (
    TAG_END,
    TEXT_PARTS,
    ConversationMessage,
    ConversationRequest,
    FunctionName,
    FunctionSchema,
    TextFormat,
    TextPart,
    TokenCount,
    one_of_choices,
)
from sprint_sgl.serving.tool_calls import TOOL, ClientCall, Said
from sprint_sgl.tools.tool import Tool


class InputMessage(ConversationMessage):
    """A message in `input`. Our answers may be sent back as they came."""

    ignored = frozenset({"id", "phase", "status"})

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]


class InputReasoning(RequestObject):
    """The reasoning of an earlier response, which clients send back with its output; no program reads it."""

    ignored = frozenset({"content", "encrypted_content", "id", "status", "summary"})

    type: Literal["reasoning"]


class InputCall(RequestObject):
    """A call of ours that is sent back."""

    ignored = frozenset({"id", "status"})

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = ""


class InputResult(RequestObject):
    """The result of a call."""

    ignored = frozenset({"id", "status"})

    type: Literal["function_call_output"]
    call_id: str
    output: Annotated[list[TextPart], TEXT_PARTS]


class ChosenFunction(FunctionName):
    """The one tool that has to be called, as /v1/responses names it."""

    type: Literal["function"]


class FunctionTool(FunctionSchema):
    """A tool's schema as /v1/responses has it."""

    type: Literal["function"]

    def tool(self) -> Tool:
        """Return the tool, which the client carries out. Raises BadInput for parameters that are not a JSON schema."""
        return Tool.of_client(self.model_dump(exclude={"type"}))


def item_tag(item: Any) -> str | None:
    kind = item.get("type") or "message" if isinstance(item, dict) else getattr(item, "type", None)
    return f"{kind}{TAG_END}"


InputItem = Annotated[
    Annotated[InputMessage, Tag(f"message{TAG_END}")]
    | Annotated[InputReasoning, Tag(f"reasoning{TAG_END}")]
    | Annotated[InputCall, Tag(f"function_call{TAG_END}")]
    | Annotated[InputResult, Tag(f"function_call_output{TAG_END}")],
    Discriminator(
        item_tag,
        custom_error_type="item",
        custom_error_message="an item of type message, reasoning, function_call or function_call_output is expected",
    ),
]


def user_item(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


INPUT_ITEMS = as_list("a text or a list of items", user_item, schema=str | list[InputItem])


class ReasoningOptions(RequestObject):
    """OpenAI's `reasoning` object, of which no field is supported: a program's limits are under `sprint`."""


class TextOptions(RequestObject):
    format: TextFormat | None = None
    verbosity: Annotated[None, Only("medium")] = None


class ResponsesRequest(ConversationRequest):
    """A request of /v1/responses. Nothing is stored, so that `input` contains the whole conversation."""

    ignored = ConversationRequest.ignored | {"max_tool_calls"}

    input: Annotated[list[InputItem], INPUT_ITEMS, Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: TokenCount = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: Annotated[None, Only([])] = None
    truncation: Annotated[None, Only("disabled")] = None
    tools: list[FunctionTool] = Field(default_factory=list)
    tool_choice: one_of_choices(ChosenFunction) | None = None  # type: ignore[valid-type]
    background: Annotated[None, Only(False)] = None

    @property
    def repeated(self) -> dict[str, Any]:
        """Return the fields about tools as OpenAI's responses repeat them."""
        choice = self.tool_choice if isinstance(self.tool_choice, str | None) else self.tool_choice.model_dump()
        return {
            "tools": [{"strict": None, **tool.model_dump()} for tool in self.tools],
            "tool_choice": choice or "auto",
            "parallel_tool_calls": self.parallel_tool_calls,
        }

    @property
    def token_limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def said(self) -> list[Said]:
        """Return the conversation; calls belong to the message of ours before them."""
        found = [Said(Turn("system", self.instructions))] if self.instructions else []
        for item in self.input:
            if isinstance(item, InputMessage):
                found.append(Said(item.turn))
            elif isinstance(item, InputResult):
                found.append(Said(Turn(TOOL, "\n".join(part.text for part in item.output)), result_of=item.call_id))
            elif isinstance(item, InputCall):
                message = next((each for each in found if each.holds(item.call_id)), None)
                if message is None:
                    if not found or found[-1].turn.role != "assistant":
                        found.append(Said(Turn("assistant", "")))
                    message = found[-1]
                message.calls.append(ClientCall.checked(item.call_id, item.name, item.arguments))
        return found
