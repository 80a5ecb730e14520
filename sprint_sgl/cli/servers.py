"""Commands that run until Ctrl-C: launch (an SGLang runtime) and serve (an OpenAI-compatible server)."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sprint_sgl.cli.options import ApiKey, Model, RuntimeName, ShutdownLimit, StartupLimit, Tools
from sprint_sgl.console import one_line_errors, say, wait_notice
from sprint_sgl.errors import LaunchFailed
from sprint_sgl.runtime.launcher import gateway_config, running_server
from sprint_sgl.runtime.server import DEFAULT_MODEL
from sprint_sgl.validation import COUNT_LIMIT, SECONDS_LIMIT


def launch_runtime(
    model: Model = None,
    runtime: RuntimeName = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port")] = 30000,
    api_key: Annotated[str | None, typer.Option(envvar="SPRINT_API_KEY", help="key that requests must carry")] = None,
    workers: Annotated[int | None, typer.Option(help="with --runtime gateway: number of runtimes")] = None,
    base: Annotated[str | None, typer.Option(help="with --runtime gateway: the --runtime of each worker")] = None,
    policy: Annotated[str | None, typer.Option(help="with --runtime gateway: cache_aware, round_robin, ...")] = None,
    startup_limit: StartupLimit = None,
) -> None:
    """Run an SGLang runtime, or several behind a gateway, in the foreground until Ctrl-C.

    [dim]sprint-sgl launch --port 30000[/dim]
    [dim]sprint-sgl launch --runtime a100 --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B[/dim]
    [dim]sprint-sgl launch --runtime gateway --workers 8 --base a100 --model work/sprint-7b[/dim]
    """
    with one_line_errors():
        name, begun = model or DEFAULT_MODEL, time.monotonic()
        config = gateway_config(runtime, workers=workers, base=base, policy=policy)
        with ExitStack() as stack:
            with wait_notice(f"starting an SGLang runtime for {name}"):
                started = running_server(
                    name, runtime=config, host=host, port=port, api_key=api_key, startup_limit=startup_limit
                )
                server = stack.enter_context(started)
            took = time.monotonic() - begun
            workers_text = f" on {config.workers} workers" if config and config.workers else ""
            say(f"{name} serves at {server.url}{workers_text} after {took:.1f} s; Ctrl-C stops it")
            code = server.supervisor.wait()
            raise LaunchFailed(f"the runtime ended {server.exit_report(code)}")


def serve(
    model: Annotated[
        str, typer.Option(help="a name in conf/models, a shipped model, a folder or a hub id")
    ] = "countdown_mini",
    program: Annotated[
        list[str], typer.Option(help="a program to serve as MODEL:PROGRAM; the first is the default (repeat it)")
    ] = ["sprint", "sequential"],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="the model's name for clients; by default its folder's")] = None,
    url: Annotated[
        str | None, typer.Option(help="a running SGLang server or gateway; by default a runtime is started")
    ] = None,
    api_key: ApiKey = None,
    runtime: RuntimeName = None,
    host: Annotated[str, typer.Option(help="address to listen on; only loopback needs no keys")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port")] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(help="file with the clients' keys, one on each line; added to SPRINT_SERVE_KEYS")
    ] = None,
    allow_origin: Annotated[
        list[str],
        typer.Option(help="let pages of an origin call: https://example.org, or * for all (repeat it)"),
    ] = [],  # noqa: B006
    concurrency: Annotated[int, typer.Option(min=1, max=COUNT_LIMIT, help="limit of concurrent questions")] = 16,
    queue: Annotated[
        int, typer.Option(min=0, max=COUNT_LIMIT, help="limit of waiting requests; further ones get status 429")
    ] = 64,
    time_limit: Annotated[
        float, typer.Option(min=0.1, max=SECONDS_LIMIT, help="time limit of a whole answer in seconds")
    ] = 600.0,
    shutdown_limit: ShutdownLimit = 30.0,
    startup_limit: StartupLimit = None,
    tools: Tools = [],  # noqa: B006
) -> None:
    """Serve programs behind OpenAI's HTTP interface until Ctrl-C.

    [dim]sprint-sgl serve --port 8000[/dim]
    [dim]sprint-sgl serve --model work/sprint-7b --runtime a100 --host 0.0.0.0 --key-file keys.txt[/dim]
    """
    with one_line_errors():
        from sprint_sgl.serving.server import ServeOptions
        from sprint_sgl.serving.server import serve as serve_forever

        options = ServeOptions(
            model=model,
            programs=program,
            name=name,
            url=url,
            url_key=api_key,
            runtime=runtime,
            host=host,
            port=port,
            key_file=key_file,
            origins=allow_origin,
            concurrency=concurrency,
            queue=queue,
            time_limit=time_limit,
            shutdown_limit=shutdown_limit,
            startup_limit=startup_limit,
            tools=tools,
        )
        serve_forever(options)
