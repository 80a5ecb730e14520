"""Starts the runtimes, serves until a signal, and stops everything that was started."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import FastAPI

from sprint_sgl.console import say, wait_notice
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.registry import Method, misfit, named_method, weights_for
from sprint_sgl.runtime.server import check_port, free_port, resolve_model
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.app import Api
from sprint_sgl.serving.backends import Backend, EmbeddedBackend, RemoteBackend
from sprint_sgl.serving.keys import KEYS_VARIABLE, check_address, check_origins, read_keys
from sprint_sgl.serving.metrics import Metrics
from sprint_sgl.serving.service import STOP_LIMIT, Service
from sprint_sgl.tools.sources import shared_toolbox

M_ARENA_MAX = -8  # its value in malloc.h
CONNECT_LIMIT = 10.0  # seconds
ERROR_REPLY_LIMIT = 5.0  # seconds to send the errors of runs that a shutdown has ended


@dataclass(frozen=True)
class ServeOptions:
    """What is served, on which runtime, to whom. `concurrency` runs at a time, `queue` waiters; limits in seconds."""

    model: str
    programs: Sequence[str]
    name: str | None
    url: str | None
    url_key: str | None
    runtime: str | None
    host: str
    port: int
    key_file: Path | None
    origins: Sequence[str]
    concurrency: int
    queue: int
    time_limit: float
    shutdown_limit: float
    startup_limit: float | None = None
    tools: Sequence[str] = ()

    @property
    def served_name(self) -> str:
        return self.name or Path(self.model).name.replace("_", "-")


def serve(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises BadInput and LaunchFailed before listening."""
    keys = read_keys(os.environ.get(KEYS_VARIABLE), options.key_file)
    check_address(options.host, keys)
    check_origins(options.origins)
    port = options.port or free_port(options.host)
    check_port(options.host, port)
    limit_malloc_arenas()
    with exit_if_stuck(), start_backends(options) as models:
        admission = Admission(options.concurrency, options.queue)
        service = Service(models, admission)
        app = Api(service, Metrics(admission), options.time_limit, keys, origins=options.origins).app()
        say(f"{', '.join(models)} at http://{options.host}:{port}/v1; Ctrl-C stops it")
        GracefulServer(app, service, options.host, port, options.shutdown_limit).run()


def limit_malloc_arenas() -> None:
    """Limit glibc to two arenas for freed memory: by default each short-lived thread leaves some in one of its own."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


@contextmanager
def exit_if_stuck() -> Iterator[None]:
    """End the process if a request to somebody else's runtime hangs: SGLang's thread would wait for its time limit."""
    try:
        yield
    finally:
        deadline = time.monotonic() + STOP_LIMIT
        while stuck := [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]:
            if time.monotonic() > deadline:
                say(f"{len(stuck)} requests hang: leaving them", style="yellow")
                os._exit(1)
            time.sleep(0.05)


class GracefulServer(uvicorn.Server):
    """On a signal, lets runs finish for `shutdown_limit` seconds, then ends them and sends their clients an error."""

    def __init__(self, app: FastAPI, service: Service, host: str, port: int, shutdown_limit: float) -> None:
        last = math.ceil(shutdown_limit + ERROR_REPLY_LIMIT)
        super().__init__(uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=last))
        self._service, self._limit = service, shutdown_limit

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        ending = asyncio.create_task(self._end_runs())
        await super().shutdown(sockets)
        if not self._service.closing:
            ending.cancel()
            await self._service.close()

    async def _end_runs(self) -> None:
        await asyncio.sleep(self._limit)
        await self._service.close()


def with_tools(methods: list[Method], names: Sequence[str]) -> list[Method]:
    """Return the methods; those whose program takes tools get these, in one box. Raises BadInput if none takes any."""
    if not names:
        return methods
    if not any("tools" in method.program.arg_names for method in methods):
        raise BadInput(f"no program that is served takes tools: serve --program sprint with --tools {names[0]}")
    box = shared_toolbox(tuple(names))
    return [
        replace(method, program=method.program.bind(tools=box)) if "tools" in method.program.arg_names else method
        for method in methods
    ]


@contextmanager
def start_backends(options: ServeOptions) -> Iterator[dict[str, tuple[Method, Backend]]]:
    """Yield program and runtime by model id. Each set of weights has one runtime, which is up."""
    methods = with_tools([named_method(name) for name in dict.fromkeys(options.programs)], options.tools)
    if not methods:
        raise BadInput("there is no program to serve: name one with --program")
    weights = {m.name: options.url or resolve_model(weights_for(options.model, m.name)) for m in methods}
    with ExitStack() as stack:
        up: dict[str, Backend] = {}
        for path in dict.fromkeys(weights.values()):
            up[path] = (
                RemoteBackend(path, options.url_key)
                if options.url
                else EmbeddedBackend(path, options.runtime, options.startup_limit)
            )
            stack.callback(up[path].stop)
            up[path].start()
        with wait_notice(f"waiting for {len(up)} SGLang runtime{'s' * (len(up) > 1)}"):
            for backend in up.values():
                backend.wait_until_up()
        for method in methods if options.url else ():
            if line := misfit(method, up[weights[method.name]].session(CONNECT_LIMIT)):
                say(line, style="yellow")
        names = {f"{options.served_name}:{method.name}": (method, up[weights[method.name]]) for method in methods}
        yield {options.served_name: next(iter(names.values())), **names}
