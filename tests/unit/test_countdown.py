"""Countdown: problems can be solved, held-out ones stay apart, traces are right in every line."""

import json
import random
import re
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest

from curation.countdown.rows import CountdownRowsConfig, Problems, make_rows, training_problems
from curation.countdown.traces import needs_second_round, write_trace
from curation.countdown.variation import Variation, vary
from curation.stages.pack import pack
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem
from sprint_sgl.tasks.countdown.problem import NUMBERS, TARGETS, Problem, generate_problems, reachable_values
from sprint_sgl.tools import Toolbox, ToolContext
from sprint_sgl.tools.sources import read_sources

SAMPLE = {size: list(islice(generate_problems(size, 11), 150)) for size in (3, 4)}


@pytest.mark.parametrize("size", [3, 4])
def test_problems_are_in_range_solvable_and_different(size: int) -> None:
    for problem in SAMPLE[size]:
        assert all(number in NUMBERS for number in problem.numbers)
        assert problem.target in TARGETS
        assert problem.target in reachable_values(tuple(sorted(problem.numbers)))
    assert len({problem.key for problem in SAMPLE[size]}) == len(SAMPLE[size])


def test_the_same_seed_gives_the_same_problems_and_another_seed_others() -> None:
    assert list(islice(generate_problems(4, 11), 20)) == SAMPLE[4][:20]
    assert list(islice(generate_problems(4, 12), 20)) != SAMPLE[4][:20]


def test_no_training_problem_is_held_out_in_any_order_of_its_numbers() -> None:
    for problem in islice(training_problems(Problems(three=60, four=60)), 120):
        assert not problem.held_out
        assert not Problem(problem.numbers[::-1], problem.target).held_out


def test_about_one_problem_in_ten_is_held_out() -> None:
    share = sum(p.held_out for size in SAMPLE for p in SAMPLE[size]) / 300
    assert 0.05 < share < 0.16


@pytest.mark.parametrize(("size", "share"), [(3, 0.9), (4, 0.65)])
def test_the_search_solves_most_problems(size: int, share: float) -> None:
    assert sum(write_trace(problem) is not None for problem in SAMPLE[size]) / len(SAMPLE[size]) > share


@pytest.mark.parametrize("size", [3, 4])
def test_every_written_answer_is_right(size: int) -> None:
    for problem in SAMPLE[size]:
        if trace := write_trace(problem):
            answer = re.fullmatch(r"\\boxed\{(.*)\}", trace.answer)
            assert answer
            assert check_countdown(answer[1], problem.numbers, problem.target).correct


@pytest.mark.parametrize("size", [3, 4])
def test_every_written_equation_is_true(size: int) -> None:
    equation = re.compile(r"(\d+)([-+*/])(\d+)=(?:(\d+)\+(\d+)=)?(\d+)")
    value = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": Fraction}
    for problem in SAMPLE[size][:60]:
        for left, sign, right, tens, units, result in equation.findall(
            trace.text if (trace := write_trace(problem)) else ""
        ):
            assert value[sign](int(left), int(right)) == int(result)
            assert not tens or int(tens) + int(units) == int(result)


@pytest.mark.parametrize("size", [3, 4])
def test_a_try_has_an_answer_where_its_distance_to_what_is_needed_is_zero(size: int) -> None:
    measured = re.compile(r"=(\d+) to (\d+)=(\d+)")
    for problem in SAMPLE[size][:60]:
        for step in trace.steps if (trace := write_trace(problem)) else ():
            distances = [(int(v), int(n), int(d)) for v, n, d in measured.findall(step.execution)]
            assert all(abs(value - nearest) == distance for value, nearest, distance in distances)
            assert any(distance == 0 for *_, distance in distances) == ("\nSo " in step.execution)


def test_what_the_second_stage_tries_depends_on_what_the_first_one_found() -> None:
    stages = {len(pack(trace).trajectory.stages) for problem in SAMPLE[4] if (trace := write_trace(problem))}
    assert stages == {2, 3}


def test_traces_are_parallel_enough_for_the_papers_filter() -> None:
    for size in SAMPLE:
        assert all(pack(trace).ratio >= 1.5 for problem in SAMPLE[size] if (trace := write_trace(problem)))


def test_a_question_reads_back_as_its_problem() -> None:
    for problem in SAMPLE[4]:
        assert countdown_problem(problem.question) == problem


def test_the_rows_config_has_the_papers_filter_as_its_default() -> None:
    assert CountdownRowsConfig().min_ratio == 1.5


def test_drills_are_the_same_for_both_models_and_half_are_of_quotients(tmp_path: Path) -> None:
    make_rows(CountdownRowsConfig(out=str(tmp_path), problems=Problems(three=20, four=10), drills=8, validation=4))
    kinds = {}
    for kind in ("sprint", "rft"):
        rows = [json.loads(line)["messages"] for line in (tmp_path / f"{kind}.train.jsonl").open()]
        kinds[kind] = {context["content"] for context, _ in rows if "Question" not in context["content"]}
    assert kinds["sprint"] == kinds["rft"]
    assert len(kinds["rft"]) == 8
    assert sum("+" not in context and "/" in context for context in kinds["rft"]) == 4
    assert sum(" to " in context for context in kinds["rft"]) == 2


def test_a_problem_needs_two_numbers() -> None:
    with pytest.raises(ValueError, match="at least 2 numbers, got 1"):
        next(generate_problems(1, 0))


@pytest.mark.parametrize("size", [3, 4])
def test_varied_plans_keep_the_answer_and_differ_in_order_number_rounds_and_check(size: int) -> None:
    rng, seen = random.Random(1), set()
    for trace in filter(None, map(write_trace, SAMPLE[size])):
        varied = vary(trace, rng, Variation(0.7, 0.4, 0.3, 0.4))
        assert varied.answer == trace.answer
        texts = {step.execution for step in trace.steps}
        assert {step.execution for step in varied.steps if step.execution} <= texts
        hits = [step for step in varied.steps if "\nSo " in step.execution]
        assert hits
        *_, last = varied.steps
        if last.prompt.startswith("Work out"):
            assert varied.steps[last.parents[0] - 1] in hits
        trajectory = pack(varied).trajectory
        tasks = [prompt.text for stage in trajectory.stages for prompt in stage.prompts]
        seen.add((len(trajectory.stages), len(tasks), last.prompt.startswith("Work out")))
    assert {check for *_, check in seen} == {True, False}
    assert len({count for _, count, _ in seen}) > 3
    assert len({stages for stages, *_ in seen}) > 1


@pytest.mark.parametrize("size", [3, 4])
def test_without_variation_a_trace_stays_as_it_is(size: int) -> None:
    for trace in filter(None, map(write_trace, SAMPLE[size])):
        assert vary(trace, random.Random(1), Variation()) == trace


def test_a_trace_without_a_hit_has_no_variation() -> None:
    unsolved = next(problem for problem in SAMPLE[4] if write_trace(problem) is None)
    trace = write_trace(unsolved, unsolved=True)
    assert trace
    assert trace.answer == r"\boxed{none}"
    assert vary(trace, random.Random(1), Variation(1, 1, 1, 1)) == trace


def test_rows_hold_as_many_hard_and_unsolved_problems_as_asked_for(tmp_path: Path) -> None:
    problems = Problems(three=2, four=0, hard=3, unsolved=2, seed=5)
    drawn = list(training_problems(problems))
    four = [problem for problem in drawn if len(problem.numbers) == 4]
    assert all(map(needs_second_round, four))
    assert sorted(write_trace(problem) is None for problem in four) == [False] * 3 + [True] * 2
    counts = make_rows(CountdownRowsConfig(str(tmp_path), problems, validation=1, variation=Variation(skip=1)))
    assert counts["steps.jsonl"] == 7


@pytest.mark.parametrize("size", [3, 4])
def test_a_tool_writes_what_the_traces_have(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTDOWN_TOOL_SECONDS", "0")
    tools = read_sources([str(Path(__file__).parents[2] / "benchmarks" / "countdown_tool.py")])
    with Toolbox(tools.tools, router=tools.router) as box:
        for trace in filter(None, map(write_trace, SAMPLE[size][:6])):
            for number, stage in enumerate(pack(trace).trajectory.stages, 1):
                for prompt, execution in zip(stage.prompts, stage.executions, strict=True):
                    call = box.route(prompt.text)
                    assert call
                    result = box.start(call, ToolContext(trace.question, prompt.text, number)).result(10)
                    assert result.text == execution.text
        assert box.route("Sing") is None
