"""Benchmark runs: what is asked, kept, asked again and compared; the statistics behind the figures."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sprint_sgl.bench.config import BenchConfig, check_config
from sprint_sgl.bench.failures import QuestionFailure, drop_answered, read_failures, write_failures
from sprint_sgl.bench.judging import add_verdicts, ask_judge
from sprint_sgl.bench.records import Record, read_records, truncate_partial_line
from sprint_sgl.bench.report.figures import MethodComparison, MethodFigures, MethodRecords
from sprint_sgl.bench.report.statistics import mcnemar, mean, paired_p, ratio_of_means, share
from sprint_sgl.bench.report.tables import comparison_tables
from sprint_sgl.bench.resume import claim_folder, earlier_failures, earlier_records, read_earlier_run
from sprint_sgl.bench.run import read_methods, read_questions
from sprint_sgl.bench.runner import QuestionSample, Workload, run_workload, sample_seed
from sprint_sgl.config import flatten_settings
from sprint_sgl.errors import BadInput, RequestFailed, RuntimeUnavailable
from sprint_sgl.lang.registry import Method, method_names, named_method
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.trajectory import Call, Trajectory
from tests.fakes.scripted import ScriptedBackend

QUESTIONS = [Question(str(k), f"How much is {k}?", str(k), "odd" if k % 2 else "even") for k in range(7)]


class Doubles:
    """A task whose right answer is the number in the question."""

    def questions(self) -> Iterator[Question]:
        yield from QUESTIONS

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(answer == question.gold, read=bool(answer))


class Runtime:
    """A scripted runtime that can be gone."""

    def __init__(self, script: Callable[[str], str], revivals: int = 3) -> None:
        self.backend, self.up, self.revivals, self.loaded = ScriptedBackend(script), True, revivals, list[str]()

    def load(self, model: str) -> ScriptedBackend:
        if not self.up:
            raise RequestFailed("nothing answers")
        self.loaded.append(model)
        return self.backend

    def is_lost(self) -> bool:
        return not self.up

    def revive(self) -> None:
        if not self.revivals:
            raise RuntimeUnavailable("dead")
        self.revivals -= 1
        self.up = True

    def close(self) -> None: ...


def knows(context: str) -> str:
    """The number in the question, in a box."""
    number = context.partition("How much is ")[2].partition("?")[0]
    return rf"easy</think>\boxed{{{number}}}"


def work(*methods: str, samples: int = 1, **options: object) -> Workload:
    found = [named_method(name) for name in methods or ("sequential",)]
    asks = [QuestionSample(question, sample) for question in QUESTIONS for sample in range(samples)]
    return Workload(Doubles(), found, lambda name: f"weights of {name}", asks, **options)  # type: ignore[arg-type]


def keys(records: list[Record]) -> set[tuple[str, str, int]]:
    return {record.key for record in records}


def test_methods_take_turns_block_by_block() -> None:
    runtime, records = Runtime(knows), list[Record]()
    failures = run_workload(work("sequential", "base", block=3), runtime, set(), records.append)  # type: ignore[arg-type]
    assert failures == []
    assert runtime.loaded == ["weights of sequential", "weights of base"] * 3
    assert [record.method for record in records] == ["sequential"] * 3 + ["base"] * 3 + ["sequential"] * 3 + [
        "base"
    ] * 3 + ["sequential", "base"]
    assert all(record.correct for record in records)
    assert len(keys(records)) == 14


def test_what_is_done_is_not_asked_again() -> None:
    runtime, records = Runtime(knows), list[Record]()
    run_workload(work(samples=2), runtime, {("sequential", "3", 1), ("sequential", "0", 0)}, records.append)  # type: ignore[arg-type]
    assert len(records) == 12
    assert not {("sequential", "3", 1), ("sequential", "0", 0)} & keys(records)


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_questions_are_asked_again_when_a_runtime_comes_back() -> None:
    runtime, records = Runtime(knows), list[Record]()

    def dies_once(context: str) -> str:
        if "is 4?" in context and runtime.revivals == 3:
            runtime.up = False
            raise RequestFailed("the connection broke")
        return knows(context)

    runtime.backend.script = dies_once
    assert run_workload(work(concurrency=3), runtime, set(), records.append) == []  # type: ignore[arg-type]
    assert keys(records) == {("sequential", str(k), 0) for k in range(7)}
    assert len(records) == 7


def test_a_runtime_that_died_between_two_blocks_comes_back() -> None:
    runtime, records = Runtime(knows), list[Record]()

    def keep(record: Record) -> None:
        records.append(record)
        runtime.up = len(records) != 3

    assert run_workload(work(block=3), runtime, set(), keep) == []  # type: ignore[arg-type]
    assert len(keys(records)) == len(records) == 7


def test_records_without_their_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("{}\n")
    with pytest.raises(BadInput, match=r"holds records.jsonl without run.json"):
        read_earlier_run(tmp_path)


def test_what_no_question_can_change_ends_the_run_at_once() -> None:
    runtime, records = Runtime(knows), list[Record]()
    with pytest.raises(BadInput, match="temperature must be a number, at least 0, got -1"):
        run_workload(replace(work(), temperature=-1), runtime, set(), records.append)  # type: ignore[arg-type]
    assert records == []


def test_a_record_of_another_question_under_the_same_id_is_refused() -> None:
    records = list[Record]()
    run_workload(work(), Runtime(knows), set(), records.append)  # type: ignore[arg-type]
    assert earlier_records(records, work(), Path("out")) == records
    assert earlier_records(records, work("base"), Path("out")) == []
    with pytest.raises(BadInput, match="records of another question '3'"):
        earlier_records([replace(each, gold="7") if each.id == "3" else each for each in records], work(), Path("out"))


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_runtime_that_stays_dead_ends_the_run_and_loses_nothing() -> None:
    runtime, records = Runtime(knows, revivals=0), list[Record]()

    def dies(context: str) -> str:
        if "is 4?" in context:
            runtime.up = False
            raise RequestFailed("the connection broke")
        return knows(context)

    runtime.backend.script = dies
    with pytest.raises(RuntimeUnavailable):
        run_workload(work(), runtime, set(), records.append)  # type: ignore[arg-type]
    assert {record.id for record in records} == set("012356")


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_question_that_fails_on_a_runtime_that_lives_is_a_failure_and_no_record() -> None:
    runtime, records = Runtime(knows), list[Record]()

    def refuses(context: str) -> str:
        if "is 4?" in context:
            raise RequestFailed("too long")
        return knows(context)

    runtime.backend.script = refuses
    (failure,) = run_workload(work(), runtime, set(), records.append)  # type: ignore[arg-type]
    assert (failure.method, failure.id, failure.sample) == ("sequential", "4", 0)
    assert "too long" in failure.error
    assert len(records) == 6


def test_a_judge_is_asked_once_and_only_about_answers_that_rules_cannot_read(tmp_path: Path) -> None:
    asked: list[str] = []

    class Picky:
        model = "picky"

        def __call__(self, question: Question, answer: str) -> bool | None:
            asked.append(question.id)
            if question.id == "3" and len(asked) < 3:
                raise RequestFailed("busy")
            return {"2": True, "3": None}[question.id]

    unread = [replace(record(id), correct=False, read=False) for id in "234"]
    unread[0] = replace(unread[0], trajectory=replace(unread[0].trajectory, final_answer="two"))
    unread[1] = replace(unread[1], trajectory=replace(unread[1].trajectory, thought="three?"))
    records, path = [record("1"), *unread], tmp_path / "judged.jsonl"
    with pytest.raises(RequestFailed, match="busy"):
        ask_judge(records, Picky(), path)
    for _ in range(2):
        ask_judge(records, Picky(), path)
    assert sorted(asked) == ["2", "3", "3"]  # an empty text needs no judge, and what is kept no second asking
    assert [each.judged for each in add_verdicts(records, path)] == [None, True, None, False]
    (table,) = comparison_tables(add_verdicts(records, path), ["sprint"])
    cells = {column.header: list(column.cells) for column in table.columns}
    assert (cells["correct, %"][0].partition(" ")[0], cells["with the\njudge, %"]) == ("25.0", ["50.0"])


def test_samples_have_seeds_of_their_own_whatever_the_order() -> None:
    asks = [QuestionSample(question, sample) for question in QUESTIONS for sample in range(3)]
    seeds = [sample_seed(1, ask) for ask in asks]
    assert len(set(seeds)) == len(asks)
    assert seeds == [sample_seed(1, ask) for ask in reversed(asks)][::-1]
    assert {sample_seed(None, ask) for ask in asks} == {None}


def record(id: str, method: str = "sprint", correct: bool = True, tokens: int = 10, group: str = "g") -> Record:
    trajectory = Trajectory(
        "q", answer_calls=(Call(completion_tokens=tokens),), launch="sequential", seconds=tokens / 10
    )
    return Record(method, id, 0, group, "q", "1", "1", correct, "", True, trajectory)


def test_records_read_back_and_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    whole = [replace(record("1"), answer="a\u2028b\x85"), record("2", correct=False)]
    path.write_text("".join(each.to_json() + "\n" for each in whole) + '{"method": "spr\u00e4')
    before = path.read_bytes()
    assert read_records(path) == whole
    assert path.read_bytes() == before  # who reads does not write
    truncate_partial_line(path)
    assert read_records(path) == whole
    assert path.read_text().endswith("}\n")
    path.write_text("{}\n")
    with pytest.raises(BadInput, match="line 1 is not a record"):
        read_records(path)
    assert read_records(tmp_path / "nothing.jsonl") == []


def settings(**options: object) -> BenchConfig:
    config = BenchConfig(task={"problems": 3, "seed": 7}, program={}, model="countdown-mini-rft")
    return replace(config, **options)  # type: ignore[arg-type]


def test_a_folder_holds_records_made_in_one_way(tmp_path: Path) -> None:
    methods = [named_method("sequential")]
    claim_folder(tmp_path, settings(), [named_method("sprint")])  # which has left no record
    assert claim_folder(tmp_path, settings(), methods) == {"sequential"}
    (tmp_path / "records.jsonl").write_text(record("1").to_json() + "\n")
    claim_folder(
        tmp_path, settings(limit=5, samples=2, task={"problems": 30, "seed": 7}), [*methods, named_method("base")]
    )
    with pytest.raises(BadInput, match=r"records of task.seed=7, not 8: choose another out=FOLDER"):
        claim_folder(tmp_path, settings(task={"problems": 3, "seed": 8}), methods)
    with pytest.raises(BadInput, match=r"records of temperature=null, not 0.0"):
        claim_folder(tmp_path, settings(temperature=0.0), methods)
    with pytest.raises(BadInput, match="records of other weights for sequential"):
        claim_folder(tmp_path, settings(model="countdown-mini-sprint"), methods)
    claim_folder(tmp_path, settings(task={"problems": 3, "seed": [7]}), methods)  # a list of one is that one
    claim_folder(tmp_path, settings(), methods)  # whoever was there stays known
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["methods"]["sequential"]["settings"]["name"] == "sequential"
    assert kept["methods"]["base"]["weights"]["model.safetensors"]
    assert len(kept["starts"]) == 4
    assert kept["starts"][0]["versions"]["sglang"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"settings": []}'])
def test_a_damaged_account_of_a_run_is_one_clear_error(tmp_path: Path, content: str) -> None:
    methods = [named_method("sequential")]
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "records.jsonl").touch()
    claim_folder(tmp_path, settings(), methods)  # nothing depends on it
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "records.jsonl").write_text(record("1").to_json() + "\n")
    with pytest.raises(BadInput, match=r"run\.json is damaged and does not say how the records were made"):
        claim_folder(tmp_path, settings(), methods)


def test_what_could_not_be_asked_stays_known_until_it_is_answered(tmp_path: Path) -> None:
    ours = [QuestionFailure("sequential", id, 0, "too long") for id in "12"]
    others = [QuestionFailure("base", "1", 0, "gone"), QuestionFailure("sequential", "x", 0, "of a longer run")]
    write_failures(tmp_path / "failures.jsonl", [*ours, *others])
    assert earlier_failures(tmp_path, work(), {"sequential", "base"}) == others
    assert earlier_failures(tmp_path, work(), {"sequential"}) == others[1:]
    assert drop_answered(ours, [record("2", "sequential")]) == ours[:1]
    with pytest.raises(TypeError):  # where writing ends early, what was known stays
        write_failures(tmp_path / "failures.jsonl", [*ours, QuestionFailure("base", "2", 0, object())])  # type: ignore[arg-type]
    assert read_failures(tmp_path / "failures.jsonl") == [*ours, *others]
    write_failures(tmp_path / "failures.jsonl", [])
    assert not list(tmp_path.iterdir())


def test_questions_that_no_program_takes_are_named_before_anything_starts() -> None:
    class Odd(Doubles):
        def __init__(self, text: str) -> None:
            self.text = text

        def questions(self) -> Iterator[Question]:
            yield from (QUESTIONS[0], replace(QUESTIONS[1], text=self.text))

    for text in (" ", "x" * 200_000, "\ud800"):
        with pytest.raises(BadInput, match="question 2 of the task, '1': "):
            read_questions(Odd(text), None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", math.nan),
        ("temperature", -1.0),
        ("time_limit", math.nan),
        ("time_limit", math.inf),
        ("max_new_tokens", 0),
        ("max_new_tokens", 10**20),
        ("block", True),
    ],
)
def test_numbers_that_mean_nothing_are_refused(key: str, value: float) -> None:
    with pytest.raises(BadInput, match=f"{key} must be"):
        check_config(settings(**{key: value}))


def test_other_programs_may_be_named_without_brackets() -> None:
    config = settings(program=dict(named_method("sprint").settings), against="sequential,base")
    assert [method.name for method in read_methods(config)] == ["sprint", "sequential", "base"]


def test_settings_are_compared_by_their_dotted_keys() -> None:
    assert flatten_settings({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}


def test_two_questions_of_one_id_or_none_are_refused() -> None:
    class Twice(Doubles):
        def questions(self) -> Iterator[Question]:
            yield from (QUESTIONS[0], QUESTIONS[0])

    with pytest.raises(BadInput, match="two questions have the id '0'"):
        read_questions(Twice(), None)
    assert read_questions(Twice(), 1) == QUESTIONS[:1]
    with pytest.raises(BadInput, match="no questions"):
        read_questions(Twice(), 0)


@pytest.mark.parametrize("name", method_names())
def test_every_program_file_names_itself_and_binds(name: str) -> None:
    method: Method = named_method(name)
    assert method.name == name
    assert set(method.program.bind_arguments) == set(method.settings) - {"name", "temperature", "_target_"}


def test_an_interval_holds_the_true_mean_in_95_of_100_cases() -> None:
    rng = random.Random(5)
    held = 0
    for seed in range(200):
        found = mean([float(rng.random() < 0.7) for _ in range(80)], seed)
        held += found.low <= 0.7 <= found.high
    assert 180 <= held <= 199


def test_a_share_of_none_or_all_has_an_interval_too() -> None:
    none, all_right = share([0.0] * 500), share([1.0] * 20)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 500)))
    assert (all_right.value, all_right.low, all_right.high) == pytest.approx((1, 0.025 ** (1 / 20), 1))
    assert share([0.0, 0.5, 1.0]) == mean([0.0, 0.5, 1.0])


def test_intervals_and_p_values_are_those_of_scipy() -> None:
    rng = random.Random(0)
    values = [rng.random() for _ in range(40)]
    others = [value + rng.random() for value in values]
    ours = stats.bootstrap((values,), np.mean, n_resamples=10_000, batch=500, method="percentile", rng=3)
    assert (mean(values, 3).low, mean(values, 3).high) == pytest.approx(tuple(ours.confidence_interval))
    paired = stats.bootstrap(
        (others, values),
        lambda a, b, axis: np.mean(a, axis=axis) / np.mean(b, axis=axis),
        paired=True,
        n_resamples=10_000,
        batch=500,
        method="percentile",
        rng=3,
    )
    ratio = ratio_of_means(others, values, 3)
    assert (ratio.low, ratio.high) == pytest.approx(tuple(paired.confidence_interval))
    for right in (0, 12):
        exact = stats.binomtest(right, 12).proportion_ci(0.95)
        found = share([float(right > 0)] * 12)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    with pytest.raises(ValueError, match="must have the same length"):
        ratio_of_means([1.0, 2.0], [1.0])
    assert paired_p([0.5], [1.0]) == 1
    for more, fewer in [(5, 2), (0, 4), (3, 3), (9, 1), (700, 640)]:
        one, other = [True] * more + [False] * fewer, [False] * more + [True] * fewer
        assert mcnemar(one, other) == pytest.approx(stats.binomtest(more, more + fewer).pvalue)


def test_a_ratio_of_means_is_taken_over_pairs() -> None:
    under = [float(k) for k in range(1, 60)]
    found = ratio_of_means([2 * value for value in under], under)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    one = ratio_of_means([3.0], [2.0])
    assert (one.value, one.low, one.high) == (1.5, 1.5, 1.5)


def test_several_samples_of_a_question_count_by_their_share() -> None:
    """Where one method is always half right and the other always right, they differ."""
    assert paired_p([0.5] * 20, [1.0] * 20) < 0.01
    assert paired_p([0.5, 1.0] * 10, [1.0, 0.5] * 10) > 0.5
    assert paired_p([1.0, 0.0], [0.0, 1.0]) == mcnemar([True, False], [False, True])


def test_what_a_judge_says_leaves_out_no_question() -> None:
    judged_right = replace(record("1", correct=False), read=False, judged=True)
    line = MethodFigures.of("sprint", MethodRecords.of("sprint", [judged_right, record("2")], ["3", "4"]))
    assert line.judged
    assert (line.correct.value, line.judged.value) == (0.25, 0.5)


def test_speed_by_the_clock_and_by_tokens_are_the_same_statistic() -> None:
    """Where seconds are proportional to tokens, all that is promised is realised."""
    records = [record(str(k), "sprint", tokens=t) for k, t in enumerate((10, 10, 100))]
    records += [record(str(k), "rft", tokens=t) for k, t in enumerate((20, 20, 100))]
    found = MethodComparison.of(MethodRecords.of("sprint", records), MethodRecords.of("rft", records))
    assert found
    assert found.realised
    assert found.realised.value == pytest.approx(found.promised)
    assert found.realised.low < found.realised.value < found.realised.high


def test_mcnemar_counts_only_the_questions_on_which_methods_differ() -> None:
    both = [True] * 50 + [False] * 20
    assert mcnemar(both, both) == 1
    # Six against none: twice the chance of six heads.
    assert mcnemar(both + [True] * 6, both + [False] * 6) == pytest.approx(2 * 0.5**6)
    assert mcnemar([True, False], [False, True]) == 1


def test_sides_are_compared_on_the_questions_that_both_answered() -> None:
    records = [record("1"), record("2", correct=False), record("1", "rft", tokens=20), record("3", "rft", tokens=90)]
    ours, theirs = MethodRecords.of("sprint", records), MethodRecords.of("rft", records)
    assert ours.common_ids(theirs) == ["1"]
    assert (ours.correct(), ours.correct(["1"])) == ([1.0, 0.0], [1.0])
    figures, ratios = (
        {column.header: list(column.cells) for column in table.columns}
        for table in comparison_tables(records, ["sprint", "rft"])
    )
    assert figures["method"] == ["sprint", "rft"]
    assert figures["n"] == ["2", "2"]
    assert figures["sequential\ntokens"] == ["10", "55"]
    assert (ratios["method"], ratios["against"], ratios["n"]) == (["sprint"], ["rft"], ["1"])
    assert (ratios["points"], ratios["p"]) == (["+0.0"], ["1"])
    assert ratios["sequential\ntokens"] == ["0.50 (0.50-0.50)"]
    assert ratios["seconds"] == ["0.50"]


def test_groups_come_with_their_sum() -> None:
    records = [record("1", group="3 numbers"), record("2", group="4 numbers", correct=False)]
    (table,) = comparison_tables(records, ["sprint"])
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells[""] == ["3 numbers", "4 numbers", "all"]
    assert [cell.partition(" ")[0] for cell in cells["correct, %"]] == ["100.0", "0.0", "50.0"]


def test_a_program_runs_on_its_own_weights_or_the_default_and_never_on_others() -> None:
    config = settings(model="countdown_mini", weights={"sprint": "mine", "best_of_n": None})
    assert (config.weights_of("sprint"), config.weights_of("sprint_barrier")) == ("mine", "countdown-mini-sprint")
    assert config.weights_of("best_of_n") == "countdown-mini-rft"
    assert settings(model="work/one-for-all").weights_of("sprint") == "work/one-for-all"
    with pytest.raises(BadInput, match=r"model=r1_distill_7b has no weights for sequential: give weights.sequential="):
        settings(model="r1_distill_7b").weights_of("sequential")
