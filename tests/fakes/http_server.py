"""A scripted server with the part of SGLang's HTTP API that an endpoint needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[BaseHTTPRequestHandler, dict], None]


META = {"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2, "finish_reason": {"type": "stop", "matched": 0}}


@contextmanager
def server(on_generate: Reply, info: dict | None = None, info_status: int = 200) -> Iterator[str]:
    """Yield the address of a server that answers generation requests by `on_generate`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = info if info is not None else {"model_path": "some/model"}
            send(self, known if self.path in ("/model_info", "/get_model_info") else {"path": self.path}, info_status)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
            on_generate(self, body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()


def send(handler: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
    data = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def final_answer(handler: BaseHTTPRequestHandler, body: dict) -> None:
    send(handler, {"text": "<Final_answer>\n\\boxed{4}\n", "meta_info": META})
