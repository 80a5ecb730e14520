"""The simulation of many workers: cases worked out by hand, and what a plan says of the rest."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from sprint_sgl.bench.replay import StageShape, TrajectoryShape
from sprint_sgl.capacity.plan import FleetConfig, FleetEstimate, FleetLimits, check_config, estimate_fleet, steady_rate
from sprint_sgl.capacity.simulator import TAGS, FleetSimulator, SimulationOutcome, WorkerSpec, draw_shapes
from sprint_sgl.errors import BadInput
from tests.fakes.shapes import shapes

ROOT = Path(__file__).parents[2]
FREE = WorkerSpec(0.01, 0.0, 0.0, 0.0, 0.0, 0.0, kv_tokens=10_000, max_running=64)
LIMITS = FleetLimits(100, 100, 100, 1, 100, 0.01, 1, 1000, 100)
ANSWER = TrajectoryShape(50, (), 100)
FORKED = TrajectoryShape(20, (StageShape((10, 10), 5, (40, 20)),), 5)


def outcome(
    asked: list[TrajectoryShape], figures: WorkerSpec = FREE, workers: int = 1, at_once: int = 8, **more: bool
) -> SimulationOutcome:
    return FleetSimulator(figures, workers, at_once, **more).run(iter(asked))


def test_a_question_alone_takes_a_step_a_token() -> None:
    assert outcome([ANSWER]).latencies == [pytest.approx(1.0)]


@settings(max_examples=60)
@given(shapes)
def test_branches_cost_nothing_where_a_step_costs_the_same_for_any_batch(shape: TrajectoryShape) -> None:
    assert outcome([shape]).latencies == [pytest.approx(shape.sequential * FREE.step)]


def test_the_first_executor_runs_beside_the_planner() -> None:
    # planner 10, executor 40 from there, planner 10 + 5 beside it, executor 20 from 20; then the answer: 10 + 40 + 5
    assert outcome([FORKED]).latencies == [pytest.approx(0.55)]
    assert outcome([FORKED]).requests == 6


def test_two_requests_share_a_steps_time() -> None:
    figures = replace(FREE, step_per_request=0.01)
    assert outcome([ANSWER, ANSWER], figures).ends == [pytest.approx(3.0)] * 2
    assert outcome([ANSWER, ANSWER], figures, workers=2).ends == [pytest.approx(2.0)] * 2


def test_a_longer_context_takes_longer_steps() -> None:
    figures = replace(FREE, step_per_token=0.001)
    # the question, the tags and half of the answer
    assert outcome([ANSWER], figures).latencies == [pytest.approx(100 * (0.01 + 0.001 * (50 + TAGS + 50)))]


def test_a_prefill_stops_those_that_run() -> None:
    figures = replace(FREE, prefill=0.1, admission=1.0)
    prefill = 1.0 + 0.1 * (50 + TAGS)
    assert outcome([ANSWER], figures).ends == [pytest.approx(prefill + 1.0)]
    assert outcome([ANSWER] * 2, figures).ends == [pytest.approx(2 * prefill + 1.0)] * 2


def test_what_does_not_run_waits() -> None:
    assert outcome([ANSWER] * 3, replace(FREE, max_running=1)).ends == pytest.approx([1.0, 2.0, 3.0])


def test_executions_but_the_first_are_read_again_at_the_join() -> None:
    question, calls = 20, 6
    found = outcome([FORKED])
    assert found.uncached == question + calls * TAGS + 20 + 2 * TAGS  # the second execution, tags of two
    assert found.peak_tokens == FORKED.question + FORKED.total


def test_round_robin_reads_prompts_again_on_every_worker() -> None:
    sticky, spread = (outcome([FORKED] * 20, workers=2, at_once=4, sticky=sticky) for sticky in (True, False))
    assert spread.uncached > 1.3 * sticky.uncached
    assert spread.requests == sticky.requests


def test_round_robin_holds_a_question_in_the_memory_of_every_worker() -> None:
    alone, sticky, spread = (
        outcome([FORKED] * many, workers=2, at_once=many, sticky=by_home)
        for many, by_home in ((1, True), (2, True), (2, False))
    )
    assert sticky.peak_tokens == alone.peak_tokens
    assert spread.peak_tokens > sticky.peak_tokens


def test_the_fullest_worker_is_not_the_mean() -> None:
    found = outcome([FORKED], workers=2)
    assert found.peak_worker == found.peak_requests > 1


def config(**more: object) -> FleetConfig:
    given = {"worker": FREE, "limits": LIMITS, "workers": 2, "concurrency": 2}
    return FleetConfig(path="x", **given | more)  # type: ignore[arg-type]


def plan(questions: int) -> FleetEstimate:
    return estimate_fleet(config(questions=questions, price=3.6), [ANSWER])


def test_a_small_plan_is_simulated_to_its_end() -> None:
    found = plan(8)
    assert found.seconds == pytest.approx(2.0)  # four at a time, a second each
    assert found.questions_a_second == pytest.approx(4.0)
    assert found.gpu_hours == pytest.approx(4 / 3600)
    assert found.dollars == pytest.approx(0.004)
    assert found.utilisation == pytest.approx(1.0)
    assert found.tokens_a_second == pytest.approx(200.0)
    assert found.latency == pytest.approx((1.0, 1.0, 1.0))


def test_no_latency_is_longer_than_the_run() -> None:
    found = plan(2)
    assert max(found.latency) <= found.seconds


def test_a_large_plan_goes_on_at_the_samples_rate() -> None:
    assert plan(4_000).seconds == pytest.approx(1000.0, rel=0.01)


def test_what_breaks_first_stands_first() -> None:
    loads = {load.name: load for load in plan(8).loads}
    assert loads["gateway, requests"].load == pytest.approx(4.0)
    assert loads["KV memory of the fullest worker"].load == 2 * (50 + 100)
    assert loads["grading"].share == pytest.approx(0.04)
    shares = [load.share for load in plan(8).loads]
    assert shares == sorted(shares, reverse=True)


def test_the_rate_is_that_of_busy_workers() -> None:
    assert steady_rate([5.0, 6.0, 7.0, 8.0, 20.0], 1) == pytest.approx(1.0)
    assert steady_rate([2.0, 4.0], 2) == pytest.approx(0.5)
    assert steady_rate([1.0, 2.0, 2.0, 3.0, 4.0], 2) == pytest.approx(1.25)


def test_as_many_questions_as_shapes_are_these_once_each() -> None:
    assert list(draw_shapes([ANSWER, FORKED], 2, 1)) == [ANSWER, FORKED]
    assert len(list(draw_shapes([ANSWER, FORKED], 9, 1))) == 9


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("workers", 0, "workers must be at least 1, got 0"),
        ("policy", "x", "unknown policy 'x'"),
        ("price", -1, "price must be"),
        ("price", math.nan, "price must be"),
        ("worker", replace(FREE, step=math.inf), "worker.step must be above 0, got inf"),
        ("worker", replace(FREE, step=0), "worker.step must be above 0, got 0"),
        ("worker", replace(FREE, max_running=0), "worker.max_running must be above 0, got 0"),
        ("worker", replace(FREE, prefill=-1), "worker.prefill must be at least 0, got -1"),
        ("limits", replace(LIMITS, gateway=0), "limits.gateway must be above 0, got 0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(key: str, value: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_config(config(**{key: value}))


@pytest.mark.parametrize("name", ["a100_40gb_7b", "cpu_mini"])
def test_workers_that_are_described_say_where_their_figures_are_from(name: str) -> None:
    figures = WorkerSpec(**yaml.safe_load((ROOT / "conf" / "worker" / f"{name}.yaml").read_text()))
    assert figures.source
    assert figures.step > 0
