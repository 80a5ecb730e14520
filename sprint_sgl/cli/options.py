"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sprint_sgl.validation import COUNT_LIMIT, SECONDS_LIMIT

ApiKey = Annotated[
    str | None, typer.Option(envvar="SPRINT_API_KEY", help="key of the server at --url", show_envvar=True)
]
Url = Annotated[str | None, typer.Option(help="a running SGLang server; by default a runtime is started")]
Model = Annotated[str | None, typer.Option(help="a shipped model, a folder or a hub id")]
RuntimeName = Annotated[str | None, typer.Option(help="a name in conf/runtime, such as cpu or a100")]
Style = Annotated[
    str | None,
    typer.Option(help="sprint, mini, instruct for any chat model, or a folder with your own prompt texts"),
]
Tools = Annotated[
    list[str],
    typer.Option(
        "--tools",
        help="what carries out prompts that are calls: calculator, python, FILE.py, FILE.json, the address of an MCP "
        "server, or 'mcp: COMMAND' (repeat it)",
    ),
]
Launch = Annotated[Literal["eager", "barrier"] | None, typer.Option(help="when executors start")]
Temperature = Annotated[float | None, typer.Option(min=0.0, max=2.0, help="sampling temperature")]
MaxStages = Annotated[int | None, typer.Option(min=1, max=COUNT_LIMIT, help="limit of stages, that is of plans")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, max=COUNT_LIMIT, help="token limit of each call")]
Seed = Annotated[
    int | None,
    typer.Option(min=-(2**63), max=2**63 - 1, help="seed, honoured by runtimes with deterministic inference"),
]
StartupLimit = Annotated[
    float | None, typer.Option(min=1.0, max=SECONDS_LIMIT, help="seconds until a started runtime must answer")
]
ShutdownLimit = Annotated[
    float, typer.Option(min=0.0, max=SECONDS_LIMIT, help="seconds that answers may still take after Ctrl-C")
]
RequestLimit = Annotated[float, typer.Option(min=0.1, max=SECONDS_LIMIT, help="time limit of a request in seconds")]
