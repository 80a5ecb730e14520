"""The endpoint against real sockets: what answers, what does not, what breaks off, and what is held back."""

import json
import math
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from programs import sprint_program
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput, ContextFull, ProgramFailed, RequestFailed, RuntimeUnavailable
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.frontend import sgl
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.runtime.messages import held_back
from sprint_sgl.runtime.server import free_port
from tests.fakes.http_server import META, Reply, final_answer, send, server


def test_a_connected_server_is_the_default_backend_until_the_with_ends() -> None:
    with server(final_answer) as url:
        with connect(url) as endpoint:
            assert endpoint.get_model_name() == "some/model"
            assert sprint_program.run("What is 2 + 2?")["answer"] == "4"
        with pytest.raises(RuntimeUnavailable, match="no runtime is set"):
            sprint_program.run("What is 2 + 2?")


def test_the_key_travels_as_a_bearer_token() -> None:
    seen = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        seen.append(handler.headers["Authorization"])
        final_answer(handler, body)

    with server(reply) as url, connect(url, api_key="secret"):
        sprint_program.run("q")
    assert seen == ["Bearer secret"]


def test_nothing_at_the_address_is_one_clear_error() -> None:
    port = free_port()
    with pytest.raises(RuntimeUnavailable, match=f"nothing answers at http://127.0.0.1:{port}"):
        Endpoint(f"127.0.0.1:{port}", reconnects=0)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 10**7, 10**400, True, "60"])
def test_a_time_limit_that_no_socket_takes_is_refused(seconds: object) -> None:
    with server(final_answer) as url:
        with pytest.raises(BadInput, match="time_limit must be a number of seconds above 0 and up to 1,000,000"):
            Endpoint(url, time_limit=seconds)
        with pytest.raises(BadInput, match="time_limit must be"):
            Endpoint(url).session(seconds)


def test_a_server_that_is_not_sglang_is_one_clear_error() -> None:
    with (
        server(final_answer, info={"hello": "world"}) as url,
        pytest.raises(RuntimeUnavailable, match=r"not as an SGLang"),
    ):
        Endpoint(url)


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize("body", [{}, [], {"text": "x"}, {"text": 1, "meta_info": {}}, "x"], ids=str)
def test_an_answer_without_a_text_is_one_clear_error(body: object) -> None:
    message = "does not answer as an SGLang server does"
    with (
        server(lambda handler, _: send(handler, body)) as url,
        connect(url),
        pytest.raises(ProgramFailed, match=message),
    ):
        sprint_program.run("q")


def test_sglangs_own_endpoint_asks_the_model_as_it_was_trained(tmp_path: Path) -> None:
    (tmp_path / "sprint.json").write_text('{"prompt_style": "mini"}')
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body["text"])
        final_answer(handler, body)

    with server(reply, info={"model_path": str(tmp_path)}) as url:
        for backend in (sgl.RuntimeEndpoint(url), Endpoint(url)):
            sprint_program.run("q", backend=backend)
    assert asked[0] == asked[1] == protocol.planner_opening("q", prompt_style("mini"))


def test_a_server_or_gateway_that_is_not_ready_is_one_clear_error() -> None:
    with server(final_answer, info_status=503) as url, pytest.raises(RuntimeUnavailable, match=r"is not ready"):
        Endpoint(url)


def test_other_weights_wait_for_requests_that_were_given_up() -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(handler.path)
        if handler.path == "/update_weights_from_disk":
            message = (
                "Weights were updated, but the cache was not flushed because requests are still running or queued."
            )
            send(handler, {"success": False, "message": message}, status=400)
        else:
            send(handler, {}, status=200 if asked.count("/flush_cache") == 3 else 400)

    info = {"model_path": "some/model", "tokenizer_path": "some/model"}
    with server(reply, info=info) as url:
        Endpoint(url).load_weights("other/model")
    assert asked == ["/update_weights_from_disk", *["/flush_cache"] * 3]


def test_a_cache_is_emptied_once_the_requests_of_lost_clients_have_ended() -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(handler.path)
        send(handler, {}, status=200 if len(asked) == 4 else 400)

    with server(reply) as url:
        with pytest.raises(RequestFailed):
            Endpoint(url).flush_cache()
        Endpoint(url).flush_cache(30.0)
    assert asked == ["/flush_cache"] * 4


def test_connections_are_kept_alive() -> None:
    ports = set()

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        ports.add(handler.client_address[1])
        final_answer(handler, body)

    with server(reply) as url, connect(url):
        for _ in range(5):
            sprint_program.run("q")
    assert len(ports) == 1


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_request_has_a_time_limit() -> None:
    given_up = threading.Event()

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        given_up.wait()

    with server(reply) as url, connect(url, time_limit=0.3):
        try:
            with pytest.raises(ProgramFailed, match=r"planner, stage 1: .* did not answer within 0.3 s"):
                sprint_program.run("q")
        finally:
            given_up.set()


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_an_error_status_is_raised_with_what_the_server_said_and_not_retried() -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        send(handler, {"error": {"message": "too long by 17 tokens"}}, status=400)

    with server(reply) as url, connect(url), pytest.raises(ProgramFailed, match=r"HTTP 400.*too long by 17 tokens"):
        sprint_program.run("q")
    assert len(asked) == 1


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize(
    "said",
    [
        "The input (9 tokens) is longer than the model's context length (8 tokens).",
        "Input length (9 tokens) exceeds the maximum allowed length (8 tokens). Use a shorter input.",
    ],
)
def test_a_prompt_longer_than_the_models_context_is_told_apart(said: str) -> None:
    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        send(handler, {"error": {"message": said}}, status=400)

    with server(reply) as url, connect(url):
        for stream in (False, True):
            with pytest.raises(ContextFull):
                _ = sprint_program.run("q", stream=stream)["answer"]


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize("stream", [False, True])
def test_a_session_whose_endpoint_is_closed_has_no_runtime(stream: bool) -> None:
    with server(final_answer) as url:
        endpoint = Endpoint(url)
        session = endpoint.session()
        endpoint.close()
        with pytest.raises(ProgramFailed, match="has ended") as caught:
            _ = sprint_program.run("q", stream=stream, backend=session)["answer"]
    assert isinstance(caught.value.__cause__, RuntimeUnavailable)


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    handler.connection.close()
    handler.close_connection = True


def shut(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@pytest.mark.parametrize("end", [shut, reset])
def test_a_broken_connection_is_tried_again_and_recorded(end: Callable[[BaseHTTPRequestHandler], None]) -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        if len(asked) == 1:
            end(handler)
        else:
            final_answer(handler, body)

    with server(reply) as url, connect(url):
        trajectory = sprint_program.run("q").trajectory
    assert len(asked) == 2
    assert [call.retries for call in trajectory.calls] == [1]


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_retries_are_bounded() -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        shut(handler)

    with server(reply) as url, connect(url, reconnects=1), pytest.raises(ProgramFailed, match=r"connection .* broke"):
        sprint_program.run("q")
    assert len(asked) == 2


def stream(*texts: str, finish: bool = True) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for n, text in enumerate(texts, 1):
            last = finish and n == len(texts)
            meta = META | {"finish_reason": {"type": "stop", "matched": "</Final_answer>"} if last else None}
            handler.wfile.write(f"data: {json.dumps({'text': text, 'meta_info': meta})}\n\n".encode())
        if finish:
            handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    return reply


def begun(end: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return a reply that breaks off in the given way after its headers."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        end(handler)

    return reply


@pytest.mark.parametrize("end", [shut, reset, begun(shut), begun(reset)])
def test_a_stream_that_breaks_before_its_first_piece_is_tried_again_and_recorded(
    end: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    names = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        names.append(body["rid"])
        if len(names) < 3:
            end(handler)
        else:
            stream("<Final_answer>\n\\boxed{4}\n")(handler, body)

    with server(reply) as url, connect(url, reconnects=2):
        state = sprint_program.run("q", stream=True)
        assert "".join(state.text_iter()).endswith("<think>\n<Final_answer>\n\\boxed{4}\n")
    assert [call.retries for call in state.trajectory.calls] == [2]
    assert len(set(names)) == 3  # the server may still hold the first


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize("end", [shut, begun(shut)])
def test_retries_of_a_stream_are_bounded(end: Callable[[BaseHTTPRequestHandler], None]) -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        end(handler)

    with server(reply) as url, connect(url, reconnects=1):
        state = sprint_program.run("q", stream=True)
        with pytest.raises(ProgramFailed, match=r"connection .* broke"):
            _ = state["answer"]
    assert len(asked) == 2


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
@pytest.mark.parametrize("end", [shut, reset])
def test_a_stream_that_has_begun_is_not_asked_for_again(end: Callable[[BaseHTTPRequestHandler], None]) -> None:
    asked = []

    def reply(handler: BaseHTTPRequestHandler, body: dict) -> None:
        asked.append(body)
        stream("<Plan_1>\nI thi", finish=False)(handler, body)
        handler.wfile.flush()
        read.wait()
        end(handler)

    read = threading.Event()
    with server(reply) as url, connect(url):
        state = sprint_program.run("q", stream=True, watch=lambda branch, text: read.set())
        with pytest.raises(ProgramFailed, match=r"broke"):
            _ = state["answer"]
    assert len(asked) == 1


def test_a_stop_string_in_the_making_never_reaches_the_text() -> None:
    # The server streams the start of "</Final_answer>" and takes it back at the end.
    grown = ("<Final_answer>\n\\boxed{4}", "<Final_answer>\n\\boxed{4}\n</Final", "<Final_answer>\n\\boxed{4}\n")
    with server(stream(*grown)) as url, connect(url):
        state = sprint_program.run("q", stream=True)
        assert "".join(state.text_iter()).endswith("<think>\n<Final_answer>\n\\boxed{4}\n")
        assert state["answer"] == "4"
        assert state.trajectory.repairs == ()


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_stream_that_breaks_off_is_an_error() -> None:
    with server(stream("<Plan_1>\nI thi", finish=False)) as url, connect(url):
        state = sprint_program.run("q", stream=True)
        with pytest.raises(ProgramFailed, match=r"planner, stage 1: .* broke off a stream after 14 characters"):
            _ = state["answer"]


def test_an_unexpected_status_in_a_stream_is_an_error() -> None:
    with (
        server(lambda handler, body: send(handler, {"error": "no"}, status=503)) as url,
        connect(url) as endpoint,
        pytest.raises(RequestFailed, match=r"HTTP 503"),
    ):
        list(endpoint._transport.stream({}))


@pytest.mark.parametrize(
    ("text", "held"), [("abc", 0), ("abc<", 1), ("abc</pro", 5), ("abc</prompt", 8), ("a</x", 0), ("", 0)]
)
def test_what_may_become_a_stop_string_is_held_back(text: str, held: int) -> None:
    assert held_back(text, ["</prompt_", "</Plan_"]) == held
