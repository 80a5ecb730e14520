"""Fuzz what reads model output: the tag parser, plans, executions, answers, grading, and the stream sorter."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.fuzzing.cases import Target
from benchmarks.fuzzing.texts import ENDS, any_text, nonempty_text, plain_trajectory, short_text
from benchmarks.near_misses import near_misses
from sprint_sgl import protocol
from sprint_sgl.grading.extract import extract_answer, read_answer
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import compare
from sprint_sgl.protocol import (
    RepairKind,
    escape_tags,
    merge_repairs,
    parse,
    read_execution,
    read_plan,
    render,
    unescape_tags,
)
from sprint_sgl.protocol.lexer import find_tags
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem
from sprint_sgl.trajectory import Trajectory


def check_parse(text: str) -> None:
    """Check that a parsed text is well-formed: rendered and parsed again it is the same, without repairs."""
    read = parse(text)
    again = parse(render(read))
    assert [texts(stage) for stage in again.stages] == [texts(stage) for stage in read.stages]
    assert (again.question, again.thought, again.final_answer) == (read.question, read.thought, read.final_answer)
    assert again.repairs == ((("missing_answer", 1),) if read.thought and not read.final_answer else ())
    assert {kind for kind, _ in read.repairs} <= set(RepairKind)


def texts(stage: Any) -> tuple[Any, ...]:
    pairs = zip(stage.prompts, stage.executions, strict=True)
    return stage.tail, [(prompt.lead, prompt.text, execution.text) for prompt, execution in pairs]


def check_inverse(trajectory: Trajectory) -> None:
    assert parse(render(trajectory)) == trajectory


def sequential(rng: random.Random) -> Trajectory:
    return Trajectory(short_text(rng), thought=nonempty_text(rng), final_answer=nonempty_text(rng))


def inverse_case(rng: random.Random) -> Trajectory:
    return sequential(rng) if rng.random() < 0.1 else plain_trajectory(rng)


def check_neutral(text: str) -> None:
    neutral = escape_tags(text)
    assert unescape_tags(neutral) == text
    assert not find_tags(neutral)
    assert not any(stop in neutral for stop in protocol.STOPS)
    assert find_tags(unescape_tags(neutral)) == find_tags(text)


def plan_case(rng: random.Random) -> tuple[str, int, int, str]:
    return any_text(rng), rng.randint(1, 3), rng.randint(1, 3), rng.choice(ENDS)


def check_plan(case: tuple[str, int, int, str]) -> None:
    """Check that the rendered plan reads as the same plan again."""
    read = read_plan(*case)
    assert all(prompt.text for prompt in read.prompts)
    assert merge_repairs(read.repairs) == read.repairs
    written = protocol.render_plan(case[1], read.prompts, read.tail)
    again = read_plan(written, case[1], 1, "")
    assert [(p.lead, p.text) for p in again.prompts] == [(p.lead, p.text) for p in read.prompts]
    assert again.tail == read.tail


def check_execution(text: str) -> None:
    read, repairs = read_execution(text)
    assert unescape_tags(text).strip().endswith(read)
    assert dict(repairs).get("nested", 0) == len(find_tags(text))
    assert not find_tags(escape_tags(read))


def cut_case(rng: random.Random) -> tuple[Trajectory, float]:
    return plain_trajectory(rng), rng.random()


def check_cut(case: tuple[Trajectory, float]) -> None:
    """Check that cutting a text off keeps its complete stages."""
    trajectory, place = case
    whole = render(trajectory)
    text = whole[: round(place * len(whole))]
    complete = sum(f"</Execution_{i}>" in text for i in range(1, len(trajectory.stages) + 1))
    assert parse(text).stages[:complete] == trajectory.stages[:complete]


def check_answer(text: str) -> None:
    found = extract_answer(text)
    assert found is None or found.strip()
    assert read_answer(text) == (found or text.strip())
    for expression in (found or text, text):
        assert check_countdown(expression, (3, 7, 12, 25), 66).reason
    if problem := countdown_problem(text):
        assert len(problem.numbers) > 1


def near_miss_case(rng: random.Random) -> tuple[str, str, str]:
    """Return a gold answer, the name of a change, and the changed answer."""
    gold = rng.choice(GOLDS)(rng)
    return gold, *rng.choice(list(near_misses(gold)))


def digits(rng: random.Random, longest: int = 3) -> str:
    """Return a number without zeros, so that every change of a digit changes the value."""
    return "".join(rng.choice("123456789") for _ in range(rng.randint(1, longest)))


GOLDS: tuple[Callable[[random.Random], str], ...] = (
    digits,
    lambda rng: f"-{digits(rng)}.{digits(rng)}",
    lambda rng: rf"\frac{{{digits(rng)}}}{{{digits(rng)}}}",
    lambda rng: rf"{digits(rng)}\sqrt{{2{digits(rng)}}}",
    lambda rng: rf"{digits(rng)} + {digits(rng)}\pi",
    lambda rng: f"{digits(rng)}x^2 - {digits(rng)}x + {digits(rng)}",
    lambda rng: f"[{digits(rng)}, {digits(rng)})",
    lambda rng: f"({digits(rng)}, -{digits(rng)}, {digits(rng)})",
    lambda rng: f"{rng.choice(('312', '1234', '44'))}_{{{rng.randint(5, 9)}}}",
    lambda rng: rf"{digits(rng)}\text{{ {rng.choice(('cm', 'kg', 'hours'))}}}",
    lambda rng: f"y = {digits(rng)}x + {digits(rng)}",
    lambda rng: f"{digits(rng)}, {digits(rng)} and {digits(rng)}",
)


def check_near_miss(case: tuple[str, str, str]) -> None:
    gold, change, other = case
    found = compare(other, gold)
    assert found.match is not Match.SAME, change
    assert bool(found.reason) == (found.match is Match.UNDECIDED)


def check_compared(text: str) -> None:
    """Check that comparing any text with a number raises nothing."""
    answer = read_answer(text)[:200]
    assert compare(answer, answer).match is not Match.DIFFERENT
    compare(answer, "7")


@cache
def program_named(name: str) -> Any:
    from sprint_sgl.lang.registry import named_method

    return named_method(name).program


def stream_case(rng: random.Random) -> tuple[str, list[str], list[int], str]:
    """Return the planner's text, stop strings, sizes of its pieces, and a program's name."""
    trajectory = plain_trajectory(rng)
    text = render(trajectory).partition("<think>\n")[2] if rng.random() < 0.5 else any_text(rng)[:5000]
    stops = [short_text(rng, 3) for _ in range(rng.randrange(3))]
    sizes = [rng.randint(1, 40) for _ in range(1 + len(text) // 20)]
    return text, [stop for stop in stops if stop], sizes, rng.choice(("sprint", "sequential", "self_consistency"))


def check_stream(case: tuple[str, list[str], list[int], str]) -> None:
    """Check that each piece of a branch is passed on unchanged, and that no answer contains a stop string."""
    from sprint_sgl.lang.calls import Branch
    from sprint_sgl.serving.stream import AnswerPiece, BranchPiece, PieceSorter, cut_at_stop

    text, stops, sizes, program = case
    sorter, pieces, at = PieceSorter(program_named(program), stops), [], 0
    for turn, size in enumerate(sizes):
        branch = Branch(1 + turn // 5, turn % 3 or None)
        pieces += sorter.feed(branch, text[at : at + size])
        at += size
    answer = cut_at_stop(read_answer(parse(text).final_answer), stops).strip()
    pieces += sorter.finish(answer)
    fed = text[: sum(sizes)]
    assert "".join(piece.text for piece in pieces if isinstance(piece, BranchPiece)) == fed
    content = "".join(piece.text for piece in pieces if isinstance(piece, AnswerPiece))
    assert not any(stop in content for stop in stops)


TARGETS = (
    Target("parse", 0.16, any_text, check_parse),
    Target("parse of render", 0.10, inverse_case, check_inverse),
    Target("neutralise", 0.22, any_text, check_neutral),
    Target("read_plan", 0.08, plan_case, check_plan),
    Target("read_execution", 0.10, any_text, check_execution),
    Target("cut off", 0.04, cut_case, check_cut),
    Target("answers", 0.05, any_text, check_answer),
    Target("near misses", 0.01, near_miss_case, check_near_miss),
    Target("comparisons", 0.01, any_text, check_compared),
    Target("stream", 0.02, stream_case, check_stream, ready=lambda: program_named("sprint")),
)
