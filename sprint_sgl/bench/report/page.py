"""The report of benchmark runs: the paper's Table 2 and Figures 4 to 6, as a page, pictures and a CSV.

    sprint-sgl report work/bench work/others --baseline sequential --out work/report

Methods are compared on the same questions only; runs of several tasks are shown side by side, as in Table 2.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprint_sgl.bench.report.charts import (
    MANY,
    heat_figure,
    pareto_figure,
    reduction_figure,
    speed_figure,
    stages_figure,
    sweep_figure,
)
from sprint_sgl.bench.report.figures import MethodFigures, MethodRecords
from sprint_sgl.bench.report.findings import (
    FailureCause,
    LengthBin,
    failure_causes,
    length_bins,
    parallel_share,
    stages_by_group,
)
from sprint_sgl.bench.report.headline import extremes, headline
from sprint_sgl.bench.report.markdown import markdown_section, replace_between_markers
from sprint_sgl.bench.report.runs import (
    BenchRun,
    baseline_of_run,
    choose_baseline,
    label_methods,
    read_runs,
    swept_settings,
)
from sprint_sgl.config import flatten_settings
from sprint_sgl.storage.files import whole_bytes, whole_file
from sprint_sgl.storage.output_folders import REPORT, output_folder
from sprint_sgl.view.pages import chart_style, figure_svg, write_page
from sprint_sgl.view.trajectory_page import ShownRun, write_trajectory_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAILURES_PAGE = "failures.html"
TEMPLATE = Path(__file__).with_name("page.html.j2")
HARDLY_PARALLEL = 0.1  # share of stages with several prompts below which a SPRINT run is flagged


@dataclass(frozen=True)
class TaskSection:
    """The report on one task's runs. `lines` has each method's figures; `groups` has them by group, if there are two
    or more groups."""

    task: str
    runs: tuple[BenchRun, ...]
    baseline: str
    lines: tuple[MethodFigures, ...]
    groups: Mapping[str, Mapping[str, MethodFigures]]
    flagged: tuple[str, ...]
    bins: Mapping[str, Sequence[LengthBin]]
    causes: tuple[FailureCause, ...]
    figures: Mapping[str, Figure | None]

    @property
    def questions(self) -> int:
        return self.lines[0].questions

    @property
    def table_lines(self) -> list[tuple[str, MethodFigures]]:
        """Return the figures by group and over all questions, each with the name of its group."""
        by_group = [(group, line) for lines in self.groups.values() for group, line in lines.items()]
        return [*sorted(by_group, key=itemgetter(0)), *(("all" if by_group else "", line) for line in self.lines)]

    @property
    def headlines(self) -> list[str]:
        """Return a sentence for each method that is compared with the baseline, or one for a whole sweep."""
        if len(self.lines) > MANY:
            return [extremes(self.lines)]
        concurrency = {run.settings.get("concurrency") for run in self.runs}
        known = concurrency.pop() if len(concurrency) == 1 else None
        return [text for line in self.lines if (text := headline(line, known))]

    @cached_property
    def charts(self) -> dict[str, str]:
        """Return the figures as SVG elements."""
        return {name: figure_svg(figure) if figure else "" for name, figure in self.figures.items()}


def build_section(task: str, runs: Sequence[BenchRun], baseline: str | None) -> TaskSection:
    """Return the section of one task. Raises BadInput for a baseline that these runs do not have."""
    labelled = label_methods(runs)
    base = choose_baseline(labelled, baseline)
    sides = {name: side for name, (_, side) in labelled.items()}
    named = sides[base]
    alone = baseline == base != named.name  # one labelled run of a method that several runs have
    baselines = {name: named if alone else baseline_of_run(run, side, named) for name, (run, side) in labelled.items()}
    lines = {
        name: MethodFigures.of(name, side, _renamed_baseline(side, baselines[name], sides))
        for name, side in sides.items()
    }
    staged = {name: side for name, side in sides.items() if side.has_plans}
    saved = {name: length_bins(side, baselines[name]) for name, side in staged.items() if side is not baselines[name]}
    against = [(name, other) for name in staged if (other := lines[name].against)]
    speeds = [(name, other.promised, other.realised.value if other.realised else None) for name, other in against]
    return TaskSection(
        task=task,
        runs=tuple(runs),
        baseline=base if all(side is sides[base] for side in baselines.values()) else sides[base].name,
        lines=tuple(lines.values()),
        groups=lines_by_group(sides),
        flagged=tuple(name for name, side in staged.items() if parallel_share(side) < HARDLY_PARALLEL),
        bins=saved,
        causes=tuple(failure_causes(sides)),
        figures={
            "pareto": pareto_figure(list(lines.values())),
            "sweep": _draw_sweep(runs, labelled, lines),
            "heat": _draw_heat_map(runs, labelled, lines),
            "reduction": reduction_figure(saved),
            "stages": stages_figure({name: stages_by_group(side) for name, side in staged.items()}),
            "speed": speed_figure(speeds),
        },
    )


def _renamed_baseline(
    side: MethodRecords, baseline: MethodRecords, sides: Mapping[str, MethodRecords]
) -> MethodRecords | None:
    """Return the baseline under its label in the report; None for the baseline itself."""
    if baseline is side:
        return None
    return replace(baseline, name=next(name for name, each in sides.items() if each is baseline))


def _draw_sweep(
    runs: Sequence[BenchRun], labelled: Mapping[str, tuple[BenchRun, MethodRecords]], lines: Mapping[str, MethodFigures]
) -> Figure | None:
    """Return a chart over the swept setting with the most values; a curve for each method and set of other settings."""
    values = swept_settings(runs)
    if not values:
        return None
    along = max(values, key=lambda key: len(set(values[key])))
    curves: dict[str, list[tuple[float, MethodFigures]]] = {}
    for name, (run, side) in labelled.items():
        at = {key: each[runs.index(run)] for key, each in values.items()}
        others = [f"{key.rpartition('.')[2]}={value:g}" for key, value in at.items() if key != along]
        curves.setdefault(" ".join([side.name, *others]), []).append((at[along], lines[name]))
    ordered = {name: sorted(points, key=itemgetter(0)) for name, points in curves.items() if len(points) > 1}
    return sweep_figure(along.rpartition(".")[2], ordered) if ordered else None


def _draw_heat_map(
    runs: Sequence[BenchRun], labelled: Mapping[str, tuple[BenchRun, MethodRecords]], lines: Mapping[str, MethodFigures]
) -> Figure | None:
    """Return a heat map of the first method over the two swept settings; None if not exactly two vary."""
    values = {key: each for key, each in swept_settings(runs).items() if len(set(each)) > 1}
    if len(values) != 2:
        return None
    (row, ys), (column, xs) = values.items()
    name = next(iter(labelled.values()))[1].name
    cells = {
        (ys[runs.index(run)], xs[runs.index(run)]): lines[label]
        for label, (run, side) in labelled.items()
        if side.name == name
    }
    return heat_figure(row.rpartition(".")[2], column.rpartition(".")[2], cells, name)


def lines_by_group(sides: Mapping[str, MethodRecords]) -> dict[str, dict[str, MethodFigures]]:
    """Return figures by method and group, such as a level; {} if all questions are of one group."""
    groups = {record.group for side in sides.values() for records in side.records.values() for record in records}
    if len(groups) < 2:
        return {}
    parts = {name: {group: side.part(group) for group in sorted(groups)} for name, side in sides.items()}
    return {
        name: {group: MethodFigures.of(name, part) for group, part in by_group.items() if part.records}
        for name, by_group in parts.items()
    }


def write_report(
    folders: Sequence[Path], to: str | Path, baseline: str | None = None, into: Path | None = None
) -> list[TaskSection]:
    """Write report.html, report.csv, report.md and the figures as PNG; return a section for each task.

    `into` is a Markdown page whose part between the markers of a report is replaced by the tables. Raises BadInput.
    """
    by_task, out = read_runs(folders), output_folder(to, REPORT)
    with chart_style():
        sections = [build_section(task, runs, baseline) for task, runs in by_task.items()]
        write_csv(sections, out / "report.csv")  # first, since this file marks the folder as a report's
        for each in sections:
            for name, figure in each.figures.items():
                if figure:
                    with whole_bytes(out / f"{name}{f'_{each.task}' if len(sections) > 1 else ''}.png") as file:
                        figure.savefig(file, dpi=150)
                    figure.set_layout_engine("none")  # keeps the picture's layout for the page
        methods = list(dict.fromkeys(line.name for each in sections for line in each.lines))
        tables = "\n\n".join(markdown_section(each.task, each.table_lines) for each in sections)
        with whole_file(out / "report.md") as file:
            file.write(f"{tables}\n")
        if into:
            replace_between_markers(into, tables)
        write_page(
            TEMPLATE,
            out / "report.html",
            sections=sections,
            methods=methods,
            failures=FAILURES_PAGE,
            anchor=failure_anchor,
        )
    write_failures_page(sections, out / FAILURES_PAGE)
    return sections


def write_failures_page(sections: Sequence[TaskSection], path: Path) -> None:
    """Write the wrong answers that the report lists, as a page of the viewer; `failure_anchor` names each."""
    wrong = [(record, cause.name) for section in sections for cause in section.causes for record in cause.examples]
    shown = [
        ShownRun(each.trajectory, each.method, each.correct, anchor=failure_anchor(number), reason=each.reason or cause)
        for number, (each, cause) in enumerate(wrong, 1)
    ]
    if shown:
        write_trajectory_page(shown, path, "Wrong answers")
    else:
        path.unlink(missing_ok=True)


def failure_anchor(number: int) -> str:
    """Return the id of a wrong answer on the viewer's page: they are numbered through the report."""
    return f"wrong{number}"


def write_csv(sections: Sequence[TaskSection], path: Path) -> None:
    """Write one row for each method and task; an estimate becomes three columns."""
    rows = [
        {"task": each.task, **flatten_settings(drop_none(asdict(line)))} for each in sections for line in each.lines
    ]
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    with whole_file(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def drop_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not None, at every depth."""
    return {k: drop_none(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}
