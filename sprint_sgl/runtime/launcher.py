"""Start an SGLang runtime, or use one that runs already.

    with launch():                              # the shipped model on this machine
        state = sprint_program.run("Use 15, 3 and 62 to make 80")
    with connect("http://127.0.0.1:30000"):     # a server that runs already
        ...

Both set the default backend of SGLang's frontend for the time of the `with` and restore it afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sprint_sgl.console import wait_notice
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.server import (
    DEFAULT_MODEL,
    STARTUP_LIMIT,
    RuntimeConfig,
    ServerProcess,
    default_runtime,
    ready_path,
    resolve_model,
    runtime_config,
    start_server,
    wait_until_ready,
    warn_changed_arguments,
)
from sprint_sgl.validation import REQUEST_LIMIT, checked_seconds

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint

DEFAULT_BASELINE = "countdown-mini-rft"


def gateway_config(name: str | None, **given: Any) -> RuntimeConfig | None:
    """Return the runtime of that name with other workers, base or policy of its gateway; None if no runtime is named.

    Raises BadInput if the runtime is not a gateway.
    """
    config, changes = runtime_config(name) if name else None, {k: v for k, v in given.items() if v is not None}
    if changes and (config is None or config.workers is None):
        raise BadInput(f"--{next(iter(changes))} is for --runtime gateway")
    return replace(config, **changes) if config else None


def baseline_for(model: str | None, baseline: str | None) -> str | None:
    """Return the path of the sequential model to compare with: the named one, or the default model's companion."""
    if baseline:
        return resolve_model(baseline)
    return resolve_model(DEFAULT_BASELINE) if model in (None, DEFAULT_MODEL) else None


@contextmanager
def running_server(
    model: str = DEFAULT_MODEL,
    *,
    runtime: str | RuntimeConfig | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    startup_limit: float | None = None,
    meanwhile: Callable[[], object] | None = None,
    **args: Any,
) -> Iterator[ServerProcess]:
    """Yield a server that is ready; it ends with the `with`. Arguments and errors as for `launch`.

    `meanwhile` is called while the server loads, such as for slow imports on our side.
    """
    given = runtime if isinstance(runtime, RuntimeConfig) else runtime_config(runtime) if runtime else RuntimeConfig()
    is_gateway = given.workers is not None
    config = given if given.args or given.url or is_gateway else runtime_config(default_runtime())
    limits = (startup_limit, given.startup_limit, STARTUP_LIMIT)
    limit = checked_seconds("startup_limit", next(each for each in limits if each is not None))
    if config.url:
        raise BadInput(
            f"this runtime is a server at {config.url}, and nothing is started: use connect({config.url!r}) or "
            f"--url {config.url}"
        )
    overrides = {key.replace("_", "-"): value for key, value in args.items()}
    if api_key:
        overrides["api-key"] = api_key
    config = replace(config, args={**config.args, **overrides})
    if is_gateway:
        from sprint_sgl.runtime.gateway import running_gateway

        with running_gateway(config, model, host, port, limit, meanwhile) as server:
            yield server
        return
    server = start_server(config, model, host=host, port=port)
    try:
        if meanwhile:
            meanwhile()
        wait_until_ready(server, limit, ready_path(config))
        warn_changed_arguments(server, config.args, api_key or config.args.get("api-key"))
        yield server
    finally:
        server.stop()


@contextmanager
def launch(
    model: str = DEFAULT_MODEL,
    *,
    runtime: str | RuntimeConfig | None = None,
    port: int = 0,
    api_key: str | None = None,
    startup_limit: float | None = None,
    time_limit: float = REQUEST_LIMIT,
    **args: Any,
) -> Iterator[Endpoint]:
    """Start a runtime and yield its endpoint, set as the default backend; the runtime ends with the `with`.

    model          shipped name, folder or hub id
    runtime        a name in conf/runtime, or its content; by default the GPU's if there is one, else the CPU's
    port           0 picks a free one
    startup_limit  seconds until it must answer, by default the runtime's own; time_limit, of one request
    args           sglang server arguments (`max_total_tokens=8192`) over those of the runtime
    Raises BadInput for an unknown model or runtime, LaunchFailed with the end of the server's log.
    """
    options: dict[str, Any] = {"runtime": runtime, "port": port, "api_key": api_key, "startup_limit": startup_limit}
    with ExitStack() as stack:
        with wait_notice(f"starting an SGLang runtime for {model}"):
            server = stack.enter_context(running_server(model, meanwhile=_import_frontend, **options, **args))
        yield stack.enter_context(connect(server.url, api_key, time_limit=time_limit))


def _import_frontend() -> None:
    importlib.import_module("sprint_sgl.runtime.endpoint")


@contextmanager
def connect(url: str, api_key: str | None = None, **options: Any) -> Iterator[Endpoint]:
    """Yield the endpoint of a running SGLang server, set as the default backend in the `with`.

    Options as for `Endpoint`. Raises RuntimeUnavailable if no SGLang server answers.
    """
    from sprint_sgl.runtime.endpoint import Endpoint
    from sprint_sgl.runtime.frontend import global_config

    endpoint = Endpoint(url, api_key, **options)
    previous, global_config.default_backend = global_config.default_backend, endpoint
    try:
        yield endpoint
    finally:
        global_config.default_backend = previous
        endpoint.close()
