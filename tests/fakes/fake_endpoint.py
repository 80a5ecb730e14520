"""A scripted endpoint with the part of OpenAI's HTTP API that curation needs, on a real socket.

    python tests/fakes/fake_endpoint.py --port 30000 --seconds 2

Serves until it is interrupted; each answer takes `--seconds`. `answer` returns the text.
"""

from __future__ import annotations

import argparse
import email
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LINES_A_COMPONENT = 6


def answer(messages: list[dict[str, str]]) -> str:
    """Return a valid answer to either of curation's two prompts (the first has numbered lines), "4" to any other."""
    prompt = messages[0]["content"]
    if lines := re.findall(r"^(\d+): .* :\1$", prompt, re.M):
        return components(max(int(line) for line in lines))
    if numbers := re.findall(r"^### Component (\d+)$", prompt, re.M):
        return f"parent_dictionary = {parents(max(int(number) for number in numbers))}"
    return "4"


def components(lines: int) -> str:
    starts = range(1, lines + 1, LINES_A_COMPONENT)
    return "\n\n".join(
        component(number, start, min(start + LINES_A_COMPONENT - 1, lines)) for number, start in enumerate(starts, 1)
    )


def component(number: int, first: int, last: int) -> str:
    execution = f"Lines {first + 1}-{last}" if last > first else "Lines not found"
    return (
        f"### Component {number} (Lines {first}-{last})\n- **Description:** move {number}\n- **Plan:** Line {first}\n"
        f"- **Prompt:** Carry out the above plan.\n- **Execution:** {execution}\n- **Comment:** Lines not found"
    )


def parents(count: int) -> dict[int, list[int]]:
    """Return dependencies: threes side by side, each after the three before them, the first three after component 1."""
    return {
        n: [] if n == 1 else [1] if n < 5 else list(range((n - 2) // 3 * 3 - 1, (n - 2) // 3 * 3 + 2))
        for n in range(1, count + 1)
    }


@dataclass(frozen=True)
class Answer:
    """A scripted answer. A status other than 200 sends `error`; `sent` replaces the whole completion."""

    text: str | None = "4"
    finish: str = "stop"
    refusal: str | None = None
    status: int = 200
    error: dict[str, Any] = field(default_factory=lambda: {"message": "scripted failure"})
    headers: dict[str, str] = field(default_factory=dict)
    usage: bool = True
    seconds: float = 0.0
    sent: Any = None

    def body(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.status != 200:
            return {"error": self.error}
        if self.sent is not None:
            return dict(self.sent)
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": self.finish, "message": message, "logprobs": None}],
        }
        counts = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        return completion | ({"usage": counts} if self.usage else {})


Script = Callable[[dict[str, Any]], Answer | str]


def by_hook(request: dict[str, Any]) -> str:
    return answer(request["messages"])


class FakeEndpoint(ThreadingHTTPServer):
    """A server that runs inside a `with` block.

    script     returns the answer to a chat completion's body
    log        bodies of all chat completions in order; peak: the most under way at once
    uploads, batches   contents of the batch routes; while `holding`, batches stay in progress
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, script: Script = by_hook, seconds: float = 0.0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.seconds = script, seconds
        self.log: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.under_way = self.peak = 0
        self.uploads: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.holding = False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> FakeEndpoint:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def scripted(self, request: dict[str, Any]) -> Answer:
        result = self.script(request)
        return Answer(result) if isinstance(result, str) else result

    def complete(self, request: dict[str, Any]) -> Answer:
        with self.lock:
            self.log.append(request)
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
        try:
            result = self.scripted(request)
            time.sleep(self.seconds + result.seconds)
            return result
        finally:
            with self.lock:
                self.under_way -= 1

    def upload(self, text: str) -> dict[str, Any]:
        with self.lock:
            name = f"file-{len(self.uploads)}"
            self.uploads[name] = text
        return {
            "id": name,
            "object": "file",
            "bytes": len(text),
            "created_at": 1,
            "filename": "f",
            "purpose": "batch",
            "status": "processed",
        }

    def create_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            name = f"batch_{len(self.batches)}"
            self.batches[name] = body | {"id": name, "object": "batch", "created_at": 1, "status": "in_progress"}
        return self.batches[name]

    def batch(self, name: str) -> dict[str, Any]:
        """Return a batch; it is completed on the first request while `holding` is False."""
        batch = self.batches[name]
        if batch["status"] == "in_progress" and not self.holding:
            results = [self.result(json.loads(line)) for line in self.uploads[batch["input_file_id"]].splitlines()]
            for field_name, wanted in (("output_file_id", True), ("error_file_id", False)):
                part = [result for result in results if (result["response"]["status_code"] == 200) == wanted]
                if part:
                    batch[field_name] = self.upload("".join(json.dumps(result) + "\n" for result in part))["id"]
            batch["status"] = "completed"
        return batch

    def result(self, call: dict[str, Any]) -> dict[str, Any]:
        scripted = self.scripted(call["body"])
        response = {"status_code": scripted.status, "request_id": "r", "body": scripted.body(call["body"])}
        return {"id": "batch_req", "custom_id": call["custom_id"], "response": response, "error": None}

    def listing(self, after: str | None, limit: int) -> dict[str, Any]:
        """Return a page of batches, the newest first."""
        batches = list(reversed(self.batches.values()))
        start = next((n for n, batch in enumerate(batches, 1) if batch["id"] == after), 0)
        page = batches[start : start + limit]
        return {"object": "list", "data": page, "has_more": start + limit < len(batches)}


class Handler(BaseHTTPRequestHandler):
    server: FakeEndpoint
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.split("/")[2:]:
            case ["batches"]:
                query = parse_qs(url.query)
                self.send(self.server.listing(query.get("after", [None])[0], int(query.get("limit", ["20"])[0])))
            case ["batches", name] if name in self.server.batches:
                self.send(self.server.batch(name))
            case ["files", name, "content"]:
                self.send_bytes(self.server.uploads[name].encode(), "application/octet-stream")
            case _:
                self.send({"error": {"message": f"no route {self.path}"}}, 404)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.add(self.headers["Authorization"])
        match self.path.split("/")[2:]:
            case ["chat", "completions"]:
                request = json.loads(data)
                result = self.server.complete(request)
                self.send(result.body(request), result.status, result.headers)
            case ["files"]:
                self.send(self.server.upload(uploaded(self.headers["Content-Type"], data)))
            case ["batches"]:
                self.send(self.server.create_batch(json.loads(data)))
            case _:
                self.send({"error": {"message": f"no route {self.path}"}}, 404)

    def send(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_bytes(json.dumps(value).encode(), "application/json", status, headers)

    def send_bytes(self, data: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:  # the client gave up, as some tests have it do
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def uploaded(content_type: str, data: bytes) -> str:
    """Return the file in a multipart form."""
    form = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + data)
    parts = {part.get_param("name", header="Content-Disposition"): part for part in form.get_payload()}
    return parts["file"].get_payload(decode=True).decode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with FakeEndpoint(seconds=options.seconds, port=options.port) as endpoint:
        print(f"{endpoint.url} answers after {options.seconds:g} s", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"{len(endpoint.log)} requests, at most {endpoint.peak} at once")


if __name__ == "__main__":
    main()
