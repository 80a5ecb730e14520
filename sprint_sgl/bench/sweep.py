"""The report at the end of a benchmark: of one run, or of all jobs of a sweep side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sprint_sgl.bench.report.tables import build_tables
from sprint_sgl.console import say, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import RECORDS

_NUMBER = r"\d+(?:\.\d+)?"


def report_runs(folders: Sequence[Path], out: Path, *, show: bool = False) -> None:
    """Write the report and print its path, with `show` its tables too. Runs that cannot be compared cost a warning."""
    from sprint_sgl.bench.report.page import write_report  # imports matplotlib, which takes a second

    try:
        sections = write_report(folders, out)
    except BadInput as error:
        say(f"no report: {error}", style="yellow")
        return
    if show:
        named = [(each.task, line) for each in sections for line in each.lines]
        against = [(task, line.name, line.against) for task, line in named if line.against]
        screen().print(*build_tables(named, against))
    say(str(out / "report.html"))


class SweepReport(Callback):
    """A callback that Hydra calls when all jobs of a sweep have ended, whatever launched them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on all job folders below the sweep's folder, those of earlier sweeps too."""
        out = Path(config.hydra.sweep.dir)
        # `out` itself holds the records where only the number of questions or samples is swept.
        found = [*out.glob(RECORDS), *out.glob(f"*/{RECORDS}")]
        if folders := [path.parent for path in found if path.stat().st_size]:
            report_runs(sorted(folders, key=_numeric_order), out / "report", show=True)


def _numeric_order(folder: Path) -> tuple[str, list[float]]:
    """Return a sort key of a folder's name by which 4 comes before 12."""
    return re.sub(_NUMBER, "", folder.name), [float(number) for number in re.findall(_NUMBER, folder.name)]
