"""What ms-swift will train on, seen before anything is trained: `sprint-sgl train check rows.jsonl`.

Rows pass through ms-swift's own template, so that what is shown is what the model gets, token for token.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sprint_sgl.checkpoints import check_tokenizer, model_type
from sprint_sgl.console import notes, one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.markup import find_tags
from training.rows import Row, read_rows, row_text

MASKED = -100
BARS, BAR_WIDTH = 10, 40


@dataclass(frozen=True)
class Encoded:
    """A row as tokens: `labels` repeats the ids that are trained and has MASKED at the others. Both have one length."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(label for label in self.labels if label != MASKED)

    def pieces(self) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Runs of ids that are all masked, or all trained (True)."""
        pairs = zip(self.ids, self.labels, strict=True)
        for trained, run in groupby(pairs, key=lambda pair: pair[1] != MASKED):
            yield tuple(token for token, _ in run), trained


@dataclass(frozen=True)
class Encoder:
    """ms-swift's template for training."""

    template: Any
    context: int

    @staticmethod
    def of(model: str, template: str = "dummy") -> Encoder:
        """Loads the tokenizer of a folder or hub id, not the weights. Raises BadInput where there is none."""
        os.environ.setdefault("USE_HF", "1")
        os.environ.setdefault("LOG_LEVEL", "ERROR")
        from swift.model import get_processor
        from swift.template import get_template

        check_tokenizer(Path(model))
        try:
            processor = get_processor(model, model_type=model_type(Path(model)))
        except (OSError, ValueError) as error:
            raise BadInput(f"{model} gives no tokenizer: {error}") from error
        loaded = get_template(processor, template_type=template)
        loaded.set_mode("train")
        loaded.max_length = sys.maxsize  # rows beyond a limit are counted here, and cut there
        return Encoder(loaded, int(getattr(processor.model_info.config, "max_position_embeddings", 0)) or sys.maxsize)

    def row(self, row: Row) -> Encoded:
        found = self.template.encode({"messages": row["messages"]})
        return Encoded(tuple(found["input_ids"]), tuple(found["labels"]))

    def text(self, ids: Sequence[int]) -> str:
        return str(self.template.tokenizer.decode(list(ids), skip_special_tokens=False))


def lost_tags(row: Row, encoded: Encoded, text: Callable[[Sequence[int]], str]) -> list[str]:
    """Tags of the protocol that the row holds and its tokens do not give back, in the row's order."""
    there = Counter(tag.text for tag in find_tags(text(encoded.ids)))
    lost = []
    for tag in find_tags(row_text(row)):
        there[tag.text] -= 1
        if there[tag.text] < 0:
            lost.append(tag.text)
    return lost


@dataclass
class Lengths:
    """Tokens of each row, and how many of them are trained."""

    rows: list[int] = field(default_factory=list)
    trained: int = 0

    def add(self, encoded: Encoded) -> None:
        self.rows.append(len(encoded.ids))
        self.trained += len(encoded.trained)

    def above(self, limit: int) -> int:
        return sum(length > limit for length in self.rows)

    def histogram(self) -> Table:
        width = -(-(max(self.rows) + 1) // BARS)
        counts = Counter(length // width for length in self.rows)
        table = Table("tokens", "rows", "", title="Lengths", title_justify="left")
        for number in range(max(counts) + 1):
            bar = "█" * round(BAR_WIDTH * counts[number] / max(counts.values()))
            table.add_row(f"{number * width:,}-{(number + 1) * width - 1:,}", f"{counts[number]:,}", bar)
        return table


def shown(row: Encoded, encoder: Encoder) -> Text:
    """What the model sees in grey, what it is trained to write in green."""
    text = Text()
    for ids, trained in row.pieces():
        text.append(encoder.text(ids), style="green" if trained else "dim")
    return text


def measure(rows: Iterable[Row], encoder: Encoder) -> Lengths:
    """The lengths of all rows. Raises BadInput for a row whose tags do not survive."""
    lengths = Lengths()
    for number, row in enumerate(rows, 1):
        encoded = encoder.row(row)
        if lost := lost_tags(row, encoded, encoder.text):
            raise BadInput(
                f"row {number}: {lost[0]} does not survive this model's tokenizer ({len(lost)} tags lost); "
                "give its tags tokens of their own, or another model"
            )
        lengths.add(encoded)
    return lengths


def check(
    file: Annotated[Path, typer.Argument(help="rows, one JSON object a line")],
    model: Annotated[str, typer.Option(help="folder or hub id, for its tokenizer")],
    template: Annotated[str, typer.Option(help="ms-swift's template")] = "dummy",
    max_length: Annotated[
        int | None, typer.Option(min=1, help="ms-swift's limit for a row, in tokens; by default the model's context")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="rows to print")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="rows to read; all by default")] = None,
) -> None:
    """Show what of each row is seen and what is trained, how long rows are, and what a limit would cut.

    [dim]sprint-sgl train check work/curation/sprint.train.jsonl --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B[/dim]
    """
    with one_line_errors():
        rows = list(islice(read_rows(file), limit))
        encoder, out = Encoder.of(model, template), screen()
        for number, row in enumerate(rows[:show], 1):
            title = f"row {number}: dim is seen, [green]green is trained[/green]"
            out.print(Panel(shown(encoder.row(row), encoder), title=title, title_align="left"))
        lengths = measure(track(rows, "encoding", console=notes, transient=True), encoder)
        out.print(lengths.histogram())
        total = sum(lengths.rows)
        out.print(f"{len(rows):,} rows, {total:,} tokens, {lengths.trained / total:.0%} of them trained")
        limit_of_row = max_length or encoder.context
        out.print(f"max_length={limit_of_row:,} would cut {lengths.above(limit_of_row):,} rows")


def main(arguments: Sequence[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command("check")(check)
    app(list(arguments), prog_name="sprint-sgl train check")
