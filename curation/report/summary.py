"""What a run has made: a summary on the terminal, a page to look at, and the card that goes with the rows.

The same files give the same bytes: no dates, nothing random. Text of traces is data and is escaped.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

from curation.report.shapes import Example, Shape, examples_of, shape_of
from curation.stages.base import Funnel, read_jsonl
from curation.stages.extract import RULES
from curation.stages.rows import KINDS, SPLITS
from curation.teacher.calls import Line
from sprint_sgl.view.pages import write_page

HERE = Path(__file__).parent
HUB_SPLITS = {"train": "train", "valid": "validation"}
MOST_REASONS = 3
RATIO_BIN, BAR_WIDTH = 0.5, 30
_BARE = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w./-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Cost:
    """What one stage asked of one model."""

    stage: str
    model: str
    line: Line


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
    """A run's folder: `packed` and `kept` are the traces before and after the filter, `annotators` of those kept."""

    funnel: tuple[Funnel, ...]
    costs: tuple[Cost, ...]
    packed: Shape
    kept: Shape
    annotators: dict[str, int]
    files: tuple[RowFile, ...]
    examples: tuple[Example, ...]

    @property
    def read(self) -> int:
        """Traces that entered the first stage."""
        return self.funnel[0].read if self.funnel else 0

    @property
    def total(self) -> Line:
        return reduce(add, (cost.line for cost in self.costs), Line())

    @property
    def by_rules(self) -> int:
        """Kept traces that no LLM annotated."""
        return self.annotators.get(RULES, 0)


def summarise(out: Path) -> Summary:
    """Streams the files and keeps counts and four traces. Raises FileNotFoundError where the run has not ended."""
    kept = shape_of(read_jsonl(out / "filter.jsonl"))
    annotators = Counter(str(record["annotator"]) for record in read_jsonl(out / "filter.jsonl"))
    return Summary(
        funnel=tuple(Funnel(**row) for row in json.loads((out / "funnel.json").read_text())),
        costs=_costs(json.loads((out / "account.json").read_text())["lines"]),
        packed=shape_of(read_jsonl(out / "pack.jsonl")),
        kept=kept,
        annotators=dict(annotators.most_common()),
        files=tuple(RowFile(kind, split, _lines(out / f"{kind}.{split}.jsonl")) for kind in KINDS for split in SPLITS),
        examples=examples_of(read_jsonl(out / "filter.jsonl"), kept),
    )


def _costs(rows: Sequence[Mapping[str, Any]]) -> tuple[Cost, ...]:
    """One for each stage and model: the shards of a merged run each have their own row."""
    lines: dict[tuple[str, str], Line] = {}
    for row in rows:
        key = (row["stage"], row["model"])
        line = Line(**{name: value for name, value in row.items() if name not in ("stage", "model")})
        lines[key] = lines.get(key, Line()) + line
    return tuple(Cost(stage, model, line) for (stage, model), line in lines.items())


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def reasons(stage: Funnel, most: int | None = None) -> str:
    """Why the stage rejected, the commonest first."""
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


def _funnel_table(funnel: Sequence[Funnel]) -> Table:
    table = _table("From traces to rows", "stage", read=True, kept=True, rejected=True)
    table.add_column("main reasons")
    for stage in funnel:
        counts = (stage.read, stage.kept, stage.read - stage.kept)
        table.add_row(stage.stage, *(f"{count:,}" for count in counts), Text(reasons(stage, MOST_REASONS)))
    return table


def _ratio_table(summary: Summary) -> Table:
    """The histogram of steps a stage, before the filter and after it."""
    table = _table("Steps a stage", "ratio", packed=True, kept=True)
    table.add_column("")
    packed, kept = (_binned(shape.ratio) for shape in (summary.packed, summary.kept))
    for number in range(min(packed, default=0), max(packed, default=-1) + 1):
        whole, left = (round(BAR_WIDTH * counts[number] / max(packed.values())) for counts in (packed, kept))
        bar = "\u2588" * left + "\u2591" * (whole - left)
        ends = f"{number * RATIO_BIN:g}-{(number + 1) * RATIO_BIN:g}"
        table.add_row(ends, f"{packed[number]:,}", f"{kept[number]:,}", bar)
    return table


def _binned(ratios: Counter[float]) -> Counter[int]:
    found = Counter[int]()
    for ratio, count in ratios.items():
        found[int(ratio / RATIO_BIN)] += count
    return found


def _shape_table(summary: Summary) -> Table:
    table = _table(f"{summary.kept.traces:,} traces kept", "", median=True, p90=True)
    for measure in summary.kept.measures:
        table.add_row(measure.name, measure.said(0.5), measure.said(0.9))
    table.add_row("plan-only share of all steps", f"{summary.kept.plan_only:.0%}", "")
    return table


def _cost_table(summary: Summary) -> Table:
    numbers = ("calls", "cached", "asked again", "prompt tokens", "reply tokens", "dollars", "paid now")
    table = _table("Calls and cost", "stage", "model", **dict.fromkeys(numbers, True))
    for cost in (*summary.costs, Cost("total", "", summary.total)):
        line = cost.line
        counts = (line.calls, line.cached, line.asked_again, line.prompt_tokens, line.completion_tokens)
        dollars = (f"{line.total_dollars:,.2f}", f"{line.paid_dollars:,.2f}")
        table.add_row(cost.stage, Text(cost.model), *(f"{count:,}" for count in counts), *dollars)
    return table


def _fault_table(summary: Summary) -> Table:
    table = _table("What a reader would not sign", "", packed=True, kept=True)
    for (name, packed), kept in zip(summary.packed.shares.items(), summary.kept.shares.values(), strict=True):
        table.add_row(name, share_of(*packed), share_of(*kept))
    return table


def share_of(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,}" + (f" ({count / whole:.1%})" if whole else "")


def _table(title: str, *words: str, **numbers: bool) -> Table:
    table = Table(*words, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def write_html(summary: Summary, path: Path) -> None:
    """One page that loads nothing from anywhere."""
    from curation.report.charts import funnel_svg, histograms_svg, picture

    charts = {
        "funnel_svg": funnel_svg(summary.funnel),
        "histograms_svg": histograms_svg(summary.packed.measures, summary.kept.measures),
        "pictures": [picture(example) for example in summary.examples],
    }
    write_page(HERE / "page.html.j2", path, summary=summary, reasons=reasons, share_of=share_of, **charts)


def write_card(summary: Summary, settings: dict[str, Any], path: Path) -> None:
    """The data card as Hugging Face reads it; `settings` are the run's, and a license where one is given."""
    given = {name: value for name, value in settings.items() if name != "license"}
    values = {"front_matter": front_matter(summary, settings), "command": command(given)}
    write_page(
        HERE / "card.md.j2", path, summary=summary, settings=settings, reasons=reasons, share_of=share_of, **values
    )


def front_matter(summary: Summary, settings: Mapping[str, Any]) -> str:
    """The card's YAML: one configuration for each kind of rows, without the splits that have none."""
    data = {kind: [file for file in summary.files if file.kind == kind and file.rows] for kind in KINDS}
    configs = [
        {"config_name": kind, "data_files": [{"split": HUB_SPLITS[file.split], "path": file.name} for file in files]}
        for kind, files in data.items()
        if files
    ]
    fields = {name: settings[name] for name in ("license",) if name in settings}
    fields |= {"task_categories": ["text-generation"], "tags": ["reasoning", "sprint", "parallel-reasoning"]}
    return yaml.safe_dump(fields | {"configs": configs}, sort_keys=False, allow_unicode=True)


def command(settings: Mapping[str, Any]) -> str:
    """The command line that states all of these settings."""
    pieces = [shlex.quote(piece) for piece in overrides(settings)]
    return " \\\n  ".join(["sprint-sgl curate", *pieces])


def overrides(settings: Mapping[str, Any]) -> Iterator[str]:
    """As Hydra reads them: `++` before a dictionary, which may have keys of its own."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield f"{'++' * isinstance(item, Mapping)}{name}.{key}={literal(item)}"
        else:
            yield f"{name}={literal(value)}"


def literal(value: object) -> str:
    """A value in Hydra's grammar for overrides, which has no quotes for keys."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, str) and not _BARE.fullmatch(value):
        escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
        return f"'{escaped}'"
    return value if isinstance(value, str) else json.dumps(value)
