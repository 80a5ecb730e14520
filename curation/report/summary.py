"""The reports of a run: a summary on the terminal, report.html, and the data card of the rows.

The same files give the same bytes: no dates, nothing random. Text of traces is data and is escaped.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.records import PackedTrace, read_records
from curation.report.shapes import Example, ShapeStatistics, choose_examples, shape_statistics
from curation.stages.base import StageCounts
from curation.stages.extract import RULES
from curation.stages.rows import KINDS, SPLITS
from curation.teacher.calls import ModelCost, Usage
from sprint_sgl.storage.files import count_lines
from sprint_sgl.view.pages import write_page

HERE = Path(__file__).parent
HUB_SPLITS = {"train": "train", "valid": "validation"}
MOST_REASONS = 3
RATIO_BIN, BAR_WIDTH = 0.5, 30
_BARE = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w./-]*", re.IGNORECASE)


@dataclass(frozen=True)
class RowFile:
    kind: str
    split: str
    rows: int

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.split}.jsonl"


@dataclass(frozen=True)
class Summary:
    """What the files of a run's folder say.

    packed, kept   traces before and after the filter
    annotators     number of kept traces by annotator
    """

    funnel: tuple[StageCounts, ...]
    costs: tuple[ModelCost, ...]
    packed: ShapeStatistics
    kept: ShapeStatistics
    annotators: dict[str, int]
    files: tuple[RowFile, ...]
    examples: tuple[Example, ...]

    @property
    def read(self) -> int:
        """Return the number of traces that entered the first stage."""
        return self.funnel[0].read if self.funnel else 0

    @property
    def total(self) -> Usage:
        return reduce(add, (cost.usage for cost in self.costs), Usage())

    @property
    def by_rules(self) -> int:
        """Return the number of kept traces that no LLM annotated."""
        return self.annotators.get(RULES, 0)


def summarise(out: Path) -> Summary:
    """Summarise a run's folder, streaming its files. Raises FileNotFoundError if the run has not ended."""
    kept_traces = out / "filter.jsonl"
    kept = shape_statistics(read_records(kept_traces, PackedTrace))
    annotators = Counter(packed.annotator for packed in read_records(kept_traces, PackedTrace))
    return Summary(
        funnel=tuple(map(StageCounts.from_dict, json.loads((out / "funnel.json").read_text()))),
        costs=_add_costs(map(ModelCost.from_dict, json.loads((out / "account.json").read_text())["lines"])),
        packed=shape_statistics(read_records(out / "pack.jsonl", PackedTrace)),
        kept=kept,
        annotators=dict(annotators.most_common()),
        files=tuple(
            RowFile(kind, split, count_lines(path))
            for kind in KINDS
            for split in SPLITS
            if (path := out / f"{kind}.{split}.jsonl").is_file()
        ),
        examples=choose_examples(read_records(kept_traces, PackedTrace), kept),
    )


def _add_costs(costs: Iterable[ModelCost]) -> tuple[ModelCost, ...]:
    """Return one cost for each stage and model: a merged run has one for each shard."""
    usage: dict[tuple[str, str], Usage] = {}
    for cost in costs:
        key = (cost.stage, cost.model)
        usage[key] = usage.get(key, Usage()) + cost.usage
    return tuple(ModelCost(stage, model, total) for (stage, model), total in usage.items())


def format_reasons(stage: StageCounts, most: int | None = None) -> str:
    """Return the reasons of a stage's rejections with their counts, the commonest first."""
    ordered = sorted(stage.rejected.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{reason} {count:,}" for reason, count in ordered[:most]]
    more = len(ordered) - len(shown)
    return ", ".join([*shown, *([f"{more} more reasons"] if more else [])])


def print_summary(summary: Summary, console: Console) -> None:
    console.print(_funnel_table(summary.funnel))
    console.print(_ratio_table(summary))
    console.print(_shape_table(summary))
    console.print(_fault_table(summary))
    if summary.costs:
        console.print(_cost_table(summary))
    for file in summary.files:
        console.print(f"{file.rows:>9,} rows in {file.name}", highlight=False)


def _funnel_table(funnel: Sequence[StageCounts]) -> Table:
    table = _table("From traces to rows", "stage", read=True, kept=True, rejected=True)
    table.add_column("main reasons")
    for stage in funnel:
        counts = (stage.read, stage.kept, stage.read - stage.kept)
        table.add_row(stage.stage, *(f"{count:,}" for count in counts), Text(format_reasons(stage, MOST_REASONS)))
    return table


def _ratio_table(summary: Summary) -> Table:
    """Return the histogram of steps per stage, before and after the filter."""
    table = _table("Steps per stage", "ratio", packed=True, kept=True)
    table.add_column("")
    packed, kept = (_count_bins(shape.ratio) for shape in (summary.packed, summary.kept))
    for number in range(min(packed, default=0), max(packed, default=-1) + 1):
        whole, left = (round(BAR_WIDTH * counts[number] / max(packed.values())) for counts in (packed, kept))
        bar = "\u2588" * left + "\u2591" * (whole - left)
        ends = f"{number * RATIO_BIN:g}-{(number + 1) * RATIO_BIN:g}"
        table.add_row(ends, f"{packed[number]:,}", f"{kept[number]:,}", bar)
    return table


def _count_bins(ratios: Counter[float]) -> Counter[int]:
    bins = Counter[int]()
    for ratio, count in ratios.items():
        bins[int(ratio / RATIO_BIN)] += count
    return bins


def _shape_table(summary: Summary) -> Table:
    """Return the measures of the kept traces, or of the packed ones if none is kept."""
    word, shape = ("kept", summary.kept) if summary.kept.traces else ("packed", summary.packed)
    table = _table(f"{shape.traces:,} traces {word}", "", median=True, p90=True)
    for measure in shape.measures:
        table.add_row(measure.name, measure.format_quantile(0.5), measure.format_quantile(0.9))
    table.add_row("plan-only share of all steps", f"{shape.plan_only:.0%}", "")
    return table


def _cost_table(summary: Summary) -> Table:
    numbers = ("calls", "cached", "asked again", "prompt tokens", "reply tokens", "dollars", "paid now")
    table = _table("Calls and cost", "stage", "model", **dict.fromkeys(numbers, True))
    for cost in (*summary.costs, ModelCost("total", "", summary.total)):
        usage = cost.usage
        counts = (usage.calls, usage.cached, usage.asked_again, usage.prompt_tokens, usage.completion_tokens)
        dollars = (f"{usage.total_dollars:,.2f}", f"{usage.paid_dollars:,.2f}")
        table.add_row(cost.stage, Text(cost.model), *(f"{count:,}" for count in counts), *dollars)
    return table


def _fault_table(summary: Summary) -> Table:
    table = _table("Faults", "", packed=True, kept=True)
    shares = zip(summary.packed.fault_shares.items(), summary.kept.fault_shares.values(), strict=True)
    for (name, packed), kept in shares:
        table.add_row(name, format_share(*packed), format_share(*kept))
    return table


def format_share(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,}" + (f" ({count / whole:.1%})" if whole else "")


FORMATS = {"format_reasons": format_reasons, "format_share": format_share}  # functions for the templates


def _table(title: str, *words: str, **numbers: bool) -> Table:
    table = Table(*words, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def write_html(summary: Summary, path: Path) -> None:
    """Write report.html, which loads no other file."""
    from curation.report.charts import funnel_svg, histograms_svg, step_graph

    charts = {
        "funnel_svg": funnel_svg(summary.funnel),
        "histograms_svg": histograms_svg(summary.packed.measures, summary.kept.measures),
        "graphs": [step_graph(example) for example in summary.examples],
    }
    write_page(HERE / "page.html.j2", path, summary=summary, **FORMATS, **charts)


def write_card(summary: Summary, settings: dict[str, Any], path: Path) -> None:
    """Write the data card for Hugging Face; `settings` are the run's, with a license if there is one."""
    run_settings = {name: value for name, value in settings.items() if name != "license"}
    values = {"front_matter": front_matter(summary, settings), "command": command_line(run_settings)}
    write_page(HERE / "card.md.j2", path, summary=summary, settings=settings, **FORMATS, **values)


def front_matter(summary: Summary, settings: Mapping[str, Any]) -> str:
    """Return the card's YAML: one configuration for each kind of rows, without empty splits."""
    data = {kind: [file for file in summary.files if file.kind == kind and file.rows] for kind in KINDS}
    configs = [
        {"config_name": kind, "data_files": [{"split": HUB_SPLITS[file.split], "path": file.name} for file in files]}
        for kind, files in data.items()
        if files
    ]
    fields = {name: settings[name] for name in ("license",) if name in settings}
    fields |= {"task_categories": ["text-generation"], "tags": ["reasoning", "sprint", "parallel-reasoning"]}
    return yaml.safe_dump(fields | {"configs": configs}, sort_keys=False, allow_unicode=True)


def command_line(settings: Mapping[str, Any]) -> str:
    """Return the command line with all of these settings."""
    pieces = [shlex.quote(piece) for piece in overrides(settings)]
    return " \\\n  ".join(["sprint-sgl curate", *pieces])


def overrides(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield Hydra overrides, with `++` before a dictionary, which may have keys that the schema lacks."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield f"{'++' * isinstance(item, Mapping)}{name}.{key}={literal(item)}"
        else:
            yield f"{name}={literal(value)}"


def literal(value: object) -> str:
    """Return the value in Hydra's grammar for overrides, which has no quotes for keys."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, str) and not _BARE.fullmatch(value):
        escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
        return f"'{escaped}'"
    return value if isinstance(value, str) else json.dumps(value)
