"""Several runtimes behind a gateway: what is composed and refused, and that a worker's death loses no question."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from programs import sprint_program
from sprint_sgl.bench.records import Record
from sprint_sgl.bench.runner import QuestionSample, Workload, run_workload
from sprint_sgl.bench.runtime import ResidentRuntime
from sprint_sgl.errors import BadInput, LaunchFailed, ProgramFailed, RequestFailed
from sprint_sgl.lang.registry import named_method
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.frontend import SglSamplingParams
from sprint_sgl.runtime.gateway import (
    POLICIES,
    RESTARTS,
    RuntimeWorker,
    WorkerGroup,
    check_gateway,
    gateway_command,
    start_gateway,
    worker_configs,
)
from sprint_sgl.runtime.gateway_client import GatewayWorker, lacks_worker, reachable_workers, read_workers, worker_pause
from sprint_sgl.runtime.launcher import DEFAULT_BASELINE, connect, gateway_config, launch
from sprint_sgl.runtime.server import (
    DEFAULT_MODEL,
    RuntimeConfig,
    free_port,
    resolve_model,
    start_command,
    wait_until_ready,
)
from sprint_sgl.serving import errors as faults
from sprint_sgl.tasks.countdown.task import Countdown
from tests.fakes.http_server import META, final_answer, send, server
from tests.fakes.waiting import idle, wait_for

NO_WORKER = {"error": {"code": "no_available_workers", "message": "All workers are unavailable"}}
WORKER_DIED = {"error": {"type": "stream_error", "message": "Stream error: error decoding response body"}}  # smg 1.13.0
GREEDY = {"max_new_tokens": 4000, "ignore_eos": True, "stop": [], "stop_token_ids": [], "stop_regex": []}


def test_each_worker_has_gpus_of_its_own() -> None:
    configs = worker_configs(RuntimeConfig(workers=2, base="a100", args={"data-parallel-size": 2}), list("0123"))
    assert [config.env["CUDA_VISIBLE_DEVICES"] for config in configs] == ["0,1", "2,3"]


def test_cpu_workers_share_the_machine() -> None:
    configs = worker_configs(RuntimeConfig(workers=3, base="cpu", args={"max-total-tokens": 4096}), ["0"])
    assert len(configs) == 3
    assert all("CUDA_VISIBLE_DEVICES" not in config.env for config in configs)
    assert {config.args["max-total-tokens"] for config in configs} == {4096}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RuntimeConfig(workers=0), "workers must be at least 1, got 0"),
        (RuntimeConfig(workers=2, policy="sticky"), "unknown policy 'sticky'; known: cache_aware, round_robin"),
        (RuntimeConfig(workers=2, base="endpoint"), "'endpoint' cannot be a gateway's base"),
        (RuntimeConfig(workers=2, base="gateway"), "'gateway' cannot be a gateway's base"),
        (RuntimeConfig(workers=2, base="h1000"), "unknown runtime 'h1000'"),
    ],
)
def test_a_gateway_that_cannot_be_is_refused(config: RuntimeConfig, said: str) -> None:
    with pytest.raises(BadInput, match=said), launch(runtime=config):
        pass


def test_too_few_gpus_are_refused() -> None:
    with pytest.raises(BadInput, match="3 workers of 2 GPU each need 6; this machine has 4"):
        worker_configs(RuntimeConfig(workers=3, base="a100", args={"tensor-parallel-size": 2}), list("0123"))


def test_workers_are_for_gateways() -> None:
    with pytest.raises(BadInput, match="--workers is for --runtime gateway"):
        gateway_config("cpu", workers=2)
    assert gateway_config("gateway", workers=3, policy="round_robin").workers == 3  # type: ignore[union-attr]


def test_a_gateway_on_a_taken_port_is_refused_before_anything_starts() -> None:
    with server(final_answer) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(LaunchFailed, match=f"port {port} .* is taken"), launch(runtime="gateway", port=port):
            pass


@pytest.mark.parametrize("policy", POLICIES)
def test_the_gateways_own_parser_accepts_every_policy(policy: str) -> None:
    from smg.launch_router import parse_router_args

    check_gateway(RuntimeConfig(workers=2, policy=policy))
    command = gateway_command(["http://h:1", "http://h:2"], policy, "127.0.0.1", 30000, "key")
    parsed = parse_router_args(command[4:])
    assert (parsed.policy, parsed.port, parsed.worker_urls) == (policy, 30000, ["http://h:1", "http://h:2"])
    assert parsed.disable_retries


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_waits_for_a_worker_and_counts_how_often_it_asked(stream: bool) -> None:
    answers = [NO_WORKER, {"error": {"code": "call_upstream_connection_failed"}}]

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        if answers:
            send(handler, answers.pop(), 503)
        elif body.get("stream"):
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            answer = {"text": "<Final_answer>\n\\boxed{4}\n", "meta_info": META}
            handler.wfile.write(f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n".encode())
        else:
            final_answer(handler, body)

    with server(reply) as url, connect(url):
        run = sprint_program.run("What is 2 + 2?", stream=stream)
        assert run["answer"] == "4"
    assert sum(call.retries for call in run.trajectory.calls) == 2


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_stream_whose_worker_dies_has_no_runtime() -> None:
    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        events = {"text": "<Plan_1>", "meta_info": META | {"finish_reason": None}}, WORKER_DIED
        handler.wfile.writelines(f"data: {json.dumps(event)}\n\n".encode() for event in events)

    with server(reply) as url, connect(url), pytest.raises(ProgramFailed, match="a worker died") as caught:
        _ = sprint_program.run("What is 2 + 2?", stream=True)["answer"]
    assert faults.status_and_code(caught.value) == (503, "runtime_unavailable")


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize("stream", [False, True])
def test_waiting_for_a_worker_counts_as_time_of_the_request(stream: bool) -> None:
    begun: list[float] = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        begun.append(time.monotonic())
        if time.monotonic() < begun[0] + 3:
            send(handler, NO_WORKER, 503)
        else:
            time.sleep(10)

    with server(reply) as url, connect(url) as endpoint:
        with pytest.raises(ProgramFailed, match="did not answer within 4 s"):
            _ = sprint_program.run("What is 2 + 2?", stream=stream, backend=endpoint.session(4.0))["answer"]
        assert time.monotonic() < begun[0] + 6


def test_a_server_that_refuses_is_not_asked_again() -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        send(handler, {"error": {"code": "internal", "message": "no"}}, 500)

    with server(reply) as url, connect(url) as endpoint, pytest.raises(RequestFailed, match="HTTP 500"):
        endpoint.warm_up()
    assert len(asked) == 1


def test_a_worker_that_cannot_be_started_again_is_given_up_and_the_gateway_ends_with_its_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with server(final_answer) as url:  # somebody has taken its port
        dead = start_command(["false"], url, {})
        gateway = start_command(["sleep", "60"], "http://127.0.0.1:1", {})
        dead.supervisor.wait()
        group = WorkerGroup([RuntimeWorker(RuntimeConfig(), dead)], DEFAULT_MODEL)
        try:
            group.supervise(gateway)
            wait_for(lambda: gateway.supervisor.poll() is not None, 20.0)
        finally:
            group.stop()
    said = capsys.readouterr().err
    assert said.count("is taken: choose another") == RESTARTS
    assert "stays away" in said


@pytest.mark.parametrize(
    ("gateway", "worker", "near"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:2", True),
        ("http://localhost:1", "http://[::1]:2", True),
        ("http://10.0.0.1:1", "http://10.0.0.2:2", True),
        ("http://head:1", "http://node1:2", True),
        ("http://head:1", "http://127.0.0.1:2", False),
        ("http://10.0.0.1:1", "http://localhost:2", False),
    ],
)
def test_a_loopback_address_of_another_machine_is_out_of_reach(gateway: str, worker: str, near: bool) -> None:
    each = GatewayWorker(worker, True)
    assert reachable_workers([each], gateway) == ([each] if near else [])


def test_pauses_double_up_to_five_seconds() -> None:
    assert [worker_pause(attempt) for attempt in range(1, 9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_workers_are_read_from_a_gateways_answer_alone() -> None:
    answer = {"workers": [{"url": "http://h:1", "is_healthy": True}, {"url": "http://h:2", "is_healthy": False}]}
    found = read_workers(httpx.Response(200, json=answer))
    assert found == [GatewayWorker("http://h:1", True), GatewayWorker("http://h:2", False)]
    for other in ({"path": "/workers"}, {"workers": 3}, ["workers"]):
        assert read_workers(httpx.Response(200, json=other)) == []


def told(worker: list[tuple[str, str]]) -> Callable[[BaseHTTPRequestHandler, dict], None]:
    """Return a scripted worker that records paths and keys."""

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        worker.append((handler.path, handler.headers["Authorization"]))
        if handler.path == "/generate":
            final_answer(handler, body)
        else:
            send(handler, {"success": True})

    return reply


def test_a_gateway_takes_the_key_and_its_workers_get_what_it_has_no_path_for() -> None:
    info = {"model_path": "some/model", "tokenizer_path": "some/model"}
    workers: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    config = RuntimeConfig(workers=2, args={"api-key": "secret"})
    with server(told(workers[0]), info) as one, server(told(workers[1]), info) as other:
        gateway = start_gateway([one, other], config, "127.0.0.1", free_port())
        try:
            wait_until_ready(gateway, 60.0, "/readiness")
            with connect(gateway.url) as stranger, pytest.raises(RequestFailed, match="HTTP 401"):
                stranger.warm_up()
            with connect(gateway.url, "secret") as endpoint:
                wait_for(lambda: len(endpoint.workers()) == 2, 10.0)
                endpoint.warm_up()
                endpoint.abort("a-request")
                endpoint.load_weights("another/model")
        finally:
            gateway.stop()
    assert {key for seen in workers for _, key in seen} == {"Bearer secret"}
    both = ("/abort_request", "/update_weights_from_disk")
    assert all([path for path, _ in seen if path in both] == [*both] for seen in workers)
    assert [path for seen in workers for path, _ in seen].count("/generate") == 1


@pytest.fixture(scope="module")
def crew(sglang_imported: None) -> Iterator[ResidentRuntime]:
    resident = ResidentRuntime(RuntimeConfig(workers=2), None, 600.0, Path())
    yield resident
    resident.close()


def servers() -> list[psutil.Process]:
    """The SGLang servers that this process has started; a supervisor's command line names its command too."""
    found = psutil.Process().children(recursive=True)
    return [each for each in found if each.cmdline()[1:3] == ["-m", "sglang.launch_server"]]


def server_at_work(gateway: Endpoint) -> psutil.Process:
    """Return a worker that has requests now: cache-aware routing may leave the other one idle."""
    busy: list[str] = []

    def found() -> bool:
        busy.extend(worker.url for worker in workers_of(gateway) if not idle(worker))
        return bool(busy)

    wait_for(found, 20.0)
    port = busy[0].rpartition(":")[2]
    return next(each for each in servers() if port in each.cmdline())


def served(gateway: Endpoint) -> list[str]:
    """The model of each worker."""
    return [worker.get_model_name() for worker in workers_of(gateway)]


def workers_of(gateway: Endpoint) -> Iterator[Endpoint]:
    for worker in gateway.workers():
        with closing(Endpoint(worker.url)) as endpoint:
            yield endpoint


@pytest.mark.runtime
def test_closing_a_connection_to_a_gateway_stops_its_requests_on_the_workers(crew: ResidentRuntime) -> None:
    endpoint = crew.load(DEFAULT_MODEL)
    other, tokens = Endpoint(endpoint.url), list[int]()

    def generate() -> None:
        with suppress(RequestFailed):
            tokens.append(
                other.generate(SimpleNamespace(text_="1 2 3"), SglSamplingParams(**GREEDY))[1]["completion_tokens"]
            )

    waiting = threading.Thread(target=generate)
    waiting.start()
    wait_for(lambda: not all(idle(worker) for worker in workers_of(endpoint)), 30.0)
    other.close()
    waiting.join(300.0)
    assert not waiting.is_alive()
    assert sum(tokens) < 4000
    wait_for(lambda: all(idle(worker) for worker in workers_of(endpoint)), 60.0)


@pytest.mark.runtime
def test_other_weights_reach_every_worker(crew: ResidentRuntime) -> None:
    endpoint = crew.load(DEFAULT_BASELINE)
    assert endpoint.get_model_name() == resolve_model(DEFAULT_BASELINE)
    assert served(endpoint) == [resolve_model(DEFAULT_BASELINE)] * 2


@pytest.mark.runtime
def test_a_worker_that_is_killed_under_load_loses_no_question_and_comes_back(crew: ResidentRuntime) -> None:
    task = Countdown(problems=10, numbers=[3], seed=11, split="held_out", wording="Use {numbers} to make {target}")
    asks = [QuestionSample(question) for question in task.questions()]
    work = Workload(
        task, [named_method("sprint")], lambda _: DEFAULT_MODEL, asks, temperature=0.0, concurrency=8, block=16
    )
    gateway, records = crew.load(DEFAULT_MODEL), list[Record]()

    def keep(record: Record) -> None:
        records.append(record)
        if len(records) == 2:
            server_at_work(gateway).send_signal(signal.SIGKILL)

    failures = run_workload(work, crew, set(), keep)
    assert failures == []
    assert sorted(record.id for record in records) == sorted(ask.question.id for ask in asks)
    endpoint = crew.load(DEFAULT_MODEL)
    wait_for(lambda: all(worker.healthy for worker in endpoint.workers()), 120.0)
    assert served(endpoint) == [resolve_model(DEFAULT_MODEL)] * 2


def test_json_of_the_scripted_gateway_is_what_smg_sends() -> None:
    """Copied from smg 1.13.0, both of whose workers had been killed."""
    sent = (
        '{"error":{"type":"server_error","code":"no_available_workers","message":"All workers are unavailable '
        '(circuit breaker open or unhealthy)","param":null}}'
    )
    assert lacks_worker(httpx.Response(503, content=sent))
    assert not lacks_worker(httpx.Response(200, json={"text": "", "meta_info": META}))
