"""Tools of a client: what a run that waits for them looks like in a reply, and how the next request goes on from it.

The server keeps nothing between the two. The reply's `content` is the run so far, in the tags of the protocol; clients
send it back with the message, and the run goes on from the same text, which the runtime has in its prefix cache. A
client that drops the content still gets its answer, from the calls alone.

The id of a call names its place: call_3f9c2a51_2_1 is prompt 1 of stage 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.conversation import Turn, question_from
from sprint_sgl.tools.calls import read_call
from sprint_sgl.tools.tool import Tool
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

TOOL = "tool"  # the role of results
_ID = re.compile(r"(call_[0-9a-f]{8}_([1-9][0-9]{0,3}))_([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class ClientCall:
    """A call in a message: its id, the tool's name, and the arguments as JSON."""

    id: str
    name: str
    arguments: str

    @staticmethod
    def checked(id: str, name: str, arguments: str) -> ClientCall:
        """Return the call. Raises BadInput for arguments that are not JSON."""
        try:
            json.loads(arguments)
        except ValueError as error:
            raise BadInput(f"the arguments of the call {id!r} are not JSON") from error
        return ClientCall(id, name, arguments)


@dataclass(frozen=True)
class ToolRound:
    """A message of ours with calls, and the client's results by the ids of the calls."""

    calls: Sequence[ClientCall]
    content: str
    results: dict[str, str]


@dataclass
class Said:
    """A message of a conversation: what it says, the calls that it makes, or the call that it is the result of."""

    turn: Turn
    calls: list[ClientCall] = field(default_factory=list)
    result_of: str | None = None

    def holds(self, call_id: str) -> bool:
        """Whether the call was made in the same message as those here."""
        return any(message_of(call.id) == message_of(call_id) for call in self.calls)

    @property
    def is_about_tools(self) -> bool:
        return bool(self.calls) or self.turn.role == TOOL


def question_in(conversation: Sequence[Said]) -> str:
    """Return the last user's message with the turns before it; messages about tools are part of no turn.

    Raises BadInput.
    """
    return question_from([said.turn for said in before_tools(conversation) if not said.is_about_tools])


def run_in(conversation: Sequence[Said]) -> Trajectory | None:
    """Return the run that the messages behind the last user's go on from; None if there are none.

    Raises BadInput where calls and results do not match.
    """
    rounds: list[ToolRound] = []
    for said in conversation[len(before_tools(conversation)) :]:
        if said.turn.role != TOOL:
            rounds.append(ToolRound(said.calls, said.turn.text, {}))
        elif not rounds or said.result_of not in {call.id for call in rounds[-1].calls}:
            raise BadInput(f"there is a result for {said.result_of!r}, and no call with this id before it")
        elif said.result_of in rounds[-1].results:
            raise BadInput(f"there are two results for the call {said.result_of!r}")
        else:
            rounds[-1].results[said.result_of] = said.turn.text
    return resume(question_in(conversation), rounds) if rounds else None


def before_tools(conversation: Sequence[Said]) -> Sequence[Said]:
    """Return the messages up to the one that the calls and results at the end belong to."""
    end = len(conversation)
    while end and conversation[end - 1].is_about_tools:
        end -= 1
    return conversation[:end]


def pending_calls(run: Trajectory, tools: Mapping[str, Tool]) -> list[ClientCall]:
    """Return the calls that a run waits for, with new ids; none for a run that has an answer."""
    if not run.is_pending:
        return []
    token, number, stage = uuid4().hex[:8], len(run.stages), run.stages[-1]
    calls = []
    for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
        if execution.status == "pending" and (call := read_call(prompt.text, tools)):
            arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
            calls.append(ClientCall(f"call_{token}_{number}_{j}", call.tool.name, arguments))
    return calls


def state_text(run: Trajectory) -> str:
    """Return a run that waits, as text: its stages, of the last one only the executions that have ended."""
    *done, last = run.stages
    number = len(run.stages)
    ended = {j: each for j, each in enumerate(last.executions, 1) if each.status != "pending"}
    execution = protocol.render_block(number, ended) if ended else ""
    return protocol.render_stages(replace(run, stages=tuple(done))) + (
        protocol.render_plan(number, last.prompts, last.tail) + execution
    )


def resume(question: str, rounds: Sequence[ToolRound]) -> Trajectory:
    """Return the run that the client's results complete. Raises BadInput where calls and results do not match."""
    for each in rounds:
        if missing := [call.id for call in each.calls if call.id not in each.results]:
            raise BadInput(f"the call {missing[0]!r} has no result: every call of a message needs one")
    last = rounds[-1]
    places = [_place(call.id) for call in last.calls]
    if len(set(places)) < len(places):
        raise BadInput(f"two calls of a message have the place of {last.calls[0].id!r}")
    run = _from_content(question, last.content, places)
    if run is None:
        return _from_calls(question, rounds)
    stage = run.stages[-1]
    executions = list(stage.executions)
    for call, (_, number) in zip(last.calls, places, strict=True):
        executions[number - 1] = Execution(last.results[call.id])
    return replace(run, stages=(*run.stages[:-1], replace(stage, executions=tuple(executions))))


def _place(call_id: str) -> tuple[int, int]:
    """Return stage and prompt of a call. Raises BadInput for an id that is not ours."""
    match = _ID.fullmatch(call_id)
    if match is None:
        raise BadInput(f"{call_id!r} is not the id of a call that this server made")
    return int(match[2]), int(match[3])


def message_of(call_id: str) -> str:
    """Return what the ids of one message's calls have in common."""
    match = _ID.fullmatch(call_id)
    return match[1] if match else call_id


def _from_content(question: str, content: str, places: Sequence[tuple[int, int]]) -> Trajectory | None:
    """Return the run in a message's content; None for a content without a plan, which a client has dropped or changed.

    Raises BadInput if the calls are not those that the run waits for.
    """
    read = protocol.parse(f"{protocol.render_question(question)}\n\n<think>\n{content}")
    if not read.stages:
        return None
    number, stage = len(read.stages), read.stages[-1]
    waiting = {(number, j) for j, each in enumerate(stage.executions, 1) if each.status == "failed"}  # without a text
    if set(places) != waiting:
        raise BadInput("the calls of a message are not those that its content waits for: send both back as they came")
    return Trajectory(question, read.stages)


def _from_calls(question: str, rounds: Sequence[ToolRound]) -> Trajectory:
    """Return the run as far as calls and results show it: one stage for each message with calls."""
    stages = []
    for each in rounds:
        texts = (json.dumps({"name": call.name, "arguments": json.loads(call.arguments)}) for call in each.calls)
        executions = tuple(Execution(each.results.get(call.id, "")) for call in each.calls)
        stages.append(Stage(tuple(map(Prompt, texts)), executions))
    return Trajectory(question, tuple(stages))
