"""SPRINT with models that were never trained for it: the program writes the tags, whatever the model does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import guided_program, sprint_program
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.program import Run
from sprint_sgl.lang.registry import named_method
from sprint_sgl.tools import tool
from tests.fakes.scripted import ScriptedBackend

OPENING = "Plan_1>\n"


def run(script: Callable[[str], str], **options: Any) -> tuple[Run, ScriptedBackend]:
    backend = ScriptedBackend(script)
    return guided_program.run("How much is it?", backend=backend, **options), backend


def written(context: str) -> str:
    """What stands behind the question: the run's own text."""
    return context.rpartition("How much is it?")[2]


def good_model(context: str) -> str:
    text = written(context)
    if text.endswith(("<execution_1.1>\n", "<execution_1.2>\n")):
        return "it is 3</execution_"
    if text.endswith("<Plan_1>\n"):
        return "Two ways.\n<prompt_7.4> wrong numbers"
    if text.endswith("<prompt_1.1> "):
        return "add them </prompt_1.3>"
    if text.endswith("<prompt_1.2> "):
        return "multiply them </prompt"
    if text.endswith("</prompt_1.1>\n"):
        return "And so.\n<prompt_"
    if text.endswith("</prompt_1.2>\n"):
        return "</Plan_4>"
    return "\\boxed{3}" if text.endswith("<Final_answer>\n") else "<Final_answer>"


def test_the_program_writes_every_tag_with_its_number() -> None:
    state, backend = run(good_model)
    trajectory = state.trajectory
    assert state["answer"] == "3"
    assert trajectory.repairs == ()
    assert [(p.lead, p.text) for p in trajectory.stages[0].prompts] == [
        ("Two ways.", "add them"),
        ("And so.", "multiply them"),
    ]
    text = written(backend.requests[-1].context)
    assert text == protocol.render(trajectory).partition("<think>\n")[2].partition("\\boxed")[0].replace(
        "<Plan_1>", text.partition("<Plan_1>")[0] + "<Plan_1>", 1
    )


def test_executors_start_when_their_prompt_closes() -> None:
    _, backend = run(good_model)
    first = next(r for r in backend.requests if r.context.endswith("<execution_1.1>\n"))
    assert "prompt_1.2" not in written(first.context)
    assert written(first.context).endswith("</prompt_1.1>\n</Plan_1>\n\n<Execution_1>\n<execution_1.1>\n")


def test_a_second_plan_follows_where_the_model_opens_one() -> None:
    def model(context: str) -> str:
        text = written(context)
        if text.endswith("</Execution_1>\n\n"):
            return "<Plan_2> more"
        if text.endswith("<Plan_2>\n"):
            return "Check.<prompt"
        if text.endswith("<prompt_2.1> "):
            return "check it</prompt"
        if text.endswith("</prompt_2.1>\n"):
            return "</Plan"
        if text.endswith("<execution_2.1>\n"):
            return "fine"
        return good_model(context)

    trajectory = run(model)[0].trajectory
    assert [stage.plan for stage in trajectory.stages] == ["Two ways.\nAnd so.", "Check."]
    assert trajectory.stages[1].executions[0].text == "fine"


def test_a_planner_that_plans_nothing_answers_in_one_thought_after_its_tries() -> None:
    state, backend = run(lambda context: "I would say \\boxed{9}.", tries=3)
    assert state["answer"] == "9"
    assert len(backend.requests) == 4
    assert (state.trajectory.launch, state.trajectory.stages) == ("sequential", ())
    assert len(state.trajectory.answer_calls) == 4
    assert "<Plan_1>" not in backend.requests[-1].context


def test_a_planner_that_rambles_is_given_a_prompt() -> None:
    def model(context: str) -> str:
        return "word " * 1000 if context.endswith(OPENING) else good_model(context)

    stage = run(model)[0].trajectory.stages[0]
    assert stage.prompts[0].text == "add them"
    assert stage.prompts[0].lead == " ".join(["word"] * 200)


def test_a_plan_is_closed_after_so_many_prompts() -> None:
    def model(context: str) -> str:
        text = written(context)
        if text.endswith(">\n") and "<execution" in text.splitlines()[-1]:
            return "done"
        return "task</prompt" if text.endswith("> ") else "Next.<prompt" if "Execution" not in text else "<Final_answer"

    assert len(run(model, max_prompts=3)[0].trajectory.stages[0].prompts) == 3


def test_a_planner_may_call_tools_that_its_opening_names() -> None:
    @tool
    def lookup(key: str) -> str:
        """Look a key up."""
        return key * 2

    def model(context: str) -> str:
        return 'lookup("ab")</prompt' if written(context).endswith("<prompt_1.1> ") else good_model(context)

    state, backend = run(model, tools=[lookup])
    assert "- lookup(key): Look a key up." in backend.requests[0].context
    assert [each.text for each in state.trajectory.stages[0].executions] == ["abab", "it is 3"]


def test_a_plan_begins_with_a_call_if_one_is_required() -> None:
    @tool
    def lookup(key: str, limit: int = 1) -> str:
        """Look a key up."""
        return key * limit

    def model(context: str) -> str:
        text = written(context)
        return (
            '{"name": "lookup", "arguments": {"key": "ab"}}' if text.endswith("<prompt_1.1> ") else good_model(context)
        )

    state, backend = run(model, tools=[lookup], must_call=["lookup"])
    assert [each.text for each in state.trajectory.stages[0].executions] == ["ab", "it is 3"]
    grammar = json.loads(backend.requests[0].sampling["structural_tag"])
    (call,) = grammar["format"]["elements"]
    assert call["begin"] == '{"name": "lookup", "arguments": '
    assert set(call["content"]["json_schema"]["properties"]) == {"key", "limit"}
    assert not any(request.sampling for request in backend.requests[1:])
    with pytest.raises(BadInput, match="no tool is named 'look'"):
        run(model, tools=[lookup], must_call=["look"])
    with pytest.raises(BadInput, match="there are no tools"):
        run(model, must_call=["lookup"])
    with pytest.raises(BadInput, match="must be a list of names"):
        run(model, tools=[lookup], must_call="lookup")


def test_with_a_grammar_each_call_of_the_planner_has_its_expression() -> None:
    _, backend = run(good_model, grammar=True)
    expressions = {
        re.findall(r"<[^<>]+>", request.context)[-1]: request.sampling.get("regex", "") for request in backend.requests
    }
    assert expressions["<Plan_1>"].endswith("(<prompt_|</Plan_)")
    assert expressions["<prompt_1.1>"].endswith("</prompt_")
    assert expressions["<execution_1.1>"] == expressions["<Final_answer>"] == ""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([*protocol.STOPS, *"<>\n 1x", "<prompt_1.1>", "<Plan_", "\\boxed{1}", "word "]), max_size=12
    )
)
def test_whatever_a_model_writes_the_transcript_is_well_formed(pieces: list[str]) -> None:
    state, backend = run(lambda context: "".join(pieces), max_stages=3, max_prompts=3)
    trajectory = state.trajectory
    assert protocol.parse(protocol.render(trajectory)).stages == tuple(
        type(stage)(
            tuple(type(p)(p.text, p.lead) for p in stage.prompts),
            tuple(type(e)(e.text) for e in stage.executions),
            stage.tail,
        )
        for stage in trajectory.stages
    )
    assert len(trajectory.calls) == len(backend.requests)


def test_styles_and_programs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="needs a program that writes the tags: sprint_guided"):
        sprint_program.run("x", prompt_style="instruct", backend=ScriptedBackend(good_model))
    with pytest.raises(BadInput, match="is for trained models: use the program sprint"):
        guided_program.run("x", prompt_style="sprint", backend=ScriptedBackend(good_model))
    assert named_method("sprint_guided").program.run("How much is it?", backend=ScriptedBackend(good_model))["answer"]
