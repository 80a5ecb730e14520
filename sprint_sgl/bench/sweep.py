"""What a benchmark ends in: a report of its run, or of all jobs of a sweep side by side."""

from __future__ import annotations

import importlib
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
    """Writes the report and says where; `show` prints its tables. Runs that cannot be compared are no failure here."""
    report = importlib.import_module("sprint_sgl.bench.report.page").report
    try:
        sections = report(folders, out)
    except BadInput as error:
        say(f"no report: {error}", style="yellow")
        return
    if show:
        named = [(each.task, line) for each in sections for line in each.lines]
        against = [(task, line.name, line.against) for task, line in named if line.against]
        screen().print(*build_tables(named, against))
    say(str(out / "report.html"))


class SweepReport(Callback):
    """Hydra calls it when all jobs have ended, whatever launched them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Reports on every job's folder below the sweep's, those of earlier sweeps in the same one too."""
        out = Path(config.hydra.sweep.dir)
        found = [*out.glob(RECORDS), *out.glob(f"*/{RECORDS}")]  # `out` itself where only the run's extent is swept
        if folders := [path.parent for path in found if path.stat().st_size]:
            report_runs(sorted(folders, key=_numeric_order), out / "report", show=True)


def _numeric_order(folder: Path) -> tuple[str, list[float]]:
    """A name's words before its numbers, so that 4 comes before 12."""
    return re.sub(_NUMBER, "", folder.name), [float(number) for number in re.findall(_NUMBER, folder.name)]
