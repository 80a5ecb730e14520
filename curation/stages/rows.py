"""Stage 7: kept trajectories become training rows for ms-swift, SPRINT and RFT from the same traces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from curation.jsonl import to_line
from curation.records import PackedTrace
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol import FORMATS, format_named
from sprint_sgl.protocol.prompts import PromptStyle, prompt_style
from sprint_sgl.storage.files import count_lines, whole_file
from sprint_sgl.training_rows import Row

SPLITS = ("train", "valid")
KINDS = (*FORMATS, "rft")


@dataclass
class RowSettings:
    """The form of the rows.

    format        tree or transcript (curation/stages/reformat.py)
    protocol      the format of parallel reasoning: sprint, apr, pasta or threads (sprint_sgl/protocol/formats.py)
    prompt_style  of the instructions: sprint, or mini for the small models
    validation    share of the questions that is held out for evaluation
    """

    format: RowFormat = RowFormat.tree
    protocol: str = "sprint"
    prompt_style: str = "sprint"
    validation: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise BadInput(f"rows.validation must be in [0, 1), got {self.validation}")
        format_named(self.protocol)


def write_rows(records: Iterable[PackedTrace], settings: RowSettings, out: Path) -> dict[str, int]:
    """Write {sprint,rft}.{train,valid}.jsonl into the folder and return the number of rows of each file.

    In another format its name takes the place of `sprint`.
    """
    style = prompt_style(settings.prompt_style)
    counts = {f"{kind}.{split}.jsonl": 0 for kind in (settings.protocol, "rft") for split in SPLITS}
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(out / name)) for name in counts}
        for record in records:
            split = choose_split(record.trace.question, settings.validation)
            for kind, row in rows_of(record, settings, style):
                name = f"{kind}.{split}.jsonl"
                files[name].write(to_line(row | {"id": record.id, "annotator": record.annotator}))
                counts[name] += 1
    return counts


def count_rows(out: Path) -> int:
    """Return the number of rows in the folder's files."""
    files = (out / f"{kind}.{split}.jsonl" for kind in KINDS for split in SPLITS)
    return sum(count_lines(path) for path in files if path.is_file())


def choose_split(question: str, validation: float) -> str:
    """Return train or valid by a hash of the question: all traces of a question have one split, in any shard."""
    digest = hashlib.sha256(" ".join(question.split()).lower().encode()).digest()
    return "valid" if int.from_bytes(digest[:8], "big") < validation * 2**64 else "train"


def rows_of(record: PackedTrace, settings: RowSettings, style: PromptStyle) -> Iterator[tuple[str, Row]]:
    """Yield the row of each kind."""
    format = format_named(settings.protocol)
    yield format.name, sprint_row(record.trajectory, style, settings.format, format)
    yield "rft", rft_row(record.trace, style)
