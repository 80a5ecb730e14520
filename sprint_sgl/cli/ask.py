"""Commands that answer questions in the terminal: solve and chat."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from sprint_sgl.cli.options import (
    ApiKey,
    Launch,
    MaxNewTokens,
    MaxStages,
    Model,
    RequestLimit,
    RuntimeName,
    Seed,
    StartupLimit,
    Style,
    Temperature,
    Tools,
    Url,
)
from sprint_sgl.console import notes, one_line_errors, print_plain, say, screen, wait_notice
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime.launcher import baseline_for, connect
from sprint_sgl.runtime.launcher import launch as launched
from sprint_sgl.runtime.server import DEFAULT_MODEL
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.tools.sources import read_sources
from sprint_sgl.validation import REQUEST_LIMIT
from sprint_sgl.view.terminal import cost_table

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint

WRONG_ANSWER = 3


def solve(
    question: Annotated[str, typer.Argument(help="the question; '-' reads it from standard input")],
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    baseline: Annotated[str | None, typer.Option(help="the sequential model to compare with")] = None,
    runtime: RuntimeName = None,
    prompt_style: Style = None,
    launch: Launch = None,
    temperature: Temperature = None,
    max_stages: MaxStages = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    tools: Tools = [],  # noqa: B006
    time_limit: RequestLimit = REQUEST_LIMIT,
    startup_limit: StartupLimit = None,
    json: Annotated[bool, typer.Option("--json", help="print the trajectory as JSON")] = False,
) -> None:
    """Answer one question and show its stages as they are written.

    [dim]sprint-sgl solve "Use 15, 3 and 62 to make 80"[/dim]
    [dim]sprint-sgl solve --url http://127.0.0.1:30000 --prompt-style sprint "What is 12 * 34?"[/dim]
    """
    with one_line_errors():
        text = checked_question(sys.stdin.read() if question == "-" else question)
        read_sources(tools)
        style = prompt_style and load_style(prompt_style).name
        _check_no_url(url, model, runtime, baseline)
        sequential = None if url else baseline_for(model, baseline)
        with _endpoint(url, api_key, model, runtime, time_limit, startup_limit) as endpoint:
            from sprint_sgl.cli.solve import SolveOptions
            from sprint_sgl.cli.solve import solve as solve_question

            options = SolveOptions(sequential, style, launch, temperature, max_stages, max_new_tokens, seed, tools)
            answers = solve_question(text, options, endpoint, None if json else screen())
    if json:
        print(answers[0].trajectory.to_json(indent=2))
    else:
        rows = [(each.method, each.answer, each.trajectory) for each in answers]
        screen().print(cost_table(rows, screen().width))
    for each in answers:
        print_plain(notes if json else screen(), str(each))
    raise typer.Exit(WRONG_ANSWER if answers[0].verdict and not answers[0].verdict.correct else 0)


def chat(
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    runtime: RuntimeName = None,
    prompt_style: Style = None,
    launch: Launch = None,
    temperature: Temperature = None,
    max_stages: MaxStages = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    tools: Tools = [],  # noqa: B006
    time_limit: RequestLimit = REQUEST_LIMIT,
    startup_limit: StartupLimit = None,
) -> None:
    """Hold a conversation with a planner and its executors; each question includes the earlier turns.

    /new starts a new conversation. /quit, Ctrl-D or Ctrl-C at the prompt ends the command; Ctrl-C stops an answer.
    /help lists these commands.
    Lines from a pipe are answered one after the other.

    [dim]sprint-sgl chat[/dim]
    [dim]sprint-sgl chat --url http://127.0.0.1:30000 --prompt-style sprint[/dim]
    """
    with one_line_errors():
        read_sources(tools)
        style = prompt_style and load_style(prompt_style).name
        _check_no_url(url, model, runtime)
        with _endpoint(url, api_key, model, runtime, time_limit, startup_limit) as endpoint:
            from sprint_sgl.cli.chat import Chat
            from sprint_sgl.cli.solve import SolveOptions

            options = SolveOptions(None, style, launch, temperature, max_stages, max_new_tokens, seed, tools)
            Chat(options, endpoint, screen()).run()


def _check_no_url(url: str | None, *values: str | None) -> None:
    """Raise BadInput if there is both a URL and an option of a runtime that is to be started."""
    if url and (value := next(filter(None, values), None)):
        raise BadInput(f"{value!r} is an option of a runtime that is started; the server at --url has its own model")


@contextmanager
def _endpoint(
    url: str | None,
    api_key: str | None,
    model: str | None,
    runtime: str | None,
    time_limit: float,
    startup_limit: float | None,
) -> Iterator[Endpoint]:
    """Yield an endpoint of the server at the URL, or of a runtime that is started and ends with the `with`."""
    if url is not None:
        if not url.strip():
            raise BadInput("--url is empty: give the address of a running SGLang server, or leave it out")
        with ExitStack() as stack:
            with wait_notice(f"connecting to {url}"):
                endpoint = stack.enter_context(connect(url, api_key, time_limit=time_limit))
            yield endpoint
        return
    begun, name = time.monotonic(), model or DEFAULT_MODEL
    with launched(name, runtime=runtime, time_limit=time_limit, startup_limit=startup_limit) as endpoint:
        say(f"{name} is up after {time.monotonic() - begun:.1f} s", style="dim")
        yield endpoint
