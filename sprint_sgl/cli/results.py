"""Commands that show names and results: list, report, profile, view."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sprint_sgl.console import one_line_errors, say, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import require_path


def list_names(
    group: Annotated[str | None, typer.Argument(help="one group, such as runtime or recipe; by default all")] = None,
) -> None:
    """List the names that options accept: runtimes, models, programs, tasks, recipes, teachers and more.

    [dim]sprint-sgl list[/dim]
    [dim]sprint-sgl list recipe[/dim]
    """
    with one_line_errors():
        from sprint_sgl.cli.catalogue import names_table

        screen().print(names_table(group))


def report(
    runs: Annotated[list[Path], typer.Argument(help="folders written by bench")],
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="where report.html, report.csv and the figures are written")
    ] = "work/report",
    baseline: Annotated[
        str | None, typer.Option(help="the method to compare with; by default the sequential method")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a Markdown page; the tables replace what its markers enclose")
    ] = None,
) -> None:
    """Write tables and figures of one or several benchmark runs as a self-contained page.

    [dim]sprint-sgl report work/bench --out work/report[/dim]
    [dim]sprint-sgl report work/three work/four --into docs/results.md[/dim]
    """
    with one_line_errors():
        from sprint_sgl.bench.report.page import write_report

        write_report(runs, out, baseline, into)
        written = [Path(out, f"report.{kind}") for kind in ("html", "csv", "md")]
        say(", ".join(map(str, [*written, into] if into else written)))


def profile(run: Annotated[Path, typer.Argument(help="a folder written by bench")]) -> None:
    """Show where a benchmark's time went on the critical path: decoding, prefill, queue, HTTP, Python.

    [dim]sprint-sgl profile work/bench[/dim]
    """
    with one_line_errors():
        from sprint_sgl.bench.report.profiles import profile_table

        screen().print(profile_table(run))


def view(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="a trajectory or a reply of serve (.json), a transcript (.txt), a folder of a benchmark or a "
            "curation; runs of one question are drawn on one clock",
        ),
    ],
    out: Annotated[str, typer.Option(metavar="FILE", help="where the page is written")] = "work/view.html",
    method: Annotated[str | None, typer.Option(help="show only this method of a benchmark")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="show only wrong answers of a benchmark")] = False,
    most: Annotated[int, typer.Option(min=1, help="limit of runs on the page")] = 100,
    show: Annotated[bool, typer.Option("--open/--no-open", help="open the page in the browser")] = True,
) -> None:
    """Write trajectories as a self-contained page: timeline, stages side by side, transcript.

    [dim]sprint-sgl solve --json "Use 5, 20 and 4 to make 80" > run.json; sprint-sgl view run.json[/dim]
    [dim]sprint-sgl view work/bench --method sprint --wrong[/dim]
    [dim]sprint-sgl view before.json after.json[/dim]
    """
    with one_line_errors():
        from sprint_sgl.view import trajectory_page as page

        path = require_path(out, "--out")
        if path.exists() and any(path.samefile(source) for source in sources if source.exists()):
            raise BadInput(f"--out {path} is the file that is read: give the page another name")
        runs = [
            run
            for run in page.with_peers(page.read_several(sources))
            if method in (None, run.method) and not (wrong and run.correct is not False)
        ]
        if not runs:
            raise BadInput(page.explain_none(sources, method, wrong))
        title = " and ".join(source.stem for source in sources)
        shown = page.first_questions(runs, most)
        page.write_trajectory_page(shown, path, title=title, left_out=len(runs) - len(shown))
        say(str(path))
    if show and (sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        typer.launch(str(path))
