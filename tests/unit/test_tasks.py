"""Tasks: the same questions in every run, graded by the rules of the paper's appendix A.4."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sprint_sgl.config import compose_file, instantiate_target
from sprint_sgl.errors import BadInput
from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.storage.package_files import CONF
from sprint_sgl.tasks.base import Question, Task
from sprint_sgl.tasks.countdown.problem import combine_pair
from sprint_sgl.tasks.countdown.task import Countdown, read_problem
from sprint_sgl.tasks.gpqa import read_letter


def task(name: str, *overrides: str) -> Task:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made: Task = instantiate(compose(f"task/{name}", overrides=list(overrides)).task, _convert_="object")
    return made


@pytest.fixture
def gpqa_csv(tmp_path: Path) -> Path:
    """In the columns of the authors' file."""
    path = tmp_path / "gpqa_diamond.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        incorrect = [f"Incorrect Answer {k}" for k in (1, 2, 3)]
        writer.writerow(["Question", "Correct Answer", *incorrect, "High-level domain", "Extra"])
        for k in range(40):
            writer.writerow(
                [f"How many legs have {k} spiders?\nSay.", 8 * k, *(8 * k + n for n in (1, 2, 3)), "Biology", ""]
            )
    return path


def test_every_reference_solution_of_math500_is_right(shared_data: Path) -> None:
    path = shared_data / "math500.jsonl"
    math500 = task("math500", f"task.source.path={path}")
    solutions = {row["unique_id"]: row["solution"] for row in map(json.loads, path.open())}
    questions = list(math500.questions())
    assert len({question.id for question in questions}) == 500
    assert {question.group for question in questions} == set("12345")
    assert not [q.id for q in questions if not math500.grade(q, extract_answer(solutions[q.id]) or "").correct]


def test_gpqa_letters_stay_with_a_question_and_point_to_its_answer(gpqa_csv: Path) -> None:
    words = (f"task.source.path={gpqa_csv}",)
    questions = list(task("gpqa_diamond", *words).questions())
    assert questions == list(task("gpqa_diamond", *words).questions())
    for k, question in enumerate(questions):
        assert f"\n{question.gold}) {8 * k}\n" in question.text
        assert question.group == "Biology"
    letters = Counter(question.gold for question in questions)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) < 20
    other = list(task("gpqa_diamond", *words, "task.seed=1").questions())
    assert [question.id for question in other] == [question.id for question in questions]
    assert [question.gold for question in other] != [question.gold for question in questions]
    right = {"A": "B", "B": "C", "C": "D", "D": "A"}
    graded = task("gpqa_diamond", *words)
    assert graded.grade(questions[0], f"({questions[0].gold.lower()})").correct
    assert not graded.grade(questions[0], right[questions[0].gold]).correct
    assert not graded.grade(questions[0], "none of them").read


def test_gpqa_with_an_empty_field_is_refused(gpqa_csv: Path) -> None:
    lines = gpqa_csv.read_text()
    gpqa_csv.write_text(lines.replace(",40,41,42,43,Biology", ",40,41,,43,Biology"))
    with pytest.raises(BadInput, match="row 6: nothing in the column 'Incorrect Answer 2'"):
        list(task("gpqa_diamond", f"task.source.path={gpqa_csv}").questions())


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" (c) ", "C"),
        ("**D**", "D"),
        (r"\text{A}", "A"),
        ("Answer: B", "B"),
        ("The correct answer is (D).", "D"),
        ("A) 3 eV", "A"),
        ("B. Because", "B"),
        ("option C", "C"),
        ("A total of 3 isomers, so the answer is (C)", "C"),
        ("a decrease, i.e. option D", "D"),
        ("C is wrong, hence D", None),
        ("Not answer A; the answer: B", "B"),
        ("Apples", None),
        ("E", None),
        ("", None),
        ("AB", None),
        ("8", None),
        ("The answer is a matter of taste", None),
        ("Answer: A decrease in pressure", None),
        ("The answer is A because it is", "A"),
        ("the answer is (a)", "A"),
        ("THE ANSWER IS B", "B"),
        ("The answer is d", None),
        ("A) is wrong because it is a vector. The answer is C", "C"),
        ("(A) and (B) are excluded, so the answer is (D).", "D"),
        ("The correct option would be D", "D"),
        ("B is the answer", "B"),
        ("B (3 eV)", "B"),
        ("C, benzene", "C"),
        (r"\textbf{(C)}\ 12", "C"),
        (r"\text{C}", "C"),
        ("C - 12", "C"),
        ("(C) A reaction", "C"),
        ("A, B", None),
        ("(A) and (B)", None),
        ("B-cell", None),
        ("The answer is C. Option A is incorrect.", "C"),
        ("The answer is C, not option A", "C"),
        ("answer A is wrong", None),
        ("The answer is A and B", None),
        (r"\(B\)", "B"),
        ("B\n\nExplanation: it is a vector", "B"),
        ("I choose D", "D"),
    ],
)
def test_the_letter_that_an_answer_names(answer: str, letter: str | None) -> None:
    assert read_letter(answer) == letter


def test_countdown_problems_are_drawn_by_seed_and_checked_exactly() -> None:
    overrides = ("task.problems=20", "task.numbers=[3,4]")
    countdown = task("countdown", *overrides)
    questions = list(countdown.questions())
    assert questions == list(task("countdown", *overrides).questions())
    assert Counter(question.group for question in questions) == {"3 numbers": 20, "4 numbers": 20}
    assert not {q.id for q in questions} & {q.id for q in task("countdown", *overrides, "task.split=train").questions()}
    assert not {q.id for q in questions} & {q.id for q in task("countdown", *overrides, "task.seed=8").questions()}
    wrong = countdown.grade(questions[0], "1+1")
    assert (wrong.correct, wrong.read) == (False, True)
    assert not countdown.grade(questions[0], "no idea").read


def test_a_solution_of_countdown_is_right_in_any_wording() -> None:
    worded = Countdown(200, [2], 1, "held_out", wording="Reach {target} with {numbers}. Give one expression.")
    for question in islice(worded.questions(), 20):
        a, b = (int(word) for word in question.id.partition("=")[0].split("-"))
        high, low = max(a, b), min(a, b)
        sign = next(
            s
            for s, made in zip("+*-/", (high + low, high * low, high - low, high / low), strict=True)
            if made == int(question.gold)
        )
        assert int(question.gold) in combine_pair(a, b)
        assert worded.grade(question, f"{high}{sign}{low}").correct
        assert question.text == f"Reach {question.gold} with {a} and {b}. Give one expression."


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("7", True),
        ("x = 7", True),
        ("7 apples", True),
        ("about 7 apples", False),
        (r"\text{Evelyn}", False),
        ("I cannot say", False),
        (r"\forall imes", False),
        (r"\frac{1}{", False),
        ("", False),
    ],
)
def test_an_answer_that_cannot_be_read_whole_is_left_to_a_judge(answer: str, read: bool) -> None:
    grade = task("math500").grade(Question("1", "How much?", "5"), answer)
    assert (grade.correct, grade.read) == (False, read)


@pytest.mark.parametrize(
    "row",
    [
        {"nums": [3, 7, 12], "target": 50},
        {"nums": "[3, 7, 12]", "target": "50"},
        {"input": "3,7,12,50", "output": "ignored"},
        {"question": "Use 3, 7 and 12 to make 50", "answer": "50"},
    ],
)
def test_countdown_problems_of_a_file_are_checked_exactly(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    countdown = task("countdown", f"task.source.path={file}")
    first, second = countdown.questions()
    assert (first.text, first.id, second.id) == ("Use 3, 7 and 12 to make 50", "3-7-12=50", "3-7-12=50#2")
    assert not countdown.grade(first, "50").correct
    assert not countdown.grade(first, "12 * 3 + 7 + 7").correct


@pytest.mark.parametrize(
    "row", [{"nums": [3, 7, 12]}, {"numbers": [44, 19, 35], "goal_value": 98}, {"nums": [3, 7, 12], "target": "fifty"}]
)
def test_no_number_is_taken_for_a_target_that_is_not_there(row: dict[str, Any]) -> None:
    assert read_problem(row) is None


def test_a_row_without_a_countdown_problem_is_named(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text('{"nums": [3, 7], "target": 10}\n{"nums": [3.5, 7], "target": 10}\n')
    with pytest.raises(BadInput, match=r"row 2: no Countdown problem in .*a row has"):
        list(task("countdown", f"task.source.path={file}").questions())


def test_the_first_of_many_problems_come_at_once() -> None:
    """A thousand of five numbers would take minutes."""
    begun = time.monotonic()
    assert len(list(islice(task("countdown", "task.numbers=[5]").questions(), 2))) == 2
    assert time.monotonic() - begun < 20


def test_more_problems_than_there_are_is_one_clear_error() -> None:
    with pytest.raises(BadInput, match=r"task.problems=5000: only \d+ problems of 2 numbers were found"):
        list(task("countdown", "task.problems=5000", "task.numbers=2").questions())


def test_an_id_of_nought_is_an_id(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"question": "q", "answer": 1, "n": n}) + "\n" for n in (1, 0)))
    words = (f"task.source.path={path}", "task.columns.id=n", "task.columns.group=n")
    assert [(q.id, q.group) for q in task("jsonl", *words).questions()] == [("1", "1"), ("0", "0")]


def test_a_file_of_ones_own_needs_a_question_and_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"

    def own(*rows: dict[str, Any], overrides: tuple[str, ...] = ()) -> Task:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return task("jsonl", f"task.source.path={path}", *overrides)

    half = own({"question": "What is half of one?", "answer": 0.5}, {"question": "And of two?", "answer": 1})
    first, second = half.questions()
    assert (first.id, first.gold, second.id) == ("0", "0.5", "1")
    assert half.grade(first, r"\frac{1}{2}").correct
    assert not half.grade(first, "").read
    assert not half.grade(first, "well, " * 400).read
    with pytest.raises(BadInput, match="row 2: no answer"):
        list(own({"question": "a", "answer": "1"}, {"question": "b", "answer": ""}).questions())
    with pytest.raises(
        BadInput, match=r"no column 'problem' for task.columns.question; the rows have answer, question"
    ):
        list(own({"question": "a", "answer": "1"}, overrides=("task.columns.question=problem",)).questions())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.problems=0", "task.problems must be at least 1, got 0"),
        ("task.numbers=[]", r"task.numbers is empty: give sizes such as \[3,4\]"),
        ("task.problems=many", "task.problems must be at least 1, got 'many'"),
        ("task.numbers=[1]", r"task.numbers must be whole numbers from 2 to 5, such as \[3,4\], got 1"),
        ("task.numbers=[a]", "task.numbers must be whole numbers from 2 to 5, such as .*, got 'a'"),
        ("task.numbers=9", "task.numbers must be whole numbers from 2 to 5, such as .*, got 9"),
        ("task.split=test", "task.split must be one of held_out, train, got 'test'"),
        ("task.wording=hello", r"task.wording has no {numbers}: 'hello'"),
    ],
)
def test_settings_that_cannot_be_are_refused(override: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        task("countdown", override)


def test_an_unknown_key_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(BadInput, match="task has no key 'foo'; it has numbers, problems"):
        instantiate_target({**compose_file("task", "countdown"), "foo": 1}, "task")
