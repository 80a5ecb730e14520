"""Answers out of model text, their comparison in a worker process, and exact Countdown checks."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.tasks.countdown.checker import Verdict, check_countdown, countdown_problem
from sprint_sgl.tasks.countdown.problem import Problem
from tests.fakes.rows import rows
from tests.fakes.scaling import takes_linear_time

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = "9^{9^{9^9}}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{1}, no: \boxed{2}", "2"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\boxed{5} and then \boxed{\frac{1}{2", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{7}", "7"),
        (r"thus $\boxed 5$.", "5"),
        (r"\\boxed{6}", "6"),
        (r"answer in \boxed{}: \boxed{ }", None),
        (r"no \boxedfoo{5} here", None),
        ("<answer> (1 + 2) * 3 </answer>", "(1 + 2) * 3"),
        ("<answer>1</answer> <answer>2</answer>", "2"),
        ("the <answer>4 * 5", "4 * 5"),
        (r"<answer>\boxed{3}</answer>", "3"),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_the_answer_is_the_last_box_or_else_the_answer_tag(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>\boxed{1}<Final_answer>" "\n" r"It is \boxed{2}." "\n</Final_answer>\n</think>", "2"),
        (r"<Final_answer>\boxed{1}</Final_answer> <Final_answer>\boxed{2", None),
        (r"<Final_answer>\boxed{1}</Final_answer> <Final_answer>\boxed{2}", "2"),
        (r"<Final_answer>\boxed{1}</Final_answer> \boxed{9}", "1"),
        (r"\boxed{9}<Final_answer> 42 </Final_answer></think>", "42"),
        (r"\boxed{9}<Final_answer>one" "\n" r"two</Final_answer></think>", None),
        (r"\boxed{9}<Final_answer>" + "word " * 100 + "</Final_answer>", None),
        (r"<think>\boxed{1}</think> so \boxed{2}", "2"),
        (r"<think>\boxed{1}</think> so 2", None),
        (r"<think>so \boxed{1}" "\n</think>\n", "1"),
    ],
)
def test_the_final_answer_goes_before_the_text_after_the_thought(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text_of",
    [
        lambda size: r"\boxed{" * size,
        lambda size: r"\boxed{" * (size // 2) + "}" * (size // 2),
        lambda size: r"\boxed{ }" * (size // 2),
        lambda size: r"\boxed " * (size // 2),
        lambda size: "\\" * size,
        lambda size: "<answer>" * (size // 2),
        lambda size: "<Final_answer>" * (size // 2),
    ],
    ids=["opened", "nested", "empty", "without braces", "backslashes", "answer tags", "final answer tags"],
)
def test_extraction_takes_linear_time_on_hostile_text(text_of: Callable[[int], str]) -> None:
    assert takes_linear_time(extract_answer, text_of, 200_000)


TAGS = ("<answer>", "</answer>", "<Final_answer>", "</Final_answer>", "</think>")
SIGNS = (r"\boxed", r"\boxed{", r"\frac", *"{}\\$ 5+=,()x\n", "make", "use")
FRAGMENTS = st.sampled_from(TAGS + SIGNS)
TEXTS = st.text() | st.lists(FRAGMENTS).map("".join)


@given(TEXTS)
def test_no_text_makes_the_readers_raise(text: str) -> None:
    extract_answer(text)
    check_countdown(text, [5, 55], 5)
    countdown_problem(text)


@given(st.text("abc123+^_ ", min_size=1).filter(str.strip), TEXTS)
def test_a_box_at_the_end_is_always_found(answer: str, before: str) -> None:
    text = before.replace("<", "").rstrip("\\") + rf" \boxed{{{answer}}}"
    found = extract_answer(text)
    assert found is not None
    assert found.endswith(answer.strip())


def test_verdicts_on_recorded_countdown_answers_agree_with_their_authors(shared_data: Path) -> None:
    for row in rows(shared_data / "countdown_traces_dev.jsonl"):
        problem, answer = countdown_problem(row["problem"]), extract_answer(row["response"])
        assert problem is not None
        verdict = check_countdown(answer or "", problem.numbers, problem.target)
        assert verdict.correct == (str(row["authors_correct"]) == "True"), (answer, verdict)


@pytest.mark.parametrize(
    "expression",
    [
        "(3 + 7) * 5",
        "(3+7)*5 = 50",
        "(3+7)*5 = 10*5 = 51",
        "5 * (3 + 7).",
        r"$\left(3 + 7\right) \times 5 = 50$",
        r"\( (3 + 7) \cdot 5 \)",
        r"\bigl[3 + 7\bigr] \cdot 5",
        "(3 + 7) \u00d7 5",
        "5 x (3 + 7)",
        r"\frac{5}{\dfrac{1}{3 + 7}}",
        "(7 \u2212 -3) \u00f7 (1/5)",
        "{3 + 7} * 5",
        "+5 * (3 + +7)",
        "5(3 + 7)",
        "(3 + 7)(5)",
        "`(3 + 7) X 5`",
        "(\uff13\uff0b\uff17) * 5",
    ],
)
def test_plain_and_latex_spellings_of_an_expression_have_one_value(expression: str) -> None:
    assert check_countdown(expression, [3, 7, 5], 50).value == 50


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(3 + 7) * 5", "makes 50"),
        ("(3 + 7) * 5 - 7", "uses 7 twice; is 43, not 50"),
        ("7 * 5", "leaves 3 unused; is 35, not 50"),
        ("(3 + 7) * 5 * 1", "uses 1, which is not given"),
        ("(3 + 7) / 5", "is 2, not 50"),
        ("3 / (7 * 5)", "is 3/35, not 50"),
        ("3 / (7 - 7)", "divides 3 by 0"),
        (r"\frac{3}{7 - 7}", "divides 3 by 0"),
        ("3 ^ 2", "cannot read '3 ^ 2': unexpected '^'"),
        ("3(7)", "leaves 5 unused; is 21, not 50"),
        ("3 7", "cannot read '3 7': unexpected '7'"),
        ("3 ** 7", "cannot read '3 ** 7': unexpected '*'"),
        ("3.5", "cannot read '3.5': unexpected '.'"),
        ("(3 + 7", "cannot read '(3 + 7': it ends too early"),
        ("(3 + 7] * 5", "cannot read '(3 + 7] * 5': unexpected ']'"),
        ("", "cannot read '': it ends too early"),
        ("abs(3)", "cannot read 'abs(3)': unexpected 'a'"),
        ("1+" * 300 + "1", "has 601 characters, over 500"),
    ],
)
def test_a_verdict_says_why(expression: str, reason: str) -> None:
    verdict = check_countdown(expression, [3, 7, 5], 50)
    assert (verdict.reason, verdict.correct) == (reason, reason == "makes 50")


@pytest.mark.parametrize("bracket", ["(", "-", "[", r"\frac{"])
def test_deep_nesting_is_refused_with_a_reason(bracket: str) -> None:
    verdict = check_countdown(bracket * 80 + "3", [3], 3)
    assert not verdict.correct
    assert "levels deep" in verdict.reason


def test_a_number_given_twice_is_used_twice() -> None:
    assert check_countdown("8 / (3 - 8 / 3)", [3, 3, 8, 8], 24) == Verdict(True, "makes 24", Fraction(24))
    assert check_countdown("8 * 3", [3, 3, 8, 8], 24).reason == "leaves 3, 8 unused"
    assert "uses 8 3 times, given twice" in check_countdown("8 + 8 + 8", [8, 8, 3], 24).reason


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("10 + 4 - (-3)", "makes 17"),
        ("10 + 4 - -3", "makes 17"),
        ("10 + 4 + 3", "uses 3, which is not given; leaves -3 unused"),
    ],
)
def test_a_negative_number_is_used_with_its_sign(expression: str, reason: str) -> None:
    assert check_countdown(expression, [-3, 10, 4], 17).reason == reason


SPELLED = {"+": "{} + {}", "-": "{}-{}", "*": r"{} \times {}", "/": r"\frac{{{}}}{{{}}}"}


def join(symbol: str, left: tuple[str, Fraction], right: tuple[str, Fraction]) -> tuple[str, Fraction]:
    a, b = left[1], right[1]
    if symbol == "/" and b == 0:
        symbol = "+"
    value = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[symbol]()
    return "(" + SPELLED[symbol].format(left[0], right[0]) + ")", value


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, list[int], Fraction]:
    numbers = draw(st.lists(st.integers(1, 99), min_size=1, max_size=6))
    parts = [(str(number), Fraction(number)) for number in numbers]
    while len(parts) > 1:
        left, right = parts.pop(draw(st.integers(0, len(parts) - 1))), parts.pop()
        parts.append(join(draw(st.sampled_from("+-*/")), left, right))
    return *parts[0], numbers  # type: ignore[return-value]


@settings(max_examples=200)
@given(expressions(), st.randoms(use_true_random=False))
def test_any_expression_is_correct_for_its_own_value_and_numbers_only(case: Any, random: Any) -> None:
    text, value, numbers = case
    shuffled = random.sample(numbers, len(numbers))
    verdict = check_countdown(text, shuffled, value)
    assert verdict == Verdict(True, f"makes {value}", value)
    assert not check_countdown(text, shuffled, value + 1).correct
    assert not check_countdown(text, [*shuffled, 100], value).correct
    assert not check_countdown(text, shuffled[1:], value).correct


@pytest.mark.parametrize(
    ("equation", "correct"),
    [
        ("(25-7)*3+12=66", True),
        ("66 = (25-7)*3+12", True),
        ("(25-7)*3+12 = 54+12 = 66", True),
        ("(25-7)*3+12 = 65", False),
        ("(25-7)*3 = 54+12 = 66", False),
        ("(25-7)*3+12 =", True),
        ("(25-7)*3+12 == 66", True),
        (r"(25-7)*3+12 = 66 \checkmark", True),
        ("(25-7)*3+12 = 66 (done)", True),
        ("x = 66", False),
    ],
)
def test_all_sides_of_an_equation_are_the_target(equation: str, correct: bool) -> None:
    assert check_countdown(equation, (3, 7, 12, 25), 66).correct == correct


@pytest.mark.parametrize(
    ("question", "numbers", "target"),
    [
        ("Use 3, 7, 12 and 25 to make 66", (3, 7, 12, 25), 66),
        ("Using the numbers [19, 36, 55, 7], create an equation that equals 65.", (19, 36, 55, 7), 65),
        ("Make 24 from 4 7 8 8", (4, 7, 8, 8), 24),
        ("Numbers: 3 7 12. Target: 50", (3, 7, 12), 50),
        ("Target: 50\nNumbers: 3, 7, 12", (3, 7, 12), 50),
        ("Can you reach 100 with 1, 2, 3, and 4?", (1, 2, 3, 4), 100),
        ("I have 3, 7 and 12. Make 50, using each number once.", (3, 7, 12), 50),
        ("Given [3, 7, 12], find an expression whose value is 1,050.", (3, 7, 12), 1050),
        ("Use 3, 7, 12 & 25 to make 66", (3, 7, 12, 25), 66),
        ("Use 3; 7; 12; 25 to make 66", (3, 7, 12, 25), 66),
        ("Use -3, 10 and 4 to make 17", (-3, 10, 4), 17),
        ("Use (\u22123), 10 and 4 to make 17", (-3, 10, 4), 17),
        ("Use 3, 7, 12 and 25 to make \u22125", (3, 7, 12, 25), -5),
        ("Use 1,000, 25 and 3 to make 40", (1000, 25, 3), 40),
        ("Use 1,000 and 25 to make 40", (1000, 25), 40),
        ("Use 1,234 and 2 to make 2,468", (1234, 2), 2468),
        ("Use 100,200 and 50 to make 350", (100, 200, 50), 350),
        ("Use 3,100,250 to make 353", (3, 100, 250), 353),
        ("Use $3$, $7$, and $12$ to make $50$.", (3, 7, 12), 50),
        ("nums = [3, 7, 12], target = 50", (3, 7, 12), 50),
        ("44, 19, 35, 2 -> 98", (44, 19, 35, 2), 98),
        ("Create 24 from 4, 6, 8, 2", (4, 6, 8, 2), 24),
        ("Play the 24 game with 4, 6, 8, 2", (4, 6, 8, 2), 24),
        ("Use \uff13, \uff17 and \uff14 to make \uff11\uff17", (3, 7, 4), 17),
        ("Countdown: 3 7 12 25 -> 66", (3, 7, 12, 25), 66),
    ],
)
def test_countdown_questions_are_read_in_many_wordings(question: str, numbers: tuple[int, ...], target: int) -> None:
    assert countdown_problem(question) == Problem(numbers, target)


@pytest.mark.parametrize(
    "question",
    [
        *("", "What is 3 + 7?", "Use 3 to make 66", "Numbers: 3, 7, 12", "Make 66", "Find $x$ with $x^2 = 3, 7, 12$."),
        "I have 2 and 3 dogs. How many do I get if I make 5 more?",
        "A shape with 4 and 5 sides has the value 6.",
    ],
)
def test_other_questions_are_not_countdown(question: str) -> None:
    assert countdown_problem(question) is None


def test_no_question_of_math500_is_countdown(shared_data: Path) -> None:
    assert not [row["problem"] for row in rows(shared_data / "math500.jsonl") if countdown_problem(row["problem"])]


@given(st.lists(st.integers(1, 99), min_size=2, max_size=6), st.integers(10, 100))
def test_our_own_questions_are_read_back(numbers: list[int], target: int) -> None:
    problem = Problem(tuple(numbers), target)
    assert countdown_problem(problem.question) == problem
