"""Show what ms-swift will train on, before a training: `sprint-sgl train check rows.jsonl`.

Rows pass through ms-swift's own template, so the tokens shown are the tokens that the model gets.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
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
from sprint_sgl.storage.checkpoints import check_tokenizer, model_type, weights_folder
from sprint_sgl.training_rows import Row, row_text
from training.preflight import check_channel, check_no_end_token, end_token_text, model_folder
from training.row_file import locate_errors, read_rows
from training.tree.labels import TREE_TEMPLATE
from training.tree.layout import IGNORED

BARS, BAR_WIDTH = 10, 40
INDENT = 8
LONGEST_ROW = 8192  # tokens of a tree in all recipes (max_length); its paths are limited by the model's context


@dataclass(frozen=True)
class EncodedRow:
    """A row as tokens; all four lists have the same length.

    ids         token ids
    labels      the id where the token is trained, else IGNORED
    nodes       the tree node of each token; 0 in a row without a tree
    positions   each token's position on its path
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    nodes: tuple[int, ...]
    positions: tuple[int, ...]

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(label for label in self.labels if label != IGNORED)

    @property
    def segments(self) -> list[Segment]:
        """The tree's nodes in reading order: branches before the trunk goes on."""
        begins = [k for k, node in enumerate(self.nodes) if not k or node != self.nodes[k - 1]]
        found, on_trunk = [], True
        for begin, end in pairwise([*begins, len(self.nodes)]):
            on_trunk = on_trunk and self.positions[begin] == begin
            found.append(Segment(self.ids[begin:end], self.labels[begin:end], self.positions[begin], not on_trunk))
        return sorted(found, key=lambda segment: (segment.position, not segment.branch))


@dataclass(frozen=True)
class Segment:
    """The tokens of one tree node, the position of its first token, and whether the node is a branch."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    position: int
    branch: bool

    def loss_runs(self) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Yield (ids, trained) for each run of ids that are all trained or all masked."""
        pairs = zip(self.ids, self.labels, strict=True)
        for trained, run in groupby(pairs, key=lambda pair: pair[1] != IGNORED):
            yield tuple(token for token, _ in run), trained


@dataclass(frozen=True)
class Encoder:
    """ms-swift's template in training mode, and the model's context in tokens."""

    template: Any
    context: int

    @staticmethod
    def load(model: str, template: str = TREE_TEMPLATE) -> Encoder:
        """Load the tokenizer of a folder or hub id, not the weights. Raise BadInput if the model has no tokenizer."""
        folder = weights_folder(model)
        check_tokenizer(folder)
        os.environ.setdefault("USE_HF", "1")
        os.environ.setdefault("LOG_LEVEL", "ERROR")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, at swift's own imports
            from swift.model import get_processor
            from swift.template import get_template
        logging.getLogger("transformers").setLevel(logging.ERROR)  # swift gives it a deprecated argument

        try:
            processor = get_processor(str(folder), model_type=model_type(folder))
        except (OSError, ValueError) as error:
            raise BadInput(f"{model}: the tokenizer cannot be loaded: {error}") from error
        if template == TREE_TEMPLATE:
            importlib.import_module("training.plugins.sprint_tree")  # registers it
        try:
            loaded = get_template(processor, template_type=template)
        except ValueError as error:
            raise BadInput(f"ms-swift has no template {template!r}") from error
        loaded.set_mode("train")
        # No limit here: this command counts the rows that a training would leave out.
        loaded.max_length, loaded.model_info.max_model_len = sys.maxsize, None
        return Encoder(loaded, int(getattr(processor.model_info.config, "max_position_embeddings", 0)) or sys.maxsize)

    def encode(self, row: Row) -> EncodedRow:
        """Encode a row. Raise BadInput for a tree that cannot be laid out and for a misspelt channel."""
        check_channel(row, laid_out=True)
        found = self.template.encode({"messages": row["messages"], "channel": row.get("channel")})
        ids = tuple(found["input_ids"])
        nodes, positions = found.get("tree_entry", [0] * len(ids)), found.get("position_ids", range(len(ids)))
        return EncodedRow(ids, tuple(found["labels"]), tuple(nodes), tuple(positions))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.template.tokenizer.decode(list(ids), skip_special_tokens=False))


def lost_tags(row: Row, encoded: EncodedRow, decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Return the protocol tags of the row that decoding its tokens does not give back, in the row's order."""
    remaining = Counter(tag.text for tag in find_tags(decode(encoded.ids)))
    lost = []
    for tag in find_tags(row_text(row)):
        remaining[tag.text] -= 1
        if remaining[tag.text] < 0:
            lost.append(tag.text)
    return lost


@dataclass
class LengthStatistics:
    """Token counts of rows.

    rows, paths           tokens of each row, and of the longest path in it
    trained               trained tokens of all rows
    branches              tokens on branches, of all rows
    trained_on_branches   trained tokens among them
    """

    rows: list[int] = field(default_factory=list)
    paths: list[int] = field(default_factory=list)
    trained: int = 0
    branches: int = 0
    trained_on_branches: int = 0

    def add(self, encoded: EncodedRow) -> None:
        self.rows.append(len(encoded.ids))
        self.paths.append(max(encoded.positions) + 1)
        self.trained += len(encoded.trained)
        for segment in encoded.segments:
            if segment.branch:
                self.branches += len(segment.ids)
                self.trained_on_branches += sum(label != IGNORED for label in segment.labels)

    def count_above(self, limit: int, context: int) -> int:
        """Count rows with more tokens than `limit`, or with a path longer than `context`."""
        return sum(length > limit or path > context for length, path in zip(self.rows, self.paths, strict=True))

    def kinds_table(self) -> Table:
        """Return the tokens on the trunk (planner) and on branches (executors), and how many of them are trained."""
        table = Table("tokens on", "all", "trained", title="Trunk and branches", title_justify="left")
        total = sum(self.rows)
        for name, count, trained in (
            (
                "trunk (planner): question, plans, earlier executions, answer",
                total - self.branches,
                self.trained - self.trained_on_branches,
            ),
            ("branches (executors): one call each", self.branches, self.trained_on_branches),
        ):
            table.add_row(name, f"{count:,}", f"{trained:,}")
        return table

    def histogram_table(self) -> Table:
        width = -(-(max(self.rows) + 1) // BARS)
        counts = Counter(length // width for length in self.rows)
        table = Table("tokens", "rows", "", title="Lengths", title_justify="left")
        for number in range(max(counts) + 1):
            bar = "█" * round(BAR_WIDTH * counts[number] / max(counts.values()))
            table.add_row(f"{number * width:,}-{(number + 1) * width - 1:,}", f"{counts[number]:,}", bar)
        return table


def render_row(row: EncodedRow, encoder: Encoder) -> Group:
    """Return the row's text: masked tokens dimmed, trained ones green, branches indented."""
    parts = []
    for segment in row.segments:
        text = Text()
        for ids, trained in segment.loss_runs():
            text.append(encoder.decode(ids), style="green" if trained else "dim")
        text.rstrip()
        parts.append(Padding(text, (0, 0, 0, INDENT * segment.branch)))
    return Group(*parts)


def measure_lengths(rows: Iterable[Row], encoder: Encoder, file: Path) -> LengthStatistics:
    """Return the lengths of all rows. Raise BadInput for a row whose tags do not survive tokenisation."""
    lengths = LengthStatistics()
    for number, row in enumerate(rows, 1):
        with locate_errors(file, number):
            encoded = encoder.encode(row)
            if lost := lost_tags(row, encoded, encoder.decode):
                raise BadInput(
                    f"this model's tokenizer loses tags: {lost[0]} ({len(lost)} in this row). "
                    "Add tokens for the tags, or choose another model"
                )
        lengths.add(encoded)
    return lengths


def check(
    file: Annotated[Path, typer.Argument(help="training rows, one JSON object a line")],
    model: Annotated[str, typer.Option(help="folder or hub id of the model whose tokenizer is used")],
    template: Annotated[str, typer.Option(help="a template of ms-swift, or sprint_tree for trees")] = TREE_TEMPLATE,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="longest row in tokens; by default the model's context")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="number of rows to print")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="number of rows to read; by default all")] = None,
) -> None:
    """Show which tokens of each row are trained, how long rows are, and how many rows a length limit would leave out.

    [dim]sprint-sgl train check work/curation/sprint.train.jsonl --model deepseek-ai/DeepSeek-R1-Distill-Qwen-7B[/dim]
    """
    with one_line_errors():
        rows, end = list(islice(read_rows(file), limit)), end_token_text(str(model_folder(model)))
        for number, row in enumerate(rows, 1):
            with locate_errors(file, number):
                check_no_end_token(row, end)
        encoder, out = Encoder.load(model, template), screen()
        for number, row in enumerate(rows[:show], 1):
            title = f"row {number}: dim is context, [green]green is trained[/green]"
            with locate_errors(file, number):
                out.print(Panel(render_row(encoder.encode(row), encoder), title=title, title_align="left"))
        lengths = measure_lengths(track(rows, "encoding", console=notes, transient=True), encoder, file)
        out.print(lengths.histogram_table())
        total = sum(lengths.rows)
        if lengths.branches:
            out.print(lengths.kinds_table())
        out.print(
            f"{len(rows):,} rows, {total:,} tokens, {lengths.trained / total:.0%} of them trained; "
            f"longest path {max(lengths.paths):,}"
        )
        row_limit = max_length or (LONGEST_ROW if lengths.branches else encoder.context)
        left_out = lengths.count_above(row_limit, encoder.context)
        out.print(f"max_length={row_limit:,} would leave out {left_out:,} rows")


def main(arguments: Sequence[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command("check")(check)
    app(list(arguments), prog_name="sprint-sgl train check")
