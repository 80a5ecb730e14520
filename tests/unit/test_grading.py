"""Two answers are the same only if both were read whole and mean the same; worker processes compare them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.near_misses import near_misses
from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import WORKERS, compare, same_answer
from tests.fakes.rows import rows

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = "9^{9^{9^9}}"


SAME = [
    (r"\frac43", r"\dfrac{4}{3}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
    ("$7$", "7"),
    ("**42**", "42"),
    ("1,000", r"1{,}000"),
    (r"12,\! 345", "12345"),
    ("1 000", "1000"),
    ("$9{,}500", "9500"),
    ("3,14", "3.14"),
    (r"25\%", "25"),
    ("0.5", r"50\%"),
    (r"\$18", "18"),
    ("10^-2", "0.01"),
    ("10^-2", "10^{-2}"),
    ("1e-3", "0.001"),
    ("x^10", "x^{10}"),
    ("1 1/2", "3/2"),
    ("1 1/2", "1.5"),
    (r"137 \frac{1}{2}", "275/2"),
    (r"0.\overline{3}", r"\frac13"),
    (r"0.1\overline{6}", r"\frac16"),
    ("½", r"\frac12"),
    ("413_5", r"413_{5}"),
    ("413 (base 5)", "413_5"),
    ("1/2", r"\frac{1}{2}"),
    ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
    ("0.57735", r"\frac{1}{\sqrt{3}}"),
    ("2^{100}", "1267650600228229401496703205376"),
    ("pi/2", r"\frac{\pi}{2}"),
    (r"1+\frac1{\mathrm e}", r"1 + e^{-1}"),
    (r"\sin(30^\circ)", "1/2"),
    ("sin(x)", r"\sin x"),
    ("ln(2)", r"\ln 2"),
    (r"\cos^2 x", r"1 - \sin^2 x"),
    ("i(2-i)", "1+2i"),
    ("9c+6", "6+9c"),
    ("6t-5", "-5+6t"),
    ("(x+1)(x+3)", "x^2+4x+3"),
    ("x²+1", "x^2+1"),
    (r"\binom{5}{2}", "10"),
    ("x = 4", "4"),
    ("y = 2x + 3", "2x - y + 3 = 0"),
    ("x = 6/4 = 3/2", r"\frac{3}{2}"),
    ("f(t) = t^2", "f(x) = x^2"),
    ("2, 1", "1, 2"),
    ("6 and 8", r"6 \text{ and } 8"),
    (r"-\sqrt{2}, \sqrt{2}", r"\pm\sqrt{2}"),
    (r"x = -5,\ p = \frac{14}{3}", r"-5, \frac{14}{3}"),
    (r"\{1, 1, 2\}", r"\{2, 1\}"),
    (r"\emptyset", r"\varnothing"),
    ("(0, ∞)", r"(0,\infty)"),
    ("x < 3", r"(-\infty, 3)"),
    (r"-2 \le x \le 7", r"x \in [-2,7]"),
    (r"(2,3) \cup (0,1)", r"(0,1) \cup (2,3)"),
    (r"\begin{bmatrix} 1/2 \\ 3 \end{bmatrix}", r"\begin{pmatrix} 0.5 \\ 3 \end{pmatrix}"),
    (r"\sum_{k=1}^{4} k", "10"),
    ("1,3,5,…,2n-1", r"1, 3, 5, \ldots, 2n-1"),
    (r"\text{Even}", "even"),
    ("True", "true"),
    (r"\text{C}", r"\text{(C)}"),
    ("120", r"120^\circ"),
    (r"\frac{\pi}{6}", r"30^\circ"),
    ("5 cm", r"5\text{ cm}"),
    ("10 cm^2", "10"),
    ("50 km/h", "50"),
    ("5 min", "5"),
    (r"45\text{ sec}", "45"),
    ("60 sec", "1 minute"),
    ("864 square inches", r"864 \mbox{ inches}^2"),
    ("5 km", "5000 m"),
    ("The answer is 5.", "5"),
    ("The least $n$ is 34.", "34"),
    (r"f(2) < f(1)", r"f(1) > f(2)"),
    ("xe^x-e^x", "(x-1)e^x"),
    (r"1+\sin 20^\circ", r"\sin 20^\circ+1"),
    (r"\sin 30^\circ", r"\frac12"),
    (r"\sqrt[3]{-8}", "-2"),
    ("2sqrt(5)", r"2\sqrt5"),
    ("log10(100)", "2"),
    (r"2\frac{-1\pm\sqrt{13}}4", r"\frac{-1\pm\sqrt{13}}2"),
    ("m+n = 8+25 = 33", "33"),
    (r"f^{-1}(x)=\frac{x-1}2", r"\frac{x-1}2"),
    ("x = 52_8", "52_8"),
    ("|x|<3", "(-3,3)"),
    ("5 dozens", "60"),
    ("50 cents", r"\$0.50"),
    (r"5^\circ C", "5"),
    ("3:30 pm", "3:30 PM"),
    (r"\color{red}{\sqrt{51}}", r"\sqrt{51}"),
    (r"{1 \over 2}", "1/2"),
    (r"\sqrt2 \approx 1.414", r"\sqrt2"),
    ("Therefore, $x = 5$", "5"),
    ("$n = 5$ is the answer.", "5"),
    (r"The answer is $\text{Evelyn}$.", r"\text{Evelyn}"),
    ("The answer is 12 because the base is 3", "12"),
    ("**Final Answer:** $5$", "5"),
]

DIFFERENT = [
    ("5", "6"),
    ("4", "4t"),
    ("x+5", "x+5c"),
    (r"5\mathrm k", "5"),
    (r"7\mathrm x", r"7\mathrm y"),
    ("x + 3", "y + 3"),
    ("3R^2", "3r^2"),
    (r"7\pi", "7"),
    ("413_5", "413_6"),
    ("413", "413_5"),
    ("10^-2", "10^-3"),
    ("10^-2", "10"),
    ("1 1/2", "1"),
    ("1 1/2", "1 3/4"),
    (r"1+\frac1{\mathrm e}", r"1-\frac1{\mathrm e}"),
    ("1/2006!", "1/2004!"),
    ("2^{100}", "1267650600228229401496703205377"),
    ("0.33", r"\frac{1}{3}"),
    ("3.1415926", "3.1415927"),
    (r"1,3,5,\ldots,2n-1", r"1,2,\ldots,n"),
    ("(2, 1)", "(1, 2)"),
    ("[0, 1)", "(0, 1)"),
    ("(2,12)", "[2,12)"),
    ("32, 349", "32349"),
    ("2, 3", "3"),
    (r"\pm 3", "3"),
    ("x = 5", "y = 5"),
    ("x = 5", "5x = 1"),
    ("x < 3", r"x \le 3"),
    ("x < 3", r"(3, \infty)"),
    ("12:00", "1:00"),
    ("no", r"\text{yes}"),
    (r"5\text{ km}", r"5\text{ m}"),
    ("5 apples", "5 oranges"),
    (r"30\%", r"30^\circ"),
    ("xy^2", "x^2y^2"),
    ("kn!", "(kn)!"),
    (r"\cos 20^\circ", r"\cos 20"),
    ("|x|<3", r"(-\infty,3)"),
    ("2mg", "2"),
    ("2 sec x", "2"),
    ("0.333334", "1/3"),
    ("58,500", "500, 58"),
    ("(3,14)", "3.14"),
    ("The value of $x$ is 5 and that of $y$ is 3", "3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
]

UNDECIDED = [
    (r"[-\infty,2]", r"(-\infty,2]"),  # no interval of numbers includes infinity
    ("2, 4", "(2, 4)"),
    (r"\log 100", "2"),  # of which base?
    (r"\sqrt{x^2}", "x"),  # for positive x only
    ("1 2", "12"),
    ("5 or maybe 6", "6"),
    ("It is not 5", "5"),
    ("five", "5"),
    ("negative 5", "5"),
    ("the square root of 5", "5"),
    ("all multiples of 5", "5"),
    ("May 5", "June 5"),
    ("It could be 5", "5"),
    ("Suppose x is 5", "5"),
    (r"\operatorname{foo}(5)", "5"),
    ("x^2<4", r"(-\infty,4)"),
    ("x>1 and x<3", "x>1 or x<3"),
    (r"\frac12 mg", r"\frac12"),
    ("5 thirds", "5"),
    ("5 factorial", "5"),
    ("y = 1, x = 2", "1, 2"),
    (r"\sin \pi/6", "0"),
    (r"\sqrt23", r"\sqrt{23}"),
    (r"\textbf{(C)}\ 12", "12C"),
    ("1 hour and 30 minutes", "90 minutes"),
    ("5!!", "15"),
    (r"1 + 2 + \ldots + n", r"2 + 1 + \ldots + n + 0"),
    (r"x \parallel y", "x"),
    (r"\frac{1}{", "1"),
    ("1/0", "1"),
    ("", "5"),
    ("", ""),
]


@pytest.mark.parametrize(
    ("given_answer", "gold", "match"),
    [
        *((*pair, Match.SAME) for pair in SAME),
        *((*pair, Match.DIFFERENT) for pair in DIFFERENT),
        *((*pair, Match.UNDECIDED) for pair in UNDECIDED),
    ],
)
def test_two_answers_are_compared_by_all_that_they_say(given_answer: str, gold: str, match: Match) -> None:
    found = compare(given_answer, gold, time_limit=60)
    assert found.match is match, found.reason
    assert compare(gold, given_answer, time_limit=60).match is match


KEEPS_ITS_VALUE = {("0", "-0"), ("0", "0t"), (r"(-\infty, 0]", r"(-\infty, 0t]")}
GOLDS = [
    "204_5",
    r"15\mbox{ cm}^2",
    r"\frac{14}{3}",
    r"1\frac{4}{5}",
    "6r^2-4r-24",
    r"\left(\frac{3}{5},\frac{8}{3}\right]",
    "y = 2x + 3",
    r"\{1\pm\sqrt{5},-2\}",
    r"(-\infty, 0]",
    r"11,\! 111,\! 100",
    r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
    "3R^2",
]


@pytest.mark.parametrize("gold", GOLDS)
def test_an_answer_that_misses_by_a_little_is_not_right(gold: str) -> None:
    right = [
        other
        for _, other in near_misses(gold)
        if (gold, other) not in KEEPS_ITS_VALUE and same_answer(other, gold, time_limit=60)
    ]
    assert not right


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GOLDS), st.text(r"\{}()[]$^_,.+-*/=<>|!%0123456789abexi ", max_size=12))
def test_no_text_raises_and_every_undecided_one_has_a_reason(gold: str, given_answer: str) -> None:
    found = compare(given_answer, gold)
    assert (found.match is Match.UNDECIDED) == bool(found.reason)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (r"so it is $-\boxed{5}$", "-5"),
        (r"which gives $x=-\boxed{5}$", "-5"),
        (r"the result is -\boxed{5}", "-5"),
        (r"\(\boxed{1}\) and \(\boxed{-2}\)", "-2, 1"),
        (r"\boxed{1} papers and \boxed{2} bins", "1,2"),
        (r"$\boxed{2}, \boxed{3}, \boxed{5}$", "2,3,5"),
        (r"\boxed{1}. So then, \boxed{2}", "2"),
        (r"\boxed{$9{,}500}", "9500"),
        (r"\boxed{**42**}", "42"),
        (r"$\pm\boxed{2}$", "2, -2"),
        (r"$\boxed{5}\pi$", r"5\pi"),
        ("The solutions are\n- \\boxed{3}\n- \\boxed{5}", "3, 5"),
        (r"\boxed{3}. Let me double check that the final answer is correct.", "3"),
        ("Answer: \\boxed{5}\n\nFinal answer: 6", "6"),
        ("I add them.\n#### 18", "18"),
    ],
)
def test_the_boxes_of_one_answer_are_read_together_with_the_sign_before_them(text: str, gold: str) -> None:
    found = extract_answer(text)
    assert found
    assert same_answer(found, gold)


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


def test_threads_get_each_its_own_verdict() -> None:
    verdicts: dict[int, bool] = {}

    def decide(n: int) -> None:
        verdicts[n] = same_answer(f"{2 * n}/2", "3")

    threads = [threading.Thread(target=decide, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert verdicts == {n: n == 3 for n in range(8)}


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core, one worker")
def test_a_slow_comparison_does_not_hold_up_another() -> None:
    slow = threading.Thread(target=same_answer, args=(ENDLESS, "7", 600))
    slow.start()
    time.sleep(0.1)
    assert same_answer("2/4", "1/2")
    assert slow.is_alive()
    WORKERS.kill()
    slow.join(60)
    assert not slow.is_alive()


def test_a_forked_child_compares_with_a_worker_of_its_own() -> None:
    assert same_answer("2/4", "1/2")
    child = os.fork()
    if child == 0:
        os._exit(0 if same_answer("3/6", "1/2") and not same_answer("3/6", "1/3") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same_answer("4/8", "1/2")


PARENT = """
import sys, threading, time
from sprint_sgl.grading.worker import WORKERS, same_answer
same_answer("2/4", "1/2")
if sys.argv[1] == "busy":
    threading.Thread(target=same_answer, args=("9^{9^{9^9}}", "7", 0.5)).start()
    time.sleep(0.2)
print(WORKERS._workers[0]._process.pid, flush=True)
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


def test_every_solution_of_math500_has_its_own_answer_in_its_box(shared_data: Path) -> None:
    wrong = [
        (found, row["answer"])
        for row in rows(shared_data / "math500.jsonl")
        if (found := extract_answer(row["solution"])) is None or not same_answer(found, row["answer"])
    ]
    assert not wrong


def test_verdicts_agree_with_other_graders_on_92_of_100_pairs(shared_data: Path) -> None:
    pairs = rows(shared_data / "grader_pairs_dev.jsonl")[::3]
    agreed = sum(same_answer(pair["pred"], pair["gold"]) == pair["equal"] for pair in pairs)
    assert agreed >= 0.92 * len(pairs)
