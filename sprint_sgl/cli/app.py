"""The `sprint-sgl` command. Interactive commands take options; commands that run experiments take Hydra overrides."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from sprint_sgl.cli.ask import chat, solve
from sprint_sgl.cli.results import list_names, profile, report, view
from sprint_sgl.cli.runs import bench, curate, experiment, fleet, rl, train
from sprint_sgl.cli.servers import launch_runtime, serve

HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command("list")(list_names)
app.command()(solve)
app.command()(chat)
app.command("launch")(launch_runtime)
app.command()(serve)
app.command(context_settings=HYDRA)(bench)
app.command()(report)
app.command()(profile)
app.command()(view)
app.command(context_settings=HYDRA)(fleet)
app.command(context_settings=HYDRA)(train)
app.command(context_settings=HYDRA)(rl)
app.command(context_settings=HYDRA)(curate)
app.command(context_settings=HYDRA)(experiment)


def show_version(wanted: bool) -> None:
    """Print the installed version and exit."""
    if wanted:
        print(f"sprint-sgl {metadata.version('sprint-sgl')}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """SPRINT: a reasoning model plans independent subtasks and runs them in parallel, on SGLang."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
