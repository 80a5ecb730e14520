"""The methods that SPRINT is compared with, on a scripted model: what they ask, choose and count."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from threading import Lock
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from programs import (
    best_of_n_program,
    graph_of_thoughts_program,
    self_consistency_program,
    skeleton_of_thought_program,
    sprint_program,
    tree_of_thoughts_program,
)
from programs.self_consistency import majority
from programs.skeleton_of_thought import read_points
from sprint_sgl.bench.run import read_methods
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.program import Program
from sprint_sgl.lang.registry import method_names, named_method
from sprint_sgl.lang.scoring import find_score
from sprint_sgl.storage.package_files import CONF
from tests.fakes.scripted import ScriptedBackend

QUESTION = "How much is a half and a half?"


def in_turn(*texts: str) -> Callable[[str], str]:
    """A model that writes these texts one after the other, however often it is asked."""
    turns: Iterator[int] = count()
    lock = Lock()

    def script(context: str) -> str:
        with lock:
            return texts[next(turns) % len(texts)]

    return script


def boxed(*answers: str) -> list[str]:
    return [rf"so</think> \boxed{{{answer}}}" for answer in answers]


def test_most_samples_decide_by_what_they_mean() -> None:
    backend = ScriptedBackend(in_turn(*boxed("3", r"\frac{1}{2}", "2", "0.5", "2", "1/2")))
    run = self_consistency_program.run(QUESTION, samples=6, backend=backend)
    assert run["answer"] in (r"\frac{1}{2}", "0.5", "1/2")
    assert len(backend.requests) == 6
    assert len({request.context for request in backend.requests}) == 1
    assert run.trajectory.width == 6


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["1", "2", "2"], 1),
        (["1", "2"], 0),
        (["", "", "7"], 2),
        (["", ""], 0),
        ([r"\frac{2}{4}", "7", "0.5"], 0),
        (["66", "(25-7)*3+12", "(25-7)*3+12"], 1),
        (["A", "B) 3 eV", "B", "C", "The answer is (B)."], 1),
        (["well, " * 400, "well, " * 400, "7"], 0),
    ],
)
def test_the_first_of_the_largest_class_stands_for_it(answers: list[str], winner: int) -> None:
    assert majority(answers) == winner


def test_samples_have_seeds_of_their_own_and_only_the_longest_is_sequential() -> None:
    backend = ScriptedBackend(in_turn("one two three", "one", "one two"))
    trajectory = self_consistency_program.run(QUESTION, samples=3, seed=5, backend=backend).trajectory
    assert len({request.seed for request in backend.requests}) == 3
    assert trajectory.sequential_tokens == 3 + 1  # a token ends a text
    assert trajectory.total_tokens == 6 + 3
    assert trajectory.launch == "rounds"
    with pytest.raises(BadInput, match="samples must be a whole number from 1"):
        self_consistency_program.run(QUESTION, samples=0, backend=backend)


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        (sprint_program, {"max_stages": "two"}, "max_stages must be a whole number from 1 to 2,147,483,647, got 'two'"),
        (sprint_program, {"launch": "lazy"}, "launch must be one of eager, barrier, got 'lazy'"),
        (
            sprint_program,
            {"prompt_style": "nobody"},
            "unknown prompt style 'nobody'; known: apr, instruct, mini, pasta, sprint, threads",
        ),
        (self_consistency_program, {"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        (skeleton_of_thought_program, {"reasoning": "no"}, "reasoning must be true or false, got 'no'"),
    ],
)
def test_a_value_that_a_program_refuses_is_refused_before_there_is_a_runtime(
    program: Program, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        program.bind(**arguments)


def test_the_best_of_n_has_the_highest_score_among_those_with_an_answer() -> None:
    texts = ["</think>", r"</think>\boxed{1}", r"well</think>\boxed{2}"]
    logprobs = dict(zip(texts, (-0.1, -0.9, -0.4), strict=True))
    run = best_of_n_program.run(
        QUESTION, samples=3, backend=ScriptedBackend(in_turn(*texts), logprob=logprobs.__getitem__)
    )
    assert run["answer"] == "2"
    shortest = best_of_n_program.run(
        QUESTION, samples=3, score=lambda _, text: -len(text), backend=ScriptedBackend(in_turn(*texts))
    )
    assert shortest["answer"] == "1"


def skeleton(context: str) -> str:
    if point := re.search(r"Work out point (\d)", context):
        return "a half" if point[1] == "1" else r"both: \boxed{1}" if point[1] == "2" else "done and checked"
    return " the first half\n2. **add the second**\nthat is all\n3) check\n4. never asked"


def test_points_of_a_skeleton_are_worked_out_side_by_side() -> None:
    backend = ScriptedBackend(skeleton, pause=lambda context: 1.0 if "Work out" in context else 0.0)
    run = skeleton_of_thought_program.run(QUESTION, max_points=3, backend=backend)
    assert run["answer"] == "1"
    stage = run.trajectory.stages[0]
    assert [prompt.text for prompt in stage.prompts] == ["the first half", "add the second", "check"]
    assert stage.executions[0].text == "a half"
    asked, *points = sorted(backend.requests, key=lambda request: request.start)
    assert asked.context.endswith("1.")
    assert max(point.start for point in points) < min(point.end for point in points)
    assert run.trajectory.sequential_tokens == stage.plan_tokens + max(e.tokens for e in stage.executions)
    assert run.trajectory.seconds < sum(point.end - point.start for point in points)  # as one after the other


def test_a_skeleton_after_a_thought_is_read_and_one_that_is_no_list_is_the_solution() -> None:
    thinking = ScriptedBackend(lambda c: "x" if "Work out" in c else "1. no\n</think>\n1. yes\n2. no more")
    run = skeleton_of_thought_program.run(QUESTION, reasoning=True, backend=thinking)
    assert [prompt.text for prompt in run.trajectory.stages[0].prompts] == ["yes", "no more"]
    prose = ScriptedBackend(lambda c: r"</think>It is \boxed{1}, simply.")
    run = skeleton_of_thought_program.run(QUESTION, reasoning=True, backend=prose)
    assert run["answer"] == "1"
    assert dict(run.trajectory.repairs) == {"no_points": 1}


def test_points_are_numbered_lines() -> None:
    assert read_points("Here:\n1. one \n - 2) two\n**3.** three\nfour\n10. ten\n11.\n") == [
        "one",
        "two",
        "three",
        "ten",
    ]


def tree(context: str) -> str:
    """Propose "good" and "bad" in turn, score an attempt by its count of "good", and answer with that count."""
    if "Attempt:" in context:
        return f"Hm.\n{1 + context.partition('Attempt:')[2].count('good')}"
    if "Finish the solution" in context:
        return rf"\boxed{{{context.count('good')}}}"
    return next(PROPOSALS)


PROPOSALS: Iterator[str] = iter(())


def test_a_tree_keeps_its_best_paths() -> None:
    global PROPOSALS
    PROPOSALS = iter(["good", "bad"] * 10)
    run = tree_of_thoughts_program.run(QUESTION, depth=3, branches=2, keep=1, backend=ScriptedBackend(tree))
    assert run["answer"] == "3"
    stages = run.trajectory.stages
    assert [len(stage.prompts) for stage in stages] == [2] * 6
    assert run.trajectory.sequential_tokens == sum(max(e.tokens for e in s.executions) for s in stages) + 2
    with pytest.raises(BadInput, match="keep must be a whole number from 1"):
        tree_of_thoughts_program.run(QUESTION, keep=0, backend=ScriptedBackend(tree))


def test_a_score_that_cannot_be_read_is_the_lowest_and_counted() -> None:
    backend = ScriptedBackend(lambda context: "good luck" if "Attempt:" in context else r"\boxed{1}")
    run = tree_of_thoughts_program.run(QUESTION, depth=1, branches=2, keep=2, backend=backend)
    assert dict(run.trajectory.repairs) == {"unread_score": 1}  # both steps are the same, and are marked once


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("8", 8),
        ("It is 7/10", 7),
        ("10", 10),
        ("Score: 7 out of 10", 7),
        ("9 (of 10)", 9),
        ("Steps 1 and 2 hold.\n9", 9),
        ("3.5", None),
        ("55", None),
        ("", None),
    ],
)
def test_the_mark_in_a_text(text: str, mark: int | None) -> None:
    assert find_score(text) == mark


def graph(context: str) -> str:
    if "Attempt:" in context:
        return "9" if "merged from B" in context or "\nB" in context.partition("Attempt:")[2] else "2"
    if "Several attempts" in context:
        return "merged from B" if "Attempt 1:\nB" in context else "merged from others"
    if "strict examiner" in context:
        return rf"\boxed{{{context.partition('Solution:')[2].split()[2]}}}"
    return next(PROPOSALS)


def test_attempts_of_a_graph_keep_to_a_limit_of_their_own() -> None:
    global PROPOSALS
    PROPOSALS = iter(["A B C"] * 2)
    run = graph_of_thoughts_program.run(QUESTION, attempts=2, max_tokens=2, backend=ScriptedBackend(graph))
    assert [execution.text for execution in run.trajectory.stages[0].executions] == ["A B"] * 2
    assert run.trajectory.truncated_count == 2


def test_a_graph_merges_the_best_attempts_and_refines_the_best_merge() -> None:
    global PROPOSALS
    PROPOSALS = iter("ABC")
    backend = ScriptedBackend(graph)
    run = graph_of_thoughts_program.run(QUESTION, attempts=3, keep=2, merges=2, backend=backend)
    assert run["answer"] == "B"
    assert [len(stage.prompts) for stage in run.trajectory.stages] == [3, 3, 2, 2]
    assert len(backend.requests) == 11
    assert run.trajectory.answer_tokens


@pytest.mark.parametrize("name", method_names())
def test_a_named_method_is_what_a_command_composes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_object(compose("bench", ["task=countdown", f"program={name}"]))
        (composed,) = read_methods(config)  # type: ignore[arg-type]
        named = named_method(name)
    assert (composed.name, composed.temperature, composed.settings) == (named.name, named.temperature, named.settings)
    assert named.name == name
