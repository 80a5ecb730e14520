"""The pictures of a run that README and documents show."""

from pathlib import Path

from benchmarks.picture import picture, terminal_picture
from sprint_sgl.trajectory import Trajectory

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_the_picture_in_the_documentation_is_what_the_command_draws() -> None:
    run, baseline = (Trajectory.from_json((IMAGES / f"{name}.json").read_bytes()) for name in ("run", "baseline"))
    drawn = picture(run, baseline)
    assert drawn == (IMAGES / "plan.svg").read_text()
    assert f"SPRINT: {run.sequential_tokens} tokens" in drawn
    assert drawn.count("<rect") == 2 + len(run.calls)  # the background, the baseline, and a bar for each call


def test_the_terminal_in_the_readme_is_what_solve_shows_of_that_run() -> None:
    run, baseline = (Trajectory.from_json((IMAGES / f"{name}.json").read_bytes()) for name in ("run", "baseline"))
    drawn = terminal_picture(run, baseline)
    assert drawn == (IMAGES / "terminal.svg").read_text()
    assert "http://www.w3.org/2000/svg" in drawn
    assert "url(" not in drawn.replace("url(#", "")  # no file of another server
