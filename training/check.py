"""What ms-swift will train on, seen before anything is trained: `sprint-sgl train check rows.jsonl`.

Rows pass through ms-swift's own template, so that what is shown is what the model gets, token for token.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sprint_sgl.console import notes, one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.lexer import find_tags
from sprint_sgl.rows import Row, row_text
from sprint_sgl.storage.checkpoints import check_tokenizer, model_type, weights_folder
from training.preflight import check_channel, check_text, end_text, model_folder
from training.rows import naming_line, read_rows
from training.tree.layout import IGNORED
from training.tree.rows import TREE_TEMPLATE

BARS, BAR_WIDTH = 10, 40
INDENT = 8


@dataclass(frozen=True)
class Encoded:
    """A row as tokens: `labels` repeats the ids that are trained and has IGNORED at the others. All have one length.

    nodes       of a row that is laid out as a tree the node of each token, else 0
    positions   each token's place on its path
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    nodes: tuple[int, ...]
    positions: tuple[int, ...]

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(label for label in self.labels if label != IGNORED)

    @property
    def stretches(self) -> list[Stretch]:
        """The nodes in the order in which they are read: branches before the trunk goes on."""
        begins = [k for k, node in enumerate(self.nodes) if not k or node != self.nodes[k - 1]]
        found, on_trunk = [], True
        for begin, end in pairwise([*begins, len(self.nodes)]):
            on_trunk = on_trunk and self.positions[begin] == begin
            found.append(Stretch(self.ids[begin:end], self.labels[begin:end], self.positions[begin], not on_trunk))
        return sorted(found, key=lambda stretch: (stretch.position, not stretch.branch))


@dataclass(frozen=True)
class Stretch:
    """The tokens of a node, the first one's position, and whether the node is a branch."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    position: int
    branch: bool

    def pieces(self) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Runs of ids that are all masked, or all trained (True)."""
        pairs = zip(self.ids, self.labels, strict=True)
        for trained, run in groupby(pairs, key=lambda pair: pair[1] != IGNORED):
            yield tuple(token for token, _ in run), trained


@dataclass(frozen=True)
class Encoder:
    """ms-swift's template for training."""

    template: Any
    context: int

    @staticmethod
    def of(model: str, template: str = TREE_TEMPLATE) -> Encoder:
        """Loads the tokenizer of a folder or hub id, not the weights. Raises BadInput where there is none."""
        folder = weights_folder(model)
        check_tokenizer(folder)
        os.environ.setdefault("USE_HF", "1")
        os.environ.setdefault("LOG_LEVEL", "ERROR")
        from swift.model import get_processor
        from swift.template import get_template

        try:
            processor = get_processor(str(folder), model_type=model_type(folder))
        except (OSError, ValueError) as error:
            raise BadInput(f"{model} gives no tokenizer: {error}") from error
        if template == TREE_TEMPLATE:
            importlib.import_module("training.plugins.sprint_tree")  # makes it known
        try:
            loaded = get_template(processor, template_type=template)
        except ValueError as error:
            raise BadInput(f"ms-swift knows no template {template!r}") from error
        loaded.set_mode("train")
        # Rows beyond a limit are counted here, and left out there.
        loaded.max_length, loaded.model_info.max_model_len = sys.maxsize, None
        return Encoder(loaded, int(getattr(processor.model_info.config, "max_position_embeddings", 0)) or sys.maxsize)

    def row(self, row: Row) -> Encoded:
        """Raises BadInput for a tree that cannot be laid out, and for a misspelt channel."""
        check_channel(row, laid_out=True)
        found = self.template.encode({"messages": row["messages"], "channel": row.get("channel")})
        ids = tuple(found["input_ids"])
        nodes, positions = found.get("tree_entry", [0] * len(ids)), found.get("position_ids", range(len(ids)))
        return Encoded(ids, tuple(found["labels"]), tuple(nodes), tuple(positions))

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
    """Tokens of each row and of its longest path; of all rows those that are trained, and those on branches."""

    rows: list[int] = field(default_factory=list)
    paths: list[int] = field(default_factory=list)
    trained: int = 0
    branches: int = 0
    trained_on_branches: int = 0

    def add(self, encoded: Encoded) -> None:
        self.rows.append(len(encoded.ids))
        self.paths.append(max(encoded.positions) + 1)
        self.trained += len(encoded.trained)
        for stretch in encoded.stretches:
            if stretch.branch:
                self.branches += len(stretch.ids)
                self.trained_on_branches += sum(label != IGNORED for label in stretch.labels)

    def above(self, limit: int, context: int) -> int:
        """Rows with more tokens than the limit, or a path that does not fit the context."""
        return sum(length > limit or path > context for length, path in zip(self.rows, self.paths, strict=True))

    def kinds(self) -> Table:
        """What is trained on the trunk, by the planner, and on branches, by executors."""
        table = Table("of all tokens", "", "trained", title="Kinds", title_justify="left")
        total = sum(self.rows)
        for name, count, trained in (
            (
                "trunk: question, plans, executions so far, answer",
                total - self.branches,
                self.trained - self.trained_on_branches,
            ),
            ("branches: an executor's call each", self.branches, self.trained_on_branches),
        ):
            table.add_row(name, f"{count:,}", f"{trained:,}")
        return table

    def histogram(self) -> Table:
        width = -(-(max(self.rows) + 1) // BARS)
        counts = Counter(length // width for length in self.rows)
        table = Table("tokens", "rows", "", title="Lengths", title_justify="left")
        for number in range(max(counts) + 1):
            bar = "█" * round(BAR_WIDTH * counts[number] / max(counts.values()))
            table.add_row(f"{number * width:,}-{(number + 1) * width - 1:,}", f"{counts[number]:,}", bar)
        return table


def shown(row: Encoded, encoder: Encoder) -> Group:
    """What the model sees in grey, what it is trained to write in green; branches are set in."""
    parts = []
    for stretch in row.stretches:
        text = Text()
        for ids, trained in stretch.pieces():
            text.append(encoder.text(ids), style="green" if trained else "dim")
        text.rstrip()
        parts.append(Padding(text, (0, 0, 0, INDENT * stretch.branch)))
    return Group(*parts)


def measure(rows: Iterable[Row], encoder: Encoder, file: Path) -> Lengths:
    """The lengths of all rows of a file. Raises BadInput for a row whose tags do not survive."""
    lengths = Lengths()
    for number, row in enumerate(rows, 1):
        with naming_line(file, number):
            encoded = encoder.row(row)
            if lost := lost_tags(row, encoded, encoder.text):
                raise BadInput(
                    f"{lost[0]} does not survive this model's tokenizer ({len(lost)} tags lost); "
                    "give its tags tokens of their own, or another model"
                )
        lengths.add(encoded)
    return lengths


def check(
    file: Annotated[Path, typer.Argument(help="rows, one JSON object a line")],
    model: Annotated[str, typer.Option(help="folder or hub id, for its tokenizer")],
    template: Annotated[str, typer.Option(help="ms-swift's, or ours for trees")] = TREE_TEMPLATE,
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
        rows, end = list(islice(read_rows(file), limit)), end_text(str(model_folder(model)))
        for number, row in enumerate(rows, 1):
            with naming_line(file, number):
                check_text(row, end)
        encoder, out = Encoder.of(model, template), screen()
        for number, row in enumerate(rows[:show], 1):
            title = f"row {number}: dim is seen, [green]green is trained[/green]"
            with naming_line(file, number):
                out.print(Panel(shown(encoder.row(row), encoder), title=title, title_align="left"))
        lengths = measure(track(rows, "encoding", console=notes, transient=True), encoder, file)
        out.print(lengths.histogram())
        total = sum(lengths.rows)
        if lengths.branches:
            out.print(lengths.kinds())
        out.print(
            f"{len(rows):,} rows, {total:,} tokens, {lengths.trained / total:.0%} of them trained; "
            f"longest path {max(lengths.paths):,}"
        )
        limit_of_row = max_length or encoder.context
        out.print(f"max_length={limit_of_row:,} would leave out {lengths.above(limit_of_row, encoder.context):,} rows")


def main(arguments: Sequence[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command("check")(check)
    app(list(arguments), prog_name="sprint-sgl train check")
