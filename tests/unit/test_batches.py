"""Batches of many questions: what is under way and what is kept depends on how many run at a time, not on how many."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from benchmarks.bench_throughput import SentRequest, plan_requests
from benchmarks.footprint import measure_footprint
from programs import sprint_program
from sprint_sgl.bench.report.charts import cost_figure
from sprint_sgl.bench.report.statistics import IntervalEstimate
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.program import AHEAD
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime.frontend import BaseBackend, SglSamplingParams, StreamExecutor
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.runtime.pool import Connections
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.fake_endpoint import FakeEndpoint
from tests.fakes.http_server import final_answer, send, server
from tests.fakes.scripted import cut, replay
from tests.fakes.waiting import wait_for

WIDTH = 3
PROMPTS = tuple(Prompt(f"task {j}") for j in range(WIDTH))
RUN = Trajectory("q", (Stage(PROMPTS, tuple(Execution("done") for _ in PROMPTS)),), r"\boxed{2}")


class Brief(BaseBackend):  # type: ignore[misc]
    """Writes that run's texts and keeps nothing."""

    prompt_style = DEFAULT_PROMPT_STYLE

    def __init__(self) -> None:
        super().__init__()
        self.script = replay(RUN)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        text, reason = cut(self.script(s.text_), sampling_params.stop, sampling_params.max_new_tokens)
        time.sleep(0.001)
        return text, {"finish_reason": reason, "completion_tokens": 1}


def questions(many: int, taken: list[int]) -> Iterator[str]:
    for number in range(many):
        taken.append(number)
        yield f"Question {number}"


@pytest.mark.parametrize("generator_style", [True, False])
def test_threads_are_bounded_by_what_runs_at_a_time_and_none_is_left(generator_style: bool) -> None:
    before, at_a_time = threading.active_count(), 8
    with measure_footprint(every=0.01) as footprint:
        states = sprint_program.run_batch(
            [f"Question {number}" for number in range(500)],
            backend=Brief(),
            num_threads=at_a_time,
            generator_style=generator_style,
        )
        assert sum(state["answer"] == "2" for state in states) == 500
    # The pool's, the planner's and the executors'; those of the question before may still be ending.
    assert footprint.threads - before <= at_a_time * 2 * (2 + WIDTH)
    wait_for(lambda: threading.active_count() <= before, 5)


def test_what_was_handed_over_is_not_kept_and_rows_are_read_as_they_are_needed() -> None:
    taken: list[int] = []
    states = sprint_program.run_batch(questions(500, taken), backend=Brief(), num_threads=4, generator_style=True)
    handed: list[weakref.ref[object]] = []
    for number, state in enumerate(states):
        assert len(taken) <= number + 1 + AHEAD * 4
        handed.append(weakref.ref(state))
    del state
    gc.collect()
    assert len(handed) == 500
    assert not any(reference() for reference in handed)


def test_a_malformed_row_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadInput, match="a row of the batch has 99"):
        sprint_program.run_batch(["fine", ["x"] * 99], backend=Brief(), generator_style=True)


def test_a_malformed_row_among_the_first_of_an_iterator_ends_those_that_have_begun() -> None:
    before, backend = threading.active_count(), Brief()
    backend.script = lambda context: time.sleep(0.2) or replay(RUN)(context)  # type: ignore[func-returns-value]
    with pytest.raises(BadInput, match="a row of the batch has 99"):
        sprint_program.run_batch(
            iter(["fine"] * 7 + [["x"] * 99]), backend=backend, num_threads=2, generator_style=True
        )
    wait_for(lambda: threading.active_count() <= before, 3)  # two runs, not seven, of a second each


def test_a_failure_ends_the_rest_of_a_batch_that_comes_one_by_one() -> None:
    taken: list[int] = []
    rows = ({"question": "" if row == "Question 3" else row} for row in questions(500, taken))
    with pytest.raises(BadInput):
        list(sprint_program.run_batch(rows, backend=Brief(), num_threads=2, generator_style=True))
    assert len(taken) <= 4 + AHEAD * 2


class Slow:
    """A server's replies, of which those to questions with "slow" come once one of them is aborted."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.aborted = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler, body: dict) -> None:
        if handler.path == "/abort_request":
            self.aborted.set()
            send(handler, {})
            return
        self.asked.append(body)
        if "slow" in body["text"]:
            self.aborted.wait(20)
        final_answer(handler, body)


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_leaving_a_batch_that_comes_one_by_one_stops_the_requests_under_way() -> None:
    before, replies = threading.active_count(), Slow()
    with server(replies) as url, connect(url):
        states = sprint_program.run_batch(["quick", *["slow"] * 19], num_threads=2, generator_style=True)
        assert next(states)["answer"] == "4"
        wait_for(lambda: len(replies.asked) > 1, 5)
        states.close()
        assert replies.aborted.is_set()
        wait_for(lambda: threading.active_count() <= before + 4, 5)
        there = len(replies.asked)
        time.sleep(0.3)
        assert len(replies.asked) == there
        assert sprint_program.run("q")["answer"] == "4"  # the endpoint itself goes on


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_malformed_row_stops_the_requests_of_those_before_it() -> None:
    replies = Slow()

    def rows() -> Iterator[str | list[str]]:
        yield "slow"
        wait_for(lambda: replies.asked, 5)
        yield ["x"] * 99

    with server(replies) as url, connect(url):
        with pytest.raises(BadInput, match="a row of the batch has 99"):
            sprint_program.run_batch(rows(), num_threads=2, generator_style=True)
        assert replies.aborted.is_set()


def ask(client: httpx.Client, url: str) -> str:
    message = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
    reply = client.post(f"{url}/chat/completions", json=message, headers={"Authorization": "x"})
    return str(reply.json()["choices"][0]["message"]["content"])


def sockets(connections: Connections) -> int:
    return len(connections._all)


def test_connections_are_as_many_as_requests_at_a_time_and_are_used_again() -> None:
    connections = Connections()
    with FakeEndpoint(seconds=1.5) as server, httpx.Client(transport=connections) as client:
        for _ in range(2):
            asking = [threading.Thread(target=ask, args=(client, server.url)) for _ in range(20)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
        assert (server.peak, sockets(connections)) == (20, 20)
        server.seconds = 0.0
        for _ in range(5):
            assert ask(client, server.url) == "4"
        assert sockets(connections) == 20


def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sprint_sgl.runtime.pool.IDLE_LIMIT", 0.3)
    connections = Connections()
    with FakeEndpoint(seconds=0.05) as server, httpx.Client(transport=connections) as client:
        asking = [threading.Thread(target=ask, args=(client, server.url)) for _ in range(10)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        time.sleep(0.4)
        assert ask(client, server.url) == "4"
        assert sockets(connections) == 1


def sent(stage: int, prompt: str | None, start: float, end: float) -> SentRequest:
    body = {"text": f"{stage}-{prompt}", "sampling_params": {"stop": ["</Plan_"], "max_new_tokens": 8000}}
    return SentRequest("q", stage, prompt, body, start, end, tokens=7, cached=0)


def test_a_plain_client_waits_for_what_the_program_waited_for() -> None:
    first, second, joined = sent(1, None, 0, 1), sent(1, None, 1.1, 2), sent(2, None, 5.1, 6)
    early, late = sent(1, "1.1.", 1.2, 1.5), sent(1, "1.2.", 2.1, 5)
    ((*requests,),) = plan_requests([late, joined, early, second, first])
    assert [request.body["text"] for request in requests] == ["1-None", "1-None", "1-1.1.", "1-1.2.", "2-None"]
    assert [request.after for request in requests] == [(), (0,), (0,), (1,), (1, 2, 3)]
    params = requests[0].body["sampling_params"]
    assert (params["max_new_tokens"], params["ignore_eos"], params["stop"]) == (7, True, ["\x01/Plan_"])


def test_cost_is_drawn_in_seconds_and_in_dollars() -> None:
    points = [(1.0, IntervalEstimate(4.0, 3.9, 4.2)), (16.0, IntervalEstimate(0.6, 0.5, 0.7))]
    (axes,) = cost_figure({"program": points, "client": points}, dollars_an_hour=1.8).axes
    (right,) = axes.child_axes
    axes.figure.draw_without_rendering()
    assert right.get_ylim() == pytest.approx([limit * 1.8 / 3600 for limit in axes.get_ylim()])
