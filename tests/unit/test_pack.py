"""Packing: dependencies are kept, stages are as few as the paper's formula allows, no line is lost."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.stages.pack import merge_short, pack, stage_numbers
from curation.trace import Step, Trace
from sprint_sgl.protocol import SEPARATOR, parse, render

LONG = "one\ntwo\nthree"


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Traces whose every line is different, so that a lost line shows."""
    count = draw(st.integers(1, 8))
    steps = []
    for number in range(1, count + 1):
        parents = draw(st.lists(st.sampled_from(range(1, number)), unique=True)) if number > 1 else []
        lines = draw(st.sampled_from([0, 1, 2, 3, 5]))
        execution = "\n".join(f"execution {number} line {k}" for k in range(lines))
        plan = "\n".join(f"plan {number} line {k}" for k in range(draw(st.integers(0 if lines else 1, 2))))
        comment = f"comment {number}" if draw(st.booleans()) else ""
        prompt = f"prompt {number}" if execution else ""
        steps.append(Step(plan, prompt, execution, comment, tuple(sorted(parents))))
    return Trace("t", "question", tuple(steps), "\\boxed{1}")


def written_lines(trace: Trace) -> Counter[str]:
    trajectory = pack(trace).trajectory
    texts = [trajectory.final_answer]
    for stage in trajectory.stages:
        texts += [stage.plan, *(execution.text for execution in stage.executions)]
    return Counter(line for text in texts for line in text.splitlines())


@given(traces())
def test_no_line_of_the_trace_is_lost_and_nothing_is_invented(trace: Trace) -> None:
    source = set(trace.text.splitlines()) - {""}
    written = set(written_lines(trace))
    assert source <= written
    invented = {line for line in written - source - {SEPARATOR, trace.answer} if not line.startswith("Based on ")}
    assert not invented


@given(traces())
def test_a_step_runs_after_every_execution_that_it_needs(trace: Trace) -> None:
    steps = [merge_short(step) for step in trace.steps]
    sigma = stage_numbers(steps)
    for step, stage in zip(steps, sigma, strict=True):
        for parent in step.parents:
            assert sigma[parent - 1] + bool(steps[parent - 1].execution) <= stage


@given(traces())
def test_each_execution_stands_at_the_place_of_its_own_prompt(trace: Trace) -> None:
    for stage in pack(trace).trajectory.stages:
        for prompt, execution in zip(stage.prompts, stage.executions, strict=True):
            assert execution.text.splitlines()[0].split()[1] == prompt.text.split()[1]


@given(traces())
def test_every_stage_but_the_last_executes_something(trace: Trace) -> None:
    assert all(stage.executions for stage in pack(trace).trajectory.stages[:-1])


@given(traces())
def test_the_ratio_the_trajectory_and_what_is_read_back_have_one_number_the_papers(trace: Trace) -> None:
    sigma = stage_numbers([merge_short(step) for step in trace.steps])
    packed = pack(trace)
    assert packed.ratio == len(trace.steps) / max(sigma)
    assert packed.trajectory.parallelization_ratio == packed.ratio
    assert parse(render(packed.trajectory)).parallelization_ratio == packed.ratio


def worked_example() -> Trace:
    """The parabola of the paper's appendix B.1: nine components, those with short executions 2, 3 and 8."""
    parents = {1: (), 2: (1,), 3: (1,), 4: (3,), 5: (4,), 6: (1,), 7: (1,), 8: (4, 6, 7), 9: (8,)}
    short = {2, 3, 8}
    steps = tuple(
        Step(f"plan {n}", f"prompt {n}", "short" if n in short else f"{LONG} {n}", parents=parents[n])
        for n in range(1, 10)
    )
    return Trace("b1", "What is n?", steps, "\\boxed{-6}")


def test_the_papers_worked_example_packs_into_its_stages() -> None:
    steps = [merge_short(step) for step in worked_example().steps]
    # 1 alone; then 2, 3 and what needs only 1 or the plan-only 3; then 5 and 8; and 9 joins 8, which only plans.
    assert stage_numbers(steps) == [1, 2, 2, 2, 3, 2, 2, 3, 3]
    assert pack(worked_example()).ratio == 3.0


def test_a_dependent_step_names_the_executions_that_it_builds_on() -> None:
    trajectory = pack(worked_example()).trajectory
    assert "Based on execution_2.1, execution_2.2, execution_2.3:\nplan 8\nshort" in trajectory.stages[2].plan
    assert trajectory.stages[2].prompts[0].lead.startswith("Based on execution_2.1:\nplan 5")


def test_a_plan_only_step_at_the_end_is_a_stage_of_its_own() -> None:
    steps = (Step("try", "do it", LONG), Step("So it is 4.", parents=(1,)))
    packed = pack(Trace("t", "q", steps, "\\boxed{4}"))
    assert [stage.plan for stage in packed.trajectory.stages] == ["try", "Based on execution_1.1:\nSo it is 4."]
    assert packed.trajectory.final_answer == "\\boxed{4}"
    assert packed.ratio == 1.0


def test_a_plan_only_step_before_one_without_a_plan_is_a_step_of_its_own() -> None:
    steps = (Step("Two tries."), Step("", "the first", f"1 {LONG}", parents=(1,)))
    trajectory = pack(Trace("t", "q", steps, "a")).trajectory
    assert trajectory.stages[0].prompts[0].lead == f"Two tries.\n{SEPARATOR}"
    assert trajectory.parallelization_ratio == 2.0


def test_a_comment_opens_the_text_of_the_step_that_depends_on_it() -> None:
    steps = (Step("try", "do it", LONG, "That went well."), Step("next", "go on", LONG, parents=(1,)))
    trajectory = pack(Trace("t", "q", steps, "a")).trajectory
    assert trajectory.stages[1].prompts[0].lead == "Based on execution_1.1:\nThat went well.\nnext"


@pytest.mark.parametrize(("parents", "message"), [((2,), "names parent 2"), ((0,), "names parent 0")])
def test_a_step_cannot_depend_on_itself_or_on_a_later_one(parents: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trace("t", "q", (Step("a"), Step("b", parents=parents)), "x")


def test_an_execution_needs_a_prompt() -> None:
    with pytest.raises(ValueError, match="step 1 has an execution and no prompt"):
        Trace("t", "q", (Step("a", execution=LONG),), "x")
