"""Answers out of model text, their comparison in a worker process, and exact Countdown checks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_sgl.answers import Verdict, check_countdown, countdown_problem, extract_answer, same_answer
from sprint_sgl.countdown import Problem
from tests.fakes.scaling import takes_linear_time

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
ENDLESS = "9^{9^{9^9}}"


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no shared/data/{name} beside the repository")
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    assert extract_answer(text) == answer.strip()


@pytest.mark.parametrize(
    ("given_answer", "gold"),
    [
        (r"\frac43", r"\dfrac{4}{3}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        ("$7$", "7"),
        ("1,000", r"1{,}000"),
        (r"12,\! 345", "12345"),
        ("120", r"120^\circ"),
        (r"25\%", "25"),
        (r"\$18", "18"),
        (r"\text{C}", r"\text{(C)}"),
        (r"\text{Even}", "even"),
        ("0.5", r"50\%"),
        ("5 cm", r"5\text{ cm}"),
        ("1/2", r"\frac{1}{2}"),
        ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
        ("pi/2", r"\frac{\pi}{2}"),
        ("x = 4", "4"),
        ("(x+1)(x+3)", "x^2+4x+3"),
        ("2, 1", "1, 2"),
        (r"-\sqrt{2}, \sqrt{2}", r"\pm\sqrt{2}"),
        ("x < 3", r"(-\infty, 3)"),
        ("The answer is 5.", "5"),
    ],
)
def test_the_same_value_in_another_form_is_the_same_answer(given_answer: str, gold: str) -> None:
    assert same_answer(given_answer, gold)


@pytest.mark.parametrize(
    ("given_answer", "gold"),
    [
        ("5", "6"),
        ("(2, 1)", "(1, 2)"),
        ("[0, 1)", "(0, 1)"),
        ("32, 349", "32349"),
        ("1 2", "12"),
        ("x + 3", "y + 3"),
        ("0.33", r"\frac{1}{3}"),
        ("2, 3", "3"),
        ("", "5"),
        ("", ""),
    ],
)
def test_another_value_is_another_answer(given_answer: str, gold: str) -> None:
    assert not same_answer(given_answer, gold)


def within(limit: float, act: Callable[[], object]) -> bool:
    start = time.monotonic()
    act()
    return time.monotonic() - start < limit


def test_a_late_comparison_counts_as_different_and_the_next_one_works() -> None:
    assert same_answer("2/4", "1/2")
    verdicts: list[bool] = []
    assert within(60.0, lambda: verdicts.append(same_answer(ENDLESS, "7", time_limit=0.3)))
    assert verdicts == [False]
    assert same_answer("2/4", "1/2")


def test_equal_texts_need_no_comparison() -> None:
    assert same_answer(ENDLESS, f"${ENDLESS}$", time_limit=0.001)


def test_threads_take_turns_and_each_gets_its_own_verdict() -> None:
    verdicts: dict[int, bool] = {}

    def compare(n: int) -> None:
        verdicts[n] = same_answer(f"{2 * n}/2", "3")

    threads = [threading.Thread(target=compare, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert verdicts == {n: n == 3 for n in range(8)}


def test_a_forked_child_compares_with_a_worker_of_its_own() -> None:
    assert same_answer("2/4", "1/2")
    child = os.fork()
    if child == 0:
        os._exit(0 if same_answer("3/6", "1/2") and not same_answer("3/6", "1/3") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same_answer("4/8", "1/2")


PARENT = """
import sys, threading, time
from sprint_sgl.answers import same_answer
from sprint_sgl.grading_worker import WORKER
same_answer("2/4", "1/2")
if sys.argv[1] == "busy":
    threading.Thread(target=same_answer, args=("9^{9^{9^9}}", "7", 0.5)).start()
    time.sleep(0.2)
print(WORKER._process.pid, flush=True)
if sys.argv[1] != "leave":
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("state", ["idle", "busy", "leave"])
def test_the_worker_ends_when_its_parent_is_killed_or_leaves(state: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if state != "leave":
        parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def test_every_solution_of_math500_has_its_own_answer_in_its_box() -> None:
    wrong = [
        (found, row["answer"])
        for row in rows("math500.jsonl")
        if (found := extract_answer(row["solution"])) is None or not same_answer(found, row["answer"])
    ]
    assert not wrong


def test_verdicts_agree_with_other_graders_on_97_of_100_pairs() -> None:
    pairs = rows("grader_pairs_dev.jsonl")[::3]
    agreed = sum(same_answer(pair["pred"], pair["gold"]) == pair["equal"] for pair in pairs)
    assert agreed >= 0.97 * len(pairs)


def test_verdicts_on_recorded_countdown_answers_agree_with_their_authors() -> None:
    for row in rows("countdown_traces_dev.jsonl"):
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
        ("3(7)", "cannot read '3(7)': unexpected '('"),
        ("3 7", "cannot read '3 7': unexpected '7'"),
        ("3 ** 7", "cannot read '3 ** 7': unexpected '*'"),
        ("3.5", "cannot read '3.5': unexpected '.'"),
        ("(3 + 7", "cannot read '(3 + 7': it ends too early"),
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


def test_no_question_of_math500_is_countdown() -> None:
    assert not [row["problem"] for row in rows("math500.jsonl") if countdown_problem(row["problem"])]


@given(st.lists(st.integers(1, 99), min_size=2, max_size=6), st.integers(10, 100))
def test_our_own_questions_are_read_back(numbers: list[int], target: int) -> None:
    problem = Problem(tuple(numbers), target)
    assert countdown_problem(problem.question) == problem
