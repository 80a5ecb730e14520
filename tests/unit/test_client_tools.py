"""Tools of clients over OpenAI's interface: a run waits for them, and the next request goes on from their results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from sprint_sgl import protocol
from sprint_sgl.lang.registry import named_method
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.tool_calls import ToolRound, resume, state_text
from sprint_sgl.tools import Toolbox, tool
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.served import FakeRuntime, serving, serving_programs

QUESTION = "Is it warmer in Rome than in Oslo?"
PLAYED = Trajectory(
    QUESTION,
    (
        Stage(
            (
                Prompt('weather("Rome")', "Look both up."),
                Prompt("Say what warm means"),
                Prompt('{"name": "weather", "arguments": {"city": "Oslo"}}', "-----\nAnd Oslo."),
            ),
            (Execution("21 <b>degrees</b>"), Execution("More degrees.\nThat is all."), Execution("3")),
            "Then compare.",
        ),
        Stage((Prompt('weather("Rome", 2)', "Based on execution_1.1:\nTomorrow too."),), (Execution("22"),)),
    ),
    final_answer="Yes: \\boxed{Rome}.",
)
RESULTS = {"Rome": "21 <b>degrees</b>", "Oslo": "3", "Rome 2": "22"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "day": {"type": "integer"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}}


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(played=PLAYED)


@pytest.fixture
def client(runtime: FakeRuntime) -> Iterator[openai.OpenAI]:
    with serving(runtime) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, messages: list[Any], **options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "mini:sprint", "messages": messages, "tools": [WEATHER], **options}
    )


def results_of(message: Any) -> list[dict[str, Any]]:
    """The messages of a client that has carried the calls out; it answers the last one first."""
    said = []
    for call in message.tool_calls:
        key = " ".join(map(str, json.loads(call.function.arguments).values()))
        said.append({"role": "tool", "tool_call_id": call.id, "content": RESULTS[key]})
    return said[::-1]


def test_calls_of_one_stage_come_together_and_the_run_goes_on_from_their_results(
    client: openai.OpenAI, runtime: FakeRuntime
) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    first = ask(client, messages).choices[0]
    assert first.finish_reason == "tool_calls"
    assert [(c.function.name, c.function.arguments) for c in first.message.tool_calls] == [
        ("weather", '{"city": "Rome"}'),
        ("weather", '{"city": "Oslo"}'),
    ]
    messages += [first.message, *results_of(first.message)]
    second = ask(client, messages).choices[0]
    assert [call.function.arguments for call in second.message.tool_calls] == ['{"city": "Rome", "day": 2}']
    messages += [second.message, *results_of(second.message)]
    last = ask(client, messages)
    assert (last.choices[0].finish_reason, last.choices[0].message.content) == ("stop", PLAYED.final_answer)
    assert last.choices[0].message.reasoning_content == protocol.render_stages(PLAYED).strip()
    before, after = (session.requests for session in runtime.sessions[:2])
    longest = max((r.context + r.text for r in before if r.context.endswith("</prompt_1.2>\n")), key=len)
    assert after[0].context.startswith(longest.rstrip())
    tokens = sum(session.requests[0].context.count("<Plan_1>") for session in runtime.sessions)
    assert tokens == 2  # the first request has no plan yet


def test_a_stream_has_the_calls_with_their_indices(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    chunks = list(ask(client, messages, stream=True))
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in deltas] == [(0, "weather"), (1, "weather")]
    assert len({call.id for call in deltas}) == 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert content.strip() == ask(client, messages).choices[0].message.content.strip()


def test_one_call_at_a_time_if_the_client_wants_it(client: openai.OpenAI) -> None:
    message = ask(client, [{"role": "user", "content": QUESTION}], parallel_tool_calls=False).choices[0].message
    assert len(message.tool_calls) == 1
    assert "prompt_1.2" not in message.content


def test_a_call_that_the_client_requires_comes_first_and_fits_its_schema(
    client: openai.OpenAI, runtime: FakeRuntime
) -> None:
    call = '{"name": "weather", "arguments": {"city": "Rome"}}'
    runtime.played = Trajectory(QUESTION, (Stage((Prompt(call),), (Execution("21"),)),), final_answer="\\boxed{Rome}")
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        reply = ask(client, messages, tool_choice=choice).choices[0]
        assert [each.function.arguments for each in reply.message.tool_calls] == ['{"city": "Rome"}']
        asked = runtime.sessions[-1].requests[0]
        assert asked.context.endswith("<Plan_1>\n<prompt_1.1> ")
        (grammar,) = json.loads(asked.sampling["structural_tag"])["format"]["elements"]
        assert grammar["content"]["json_schema"] == PARAMETERS
    flat = respond(client, [*messages], tool_choice={"type": "function", "name": "weather"})
    assert flat.output[-1].name == "weather"
    assert (flat.tool_choice.name, flat.tools[0].name, flat.parallel_tool_calls) == ("weather", "weather", True)
    named = {"type": "function", "function": {"name": "wether"}}
    with pytest.raises(openai.BadRequestError, match="no tool is named 'wether', did you mean weather"):
        ask(client, messages, tool_choice=named)
    with pytest.raises(openai.BadRequestError, match="there are no tools"):
        ask(client, messages, tools=[], tool_choice="required")
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        ask(client, messages, tool_choice="always")


def test_a_client_that_drops_the_content_gets_on_from_the_calls(client: openai.OpenAI, runtime: FakeRuntime) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    message = ask(client, messages).choices[0].message
    calls = [call.model_dump() for call in message.tool_calls]
    messages += [{"role": "assistant", "content": None, "tool_calls": calls}, *results_of(message)]
    ask(client, messages)
    context = runtime.sessions[-1].requests[0].context
    assert '<prompt_1.2> {"name": "weather", "arguments": {"city": "Oslo"}} </prompt_1.2>' in context
    assert "<execution_1.2>\n3\n</execution_1.2>" in context


def test_without_tools_calls_are_prompts_like_others(client: openai.OpenAI) -> None:
    for options in ({"tools": []}, {"tool_choice": "none"}):
        reply = ask(client, [{"role": "user", "content": QUESTION}], **options).choices[0]
        assert (reply.finish_reason, reply.message.tool_calls) == ("stop", None)


def test_tools_of_the_server_run_there_and_tools_of_the_client_with_it(runtime: FakeRuntime) -> None:
    @tool
    def weather(city: str, day: int = 1) -> str:
        return RESULTS[city if day == 1 else f"{city} {day}"]

    with Toolbox([weather]) as box:
        method = named_method("sprint")
        method = replace(method, program=method.program.bind(tools=box))
        with serving_programs({"mini:sprint": (method, runtime)}, Admission(4, 4)) as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            reply = ask(client, [{"role": "user", "content": QUESTION}], tools=[]).choices[0]
            assert (reply.finish_reason, reply.message.content) == ("stop", PLAYED.final_answer)
            other = {"type": "function", "function": {"name": "ask_user"}}
            assert ask(client, [{"role": "user", "content": QUESTION}], tools=[other]).choices[0].message.content
            with pytest.raises(openai.BadRequestError, match="two tools are named weather"):
                ask(client, [{"role": "user", "content": QUESTION}])


def exchange(client: openai.OpenAI) -> tuple[list[Any], Any]:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    return messages, ask(client, messages).choices[0].message


def test_results_and_calls_have_to_match(client: openai.OpenAI) -> None:
    messages, message = exchange(client)
    rome, oslo = results_of(message)[::-1]
    for tail, said in (
        ([rome], "has no result"),
        ([rome, oslo, rome | {"tool_call_id": "call_0"}], "there is a result for 'call_0', and no call"),
        ([], "has no result"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            ask(client, [*messages, message, *tail])
    with pytest.raises(openai.BadRequestError, match="and no call with this id before it"):
        ask(client, [*messages, rome])
    foreign = {"id": "call_x", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "call_x", "content": "?"}
    with pytest.raises(openai.BadRequestError, match="'call_x' is not the id of a call that this server made"):
        ask(client, [*messages, {"role": "assistant", "tool_calls": [foreign]}, result])


def test_programs_without_tools_refuse_them(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="tools: the program sequential takes none"):
        ask(client, [{"role": "user", "content": QUESTION}], model="mini:sequential")
    messages, message = exchange(client)
    with pytest.raises(openai.BadRequestError, match="the program sequential calls no tools"):
        ask(client, [*messages, message, *results_of(message)], model="mini:sequential", tools=[])


def test_a_wrong_schema_is_refused(client: openai.OpenAI) -> None:
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError, match="not a JSON schema"):
        ask(client, [{"role": "user", "content": QUESTION}], tools=[bad])


def test_a_later_question_has_no_calls_of_earlier_ones_in_it(client: openai.OpenAI, runtime: FakeRuntime) -> None:
    messages, message = exchange(client)
    messages += [message, *results_of(message), {"role": "assistant", "content": "Rome."}]
    ask(client, [*messages, {"role": "user", "content": "And Paris?"}])
    context = runtime.sessions[-1].requests[0].context
    assert "assistant: Rome." in context
    assert "And Paris?" in context
    assert "prompt_1.1" not in context.partition("<Question>")[2]


def test_the_text_of_a_waiting_run_reads_back_as_the_run() -> None:
    stage = PLAYED.stages[0]
    pending = replace(stage, executions=(Execution("", "pending"), stage.executions[1], Execution("", "pending")))
    waiting = replace(PLAYED, stages=(pending,), final_answer="")
    calls = [type("Call", (), {"id": f"call_00000000_1_{j}", "name": "weather", "arguments": "{}"})() for j in (1, 3)]
    results = {calls[0].id: RESULTS["Rome"], calls[1].id: RESULTS["Oslo"]}
    begun = resume(QUESTION, [ToolRound(calls, state_text(waiting), results)])
    assert protocol.render_stages(begun) == protocol.render_stages(replace(PLAYED, stages=(stage,)))


def test_an_agent_of_langchain_gets_its_answer(runtime: FakeRuntime) -> None:
    from langchain.agents import create_agent
    from langchain_core.tools import tool as langchain_tool
    from langchain_openai import ChatOpenAI

    asked: list[str] = []

    @langchain_tool
    def weather(city: str, day: int = 1) -> str:
        """The weather of a city."""
        asked.append(city if day == 1 else f"{city} {day}")
        return RESULTS[asked[-1]]

    with serving(runtime) as url:
        model = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="mini:sprint", max_retries=0)  # type: ignore[arg-type]
        agent = create_agent(model, [weather])
        state = agent.invoke({"messages": [{"role": "user", "content": QUESTION}]})
    assert state["messages"][-1].content == PLAYED.final_answer
    assert sorted(asked) == ["Oslo", "Rome", "Rome 2"]


FLAT = {"type": "function", "name": "weather", "parameters": PARAMETERS}


def respond(client: openai.OpenAI, items: list[Any], **options: Any) -> Any:
    return client.responses.create(
        **{"model": "mini:sprint", "input": items, "tools": [FLAT], "store": False, **options}
    )


def outputs(response: Any) -> list[dict[str, Any]]:
    calls = [item for item in response.output if item.type == "function_call"]
    said = []
    for call in calls:
        key = " ".join(map(str, json.loads(call.arguments).values()))
        said.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[key]})
    return said[::-1]


def test_responses_have_calls_as_items_and_go_on_from_their_results(client: openai.OpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    first = respond(client, items)
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]
    assert first.status == "completed"
    items += [*first.output, *outputs(first)]
    second = respond(client, items)
    items += [*second.output, *outputs(second)]
    last = respond(client, items)
    assert last.output_text == PLAYED.final_answer
    with pytest.raises(openai.BadRequestError, match="has no result"):
        respond(client, [*items[:1], *first.output])


def test_a_stream_of_a_response_has_the_calls_as_events(client: openai.OpenAI) -> None:
    with client.responses.stream(model="mini:sprint", input=QUESTION, tools=[FLAT]) as stream:  # type: ignore[list-item]
        events = list(stream)
        final = stream.get_final_response()
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == ['{"city": "Rome"}', '{"city": "Oslo"}']
    added = [event for event in events if event.type == "response.output_item.added"]
    assert [(event.output_index, event.item.type) for event in added] == [
        (0, "reasoning"),
        (1, "message"),
        (2, "function_call"),
        (3, "function_call"),
    ]
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]


def test_stop_strings_do_not_cut_the_state(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    chunks = list(ask(client, messages, stream=True, stop=["warm", "<Execution"]))
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert content == ask(client, messages).choices[0].message.content


def test_calls_that_the_content_does_not_wait_for_are_refused(client: openai.OpenAI) -> None:
    messages, message = exchange(client)
    calls = [call.model_dump() for call in message.tool_calls]
    results = results_of(message)[::-1]
    ours = {"role": "assistant", "content": message.content}
    forged = [calls[0] | {"id": calls[0]["id"][:-1] + "2"}, calls[1]]
    for made, said in (
        (calls[:1], "not those that its content waits for"),
        (forged, "not those that its content waits for"),
        ([calls[0], calls[0], calls[1]], "two calls of a message have the place"),
    ):
        answers = [results[0] | {"tool_call_id": call["id"]} for call in made]
        answers = list({each["tool_call_id"]: each for each in answers}.values())
        with pytest.raises(openai.BadRequestError, match=said):
            ask(client, [*messages, ours | {"tool_calls": made}, *answers])
    with pytest.raises(openai.BadRequestError, match="two results for the call"):
        ask(client, [*messages, message, *results, results[0]])


def test_items_of_one_message_may_come_call_by_call(client: openai.OpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    first = respond(client, items)
    reasoning, message, *calls = first.output
    by_id = {each["call_id"]: each for each in outputs(first)}
    pairs = [each for call in calls for each in (call, by_id[call.call_id])]
    second = respond(client, [*items, reasoning, message, *pairs])
    assert [item.arguments for item in second.output if item.type == "function_call"] == ['{"city": "Rome", "day": 2}']
