"""The `sprint-sgl` command. Commands for people take options; commands that run experiments take Hydra overrides."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sprint_sgl.errors import BadInput, LaunchFailed
from sprint_sgl.limits import COUNT_LIMIT, SECONDS_LIMIT
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime import launcher as runtimes
from sprint_sgl.storage.files import given_path
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.view.console import busy, notes, one_line_errors, say, screen, tell
from sprint_sgl.view.terminal import costs

if TYPE_CHECKING:
    from sprint_sgl.runtime.endpoint import Endpoint

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
EXPERIMENT = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
WRONG_ANSWER = 3

ApiKey = Annotated[
    str | None, typer.Option(envvar="SPRINT_API_KEY", help="key of the server at --url", show_envvar=True)
]
Url = Annotated[str | None, typer.Option(help="a running SGLang server; by default one is started here")]
Model = Annotated[str | None, typer.Option(help="a shipped model, a folder or a hub id")]
RuntimeName = Annotated[str | None, typer.Option(help="a name in conf/runtime, such as cpu or a100")]
Style = Annotated[str | None, typer.Option(help="sprint, mini, or a folder with your own texts")]
Launch = Annotated[Literal["eager", "barrier"], typer.Option(help="when executors start")]
Temperature = Annotated[float, typer.Option(min=0.0, max=2.0)]
MaxStages = Annotated[int, typer.Option(min=1, max=COUNT_LIMIT)]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, max=COUNT_LIMIT, help="limit for each call")]
Seed = Annotated[
    int | None, typer.Option(min=-(2**63), max=2**63 - 1, help="for runtimes with deterministic inference")
]
RequestLimit = Annotated[float, typer.Option(min=0.1, max=SECONDS_LIMIT, help="seconds that one request may take")]


def show_version(asked: bool) -> None:
    """Print the version that is installed and end."""
    if asked:
        print(f"sprint-sgl {metadata.version('sprint-sgl')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """SPRINT: a reasoning model plans subtasks and runs them at the same time, on SGLang."""


@app.command("list")
def list_names(
    group: Annotated[str | None, typer.Argument(help="one group, such as runtime or recipe; by default all")] = None,
) -> None:
    """Show what can be named: runtimes, models, programs, tasks, recipes, teachers and more.

    [dim]sprint-sgl list[/dim]
    [dim]sprint-sgl list recipe[/dim]
    """
    with one_line_errors():
        screen().print(importlib.import_module("sprint_sgl.catalogue").listed(group))


@app.command()
def solve(
    question: Annotated[str, typer.Argument(help="the question; '-' reads it from standard input")],
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    baseline: Annotated[str | None, typer.Option(help="the sequential model to compare with")] = None,
    runtime: RuntimeName = None,
    prompt_style: Style = None,
    launch: Launch = "eager",
    temperature: Temperature = 0.6,
    max_stages: MaxStages = 12,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    time_limit: RequestLimit = 600.0,
    json: Annotated[bool, typer.Option("--json", help="print the trajectory as JSON")] = False,
) -> None:
    """Answer one question and show the stages as they happen.

    [dim]sprint-sgl solve "Use 3, 7, 12 and 25 to make 66"[/dim]
    [dim]sprint-sgl solve --url http://127.0.0.1:30000 --prompt-style sprint "What is 12 * 34?"[/dim]
    """
    with one_line_errors():
        checked = checked_question(sys.stdin.read() if question == "-" else question)
        style = prompt_style and load_style(prompt_style).name
        _check_started_here(url, model, runtime, baseline)
        sequential = None if url else runtimes.baseline_for(model, baseline)
        with _endpoint(url, api_key, model, runtime, time_limit) as endpoint:
            program = importlib.import_module("programs.solve")
            options = program.Options(sequential, style, launch, temperature, max_stages, max_new_tokens, seed)
            answered = program.solve(checked, options, endpoint, None if json else screen())
    if json:
        print(answered[0].trajectory.to_json(indent=2))
    else:
        rows = [(each.method, each.answer, each.trajectory) for each in answered]
        screen().print(costs(rows, screen().width))
    for each in answered:
        tell(notes if json else screen(), str(each))
    raise typer.Exit(WRONG_ANSWER if answered[0].verdict and not answered[0].verdict.correct else 0)


@app.command()
def chat(
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    runtime: RuntimeName = None,
    prompt_style: Style = None,
    launch: Launch = "eager",
    temperature: Temperature = 0.6,
    max_stages: MaxStages = 12,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    time_limit: RequestLimit = 600.0,
) -> None:
    """Talk with a planner and its executors; what was said before is part of every question.

    /new forgets what was said; /quit, Ctrl-D or Ctrl-C at the prompt ends; Ctrl-C stops an answer. Lines from a pipe
    are answered in turn.

    [dim]sprint-sgl chat[/dim]
    [dim]sprint-sgl chat --url http://127.0.0.1:30000 --prompt-style sprint[/dim]
    """
    with one_line_errors():
        style = prompt_style and load_style(prompt_style).name
        _check_started_here(url, model, runtime)
        with _endpoint(url, api_key, model, runtime, time_limit) as endpoint:
            options = importlib.import_module("programs.solve").Options(
                None, style, launch, temperature, max_stages, max_new_tokens, seed
            )
            importlib.import_module("programs.chat").Chat(options, endpoint, screen()).hold()


def _check_started_here(url: str | None, *given: str | None) -> None:
    if url and (value := next(filter(None, given), None)):
        raise BadInput(f"{value!r} is for a runtime that is started here; the one at --url has its own model")


@contextmanager
def _endpoint(
    url: str | None, api_key: str | None, model: str | None, runtime: str | None, time_limit: float
) -> Iterator[Endpoint]:
    """The server at the url, or one of our own; both are gone from here when the `with` ends."""
    if url is not None:
        if not url.strip():
            raise BadInput("--url is empty: give the address of a running SGLang server, or leave it out")
        with runtimes.connect(url, api_key, time_limit=time_limit) as endpoint:
            yield endpoint
        return
    begun, name = time.monotonic(), model or runtimes.DEFAULT_MODEL
    with ExitStack() as stack:
        with busy(f"starting an SGLang runtime for {name}"):
            endpoint = stack.enter_context(runtimes.launch(name, runtime=runtime, time_limit=time_limit))
        say(f"{name} is up after {time.monotonic() - begun:.1f} s", style="dim")
        yield endpoint


@app.command("launch")
def launch_runtime(
    model: Model = None,
    runtime: RuntimeName = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one")] = 30000,
    api_key: Annotated[str | None, typer.Option(envvar="SPRINT_API_KEY", help="key that requests must carry")] = None,
    workers: Annotated[int | None, typer.Option(help="of --runtime gateway: runtimes behind it")] = None,
    base: Annotated[str | None, typer.Option(help="of --runtime gateway: what each of them is, as --runtime")] = None,
    policy: Annotated[str | None, typer.Option(help="of --runtime gateway: cache_aware, round_robin, ...")] = None,
) -> None:
    """Run an SGLang runtime, or several behind a gateway, in the foreground until Ctrl-C.

    [dim]sprint-sgl launch --port 30000[/dim]
    [dim]sprint-sgl launch --runtime a100 --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B[/dim]
    [dim]sprint-sgl launch --runtime gateway --workers 8 --base a100 --model work/sprint-7b[/dim]
    """
    with one_line_errors():
        name, begun = model or runtimes.DEFAULT_MODEL, time.monotonic()
        config = runtimes.with_crew(runtime, workers=workers, base=base, policy=policy)
        with ExitStack() as stack:
            with busy(f"starting an SGLang runtime for {name}"):
                running = runtimes.running(name, runtime=config, host=host, port=port, api_key=api_key)
                server = stack.enter_context(running)
            took = time.monotonic() - begun
            crew = f" on {config.workers} workers" if config and config.workers else ""
            say(f"{name} serves at {server.url}{crew} after {took:.1f} s; Ctrl-C stops it")
            code = server.supervisor.wait()
            raise LaunchFailed(f"the runtime ended {server.last_words(code)}")


@app.command()
def serve(
    model: Annotated[
        str, typer.Option(help="a name in conf/models, a shipped model, a folder or a hub id")
    ] = "countdown_mini",
    program: Annotated[
        list[str], typer.Option(help="programs to offer, as MODEL:PROGRAM; the first is the default (repeat it)")
    ] = ["sprint", "sequential"],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="the model's name for clients; by default its own")] = None,
    url: Annotated[
        str | None, typer.Option(help="a running SGLang server or gateway; by default one is started")
    ] = None,
    api_key: ApiKey = None,
    runtime: RuntimeName = None,
    host: Annotated[str, typer.Option(help="address to listen on; others than this machine's need keys")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one")] = 8000,
    key_file: Annotated[Path | None, typer.Option(help="keys of clients, one a line, beside SPRINT_SERVE_KEYS")] = None,
    allow_origin: Annotated[
        list[str], typer.Option(help="let pages of this origin ask, such as https://example.org; * for all (repeat it)")
    ] = [],  # noqa: B006
    concurrency: Annotated[int, typer.Option(min=1, max=COUNT_LIMIT, help="questions at a time")] = 16,
    queue: Annotated[
        int, typer.Option(min=0, max=COUNT_LIMIT, help="requests that may wait; beyond them clients are told to wait")
    ] = 64,
    time_limit: Annotated[float, typer.Option(min=0.1, max=SECONDS_LIMIT, help="seconds for a whole answer")] = 600.0,
    shutdown_limit: Annotated[
        float, typer.Option(min=0.0, max=SECONDS_LIMIT, help="seconds that answers may take on after Ctrl-C")
    ] = 30.0,
) -> None:
    """Serve programs behind OpenAI's HTTP interface until Ctrl-C.

    [dim]sprint-sgl serve --port 8000[/dim]
    [dim]sprint-sgl serve --model work/sprint-7b --runtime a100 --host 0.0.0.0 --key-file keys.txt[/dim]
    """
    with one_line_errors():
        server = importlib.import_module("programs.serving.server")
        options = server.Options(
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
        )
        server.serve(options)


def _experiment(module: str, context: typer.Context) -> None:
    """Hands everything after the command's name to Hydra."""
    sys.argv = [f"sprint-sgl {context.info_name}", *context.args]
    with one_line_errors():
        importlib.import_module(module).main()


@app.command(context_settings=EXPERIMENT)
def bench(context: typer.Context) -> None:
    """Run methods on a benchmark task: accuracy, tokens, wall clock (Hydra overrides).

    [dim]sprint-sgl bench task=countdown task.problems=300 program=sprint against=[sequential] out=work/bench[/dim]
    """
    _experiment("programs.bench", context)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="folders that bench has written")],
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="where report.html, report.csv and the figures go")
    ] = "work/report",
    baseline: Annotated[
        str | None, typer.Option(help="the method to compare with; by default the sequential one")
    ] = None,
) -> None:
    """Tables and figures of one or several benchmark runs, as a page that loads nothing from anywhere.

    [dim]sprint-sgl report work/bench --out work/report[/dim]
    """
    with one_line_errors():
        importlib.import_module("programs.benchmark.report").report(runs, out, baseline)
        say(f"{Path(out, 'report.html')}, {Path(out, 'report.csv')}")


@app.command()
def profile(run: Annotated[Path, typer.Argument(help="a folder that bench has written")]) -> None:
    """Where the time of a benchmark run went: decoding, prefill, queue, HTTP, Python, on each answer's critical path.

    [dim]sprint-sgl profile work/bench[/dim]
    """
    with one_line_errors():
        screen().print(importlib.import_module("programs.benchmark.profiles").show(run))


@app.command()
def view(
    source: Annotated[
        Path,
        typer.Argument(
            help="a trajectory or an answer of serve (.json), a transcript (.txt), a benchmark's or a curation's folder"
        ),
    ],
    out: Annotated[str, typer.Option(metavar="FILE", help="the page")] = "work/view.html",
    method: Annotated[str | None, typer.Option(help="of a benchmark, this method only")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="of a benchmark, wrong answers only")] = False,
    most: Annotated[int, typer.Option(min=1, help="runs on the page")] = 20,
    show: Annotated[bool, typer.Option("--open/--no-open", help="open it in the browser")] = True,
) -> None:
    """Write trajectories as a page that loads nothing from anywhere: timeline, stages side by side, transcript.

    [dim]sprint-sgl solve --json "Use 5, 20 and 4 to make 80" > run.json; sprint-sgl view run.json[/dim]
    [dim]sprint-sgl view work/bench --method sprint --wrong[/dim]
    """
    with one_line_errors():
        page, path = importlib.import_module("sprint_sgl.view.trajectory_page"), given_path(out, "--out")
        if path.exists() and path.samefile(source):
            raise BadInput(f"--out {path} is what is read: give the page another name")
        found = [
            run
            for run in page.read(source)
            if method in (None, run.method) and not (wrong and run.correct is not False)
        ]
        if not found:
            raise BadInput(f"{source} holds no such run")
        page.view(found[:most], path, title=source.stem, left_out=len(found[most:]))
        say(str(path))
    if show:
        typer.launch(str(path))


@app.command(context_settings=EXPERIMENT)
def fleet(context: typer.Context) -> None:
    """What many questions on many workers will take: hours, money, what breaks first (Hydra overrides).

    [dim]sprint-sgl fleet path=trajectories.jsonl workers=64 questions=1000000 price=2[/dim]
    """
    _experiment("programs.fleet", context)


@app.command(context_settings=EXPERIMENT)
def train(context: typer.Context) -> None:
    """Fine-tune with ms-swift (Hydra overrides). Before: look at rows (train check), ask what it needs (train cost).

    [dim]sprint-sgl train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint[/dim]
    [dim]sprint-sgl train check work/countdown/sprint.train.jsonl --model countdown-mini-sprint[/dim]
    [dim]sprint-sgl train cost recipe=paper machines.processes=8 device=a100_40gb[/dim]
    """
    if context.args[:1] == ["check"]:
        importlib.import_module("training.check").main(context.args[1:])
    elif context.args[:1] == ["cost"]:
        context.args.pop(0)
        _experiment("training.cost", context)
    else:
        _experiment("training.train", context)


@app.command(context_settings=EXPERIMENT)
def curate(context: typer.Context) -> None:
    """Turn reasoning traces into SPRINT and RFT rows (Hydra overrides).

    [dim]sprint-sgl curate source.path=traces.jsonl out=work/curation[/dim]
    [dim]sprint-sgl curate source=openthoughts_math teacher=openai teacher.budget=50 dry_run=true[/dim]
    """
    _experiment("curation.curate", context)


@app.command(context_settings=EXPERIMENT)
def experiment(context: typer.Context) -> None:
    """Run several of these in a row, as conf/experiment/NAME.yaml lists them; what is done is not done again.

    [dim]sprint-sgl experiment experiment=self_training out=work/self[/dim]
    """
    _experiment("sprint_sgl.experiment", context)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
