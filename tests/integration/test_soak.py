"""What the soak (benchmarks/soak.py) claims of its samples and outcomes."""

from __future__ import annotations

import asyncio
import random

import pytest

from benchmarks.soaking.claims import check_claims, growth_claim, process_lives, rest_claim
from benchmarks.soaking.load import CHAT, KEY, KINDS, Load, RequestOutcome
from benchmarks.soaking.load import GOOD as QUESTIONS
from benchmarks.soaking.machine import Kill, ProcessSample
from tests.fakes.served import FakeRuntime, serving

METRICS = """
sprint_answers_total{path="/v1/chat/completions",status="200"} 3.0
sprint_answers_total{path="/v1/chat/completions",status="503"} 1.0
sprint_seconds_count{model="mini:sprint"} 3.0
sprint_tokens_total{kind="total",model="mini:sprint"} 30.0
sprint_running 0.0
sprint_waiting 0.0
"""


def answered(number: int, *before: int, **fields: object) -> RequestOutcome:
    question = f"question {number}"
    given = {"question": question, "shown": question, "answer_id": str(number), "tokens": 10, "right": True, **fields}
    return RequestOutcome(number, "question", CHAT, statuses=[*before, 200], **given)  # type: ignore[arg-type]


def samples(slope: float, who: str = "server", life: int = 7, seconds: int = 400) -> list[ProcessSample]:
    """Memory that grows by so many MiB a minute, with noise, and threads that come and go."""
    rng = random.Random(0)
    return [
        ProcessSample(s, who, life, int(2**20 * (800 + slope * s / 60 + rng.gauss(0, 5))), rng.choice((20, 30, 40)), 50)
        for s in range(0, seconds, 2)
    ]


NOTICED = Kill(1.0, "all", False, 3.0, 30.0)


def failing(
    outcomes: list[RequestOutcome], metrics: str = METRICS, log: str = "", left: int = 0, kill: Kill = NOTICED
) -> list[str]:
    rests = [ProcessSample(60, "server", 7, 2**30, 10, 17), ProcessSample(900, "server", 7, 2**30, 11, 17)]
    found = check_claims(outcomes, metrics, samples(0), rests, [kill], log, left)
    return [claim.text for claim in found if not claim.holds]


GOOD = [answered(0), answered(1, 503), answered(2)]


def test_a_soak_in_which_all_is_well_has_nothing_to_say() -> None:
    assert failing(GOOD) == []


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([*GOOD, RequestOutcome(3, "question", CHAT)], "every request ends as expected"),
        ([*GOOD[:2], RequestOutcome(2, "question", CHAT, statuses=[200])], "every question is answered"),
        ([*GOOD[:2], answered(2, answer_id="1")], "no answer comes twice"),
        ([*GOOD[:2], answered(2, shown="question 1")], "each answer belongs to its question"),
        (GOOD[:2], "the server counted no other answer"),
        ([*GOOD, answered(3)], "the server counted every answer"),
        ([*GOOD[:2], answered(2, tokens=9)], "the server's token count is that of the answers"),
        ([answered(n, *[503] * (n == 1), right=n == 1) for n in range(3)], "answers are as often correct as usual"),
    ],
)
def test_what_is_lost_or_doubled_is_named(outcomes: list[RequestOutcome], said: str) -> None:
    assert said in failing(outcomes)


def test_a_traceback_a_process_left_behind_and_a_run_that_holds_its_place_are_named() -> None:
    assert failing(GOOD, log="Traceback (most recent call last)", left=1) == [
        "the server's log has no traceback",
        "no process is left behind",
    ]
    busy = METRICS.replace("sprint_running 0.0", "sprint_running 1.0")
    assert failing(GOOD, busy) == ["no run is left running or waiting"]


def test_a_death_that_nobody_noticed_is_named_but_for_one_of_a_runtime_that_was_loading() -> None:
    assert failing(GOOD, kill=Kill(1.0, "supervisor", loading=False)) == ["every death of the runtime is noticed"]
    assert failing(GOOD, kill=Kill(1.0, "all", loading=True)) == []


def test_a_soak_without_a_question_has_shown_nothing() -> None:
    assert "every question is answered" in failing([])


def test_clients_of_a_server_in_order_end_as_they_expect() -> None:
    async def outcomes(url: str) -> list[RequestOutcome]:
        asking = Load(url, seed=3)
        await asyncio.gather(*(asking.ask(kind) for kind in KINDS))
        await asking.close()
        return asking.outcomes

    with serving(FakeRuntime(pause=0.1, room=5000), places=16, queue=16, keys=(KEY,)) as url:
        ended = asyncio.run(outcomes(url))
    assert {outcome.kind: outcome.wrong for outcome in ended} == {kind.name: "" for kind in KINDS}
    assert all(outcome.shown == outcome.question for outcome in ended if outcome.kind in QUESTIONS)


def test_growth_is_a_slope_that_noise_does_not_hide() -> None:
    assert growth_claim(samples(0), "memory").holds
    assert growth_claim(samples(0), "threads").holds
    assert not growth_claim(samples(30), "memory").holds


def test_a_server_that_holds_more_at_rest_has_grown() -> None:
    before, after = (
        ProcessSample(60, "server", 7, 2**30, 10, 17),
        ProcessSample(900, "server", 7, 2**30 + 2**25, 15, 40),
    )
    assert [rest_claim(before, after, name).holds for name in ("memory", "threads", "files")] == [True, False, False]


def test_each_life_of_a_runtime_is_judged_by_itself_if_it_was_long_enough() -> None:
    found = process_lives([*samples(0), *samples(0, "runtime", 8, 60), *samples(0, "runtime", 9, 300)])
    assert [(life[0].who, life[0].life) for life in found] == [("server", 7), ("runtime", 9)]
    assert found[1][0].second >= 70
