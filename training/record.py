"""The record of a run beside its checkpoints: run.json (settings, versions, commit, data digests) and curves.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprint_sgl.storage.files import count_lines, file_digest, whole_bytes
from sprint_sgl.storage.provenance import git_commit, package_versions, weight_digests
from sprint_sgl.view.pages import CHART_WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("sprint-sgl", "ms-swift", "deepspeed", "transformers", "torch")
CURVES = {
    "loss": "loss",
    "eval_loss": "evaluation loss",
    "token_acc": "token accuracy",
    "learning_rate": "learning rate",
    "tokens_per_second": "tokens/s",
    "evaluation/correct": "accuracy, evaluated",
    "evaluation/sequential tokens": "sequential tokens, evaluated",
    "rollouts/correct": "accuracy of the rollouts",
    "rollouts/sequential tokens": "sequential tokens of the rollouts",
    "policy/entropy": "entropy",
}


def run_record(settings: Mapping[str, Any], model: Path, data: Sequence[Path]) -> dict[str, Any]:
    """Return what makes a run repeatable, as plain values. A model on the hub has no entries in `weights`."""
    return {
        "settings": dict(settings),
        "versions": package_versions(PACKAGES),
        "commit": git_commit(),
        "weights": weight_digests(model),
        "data": {str(path): {"sha256": file_digest(path), "rows": count_lines(path)} for path in data},
    }


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return ms-swift's log lines in the order of steps. A step trained again after a resume keeps its last line."""
    path = run / "logging.jsonl"
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in map(_parse_object, path.read_text().splitlines() if path.is_file() else []):
        if step := str(line.get("global_step/max_steps", "")).partition("/")[0]:
            found.setdefault((int(step), "eval_loss" in line), {"step": int(step)}).update(line)
    return [found[key] for key in sorted(found)]


def on_rollouts(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a log is of a training on rollouts (training/rl)."""
    return any("evaluation/correct" in line for line in lines)


def _parse_object(line: str) -> dict[str, Any]:
    """Parse a JSON object; return {} for a line that is not one, such as the last line of a killed run."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def draw_curves(run: Path) -> Path | None:
    """Write curves.png. Return None if nothing has been logged yet."""
    figure = curves_figure(read_log(run))
    if figure is None:
        return None
    with whole_bytes(run / "curves.png") as file:
        figure.savefig(file, dpi=120)
    return run / "curves.png"


def curves_figure(lines: Sequence[Mapping[str, Any]], columns: int | None = None) -> Figure | None:
    """Return a panel for each curve that the log has, by default in one row; None without any."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [name for name in CURVES if any(name in line for line in lines)]
    if not names:
        return None
    columns = columns or len(names)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(CHART_WIDTH / 2 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axis, name in zip(panels, names, strict=False):
        points = [(line["step"], float(line[name])) for line in lines if name in line]
        axis.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "")
        axis.set_title(CURVES[name])
        axis.set_xlabel("step")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if len(points) == 1:  # no range that ticks could divide
            axis.set_xticks([points[0][0]])
        if len(values := {value for _, value in points}) == 1:
            axis.set_yticks([*values], [f"{value:.4g}" for value in values])
        axis.grid(alpha=0.3)
    for axis in list(figure.axes)[len(names) :]:
        axis.set_axis_off()
    return figure
