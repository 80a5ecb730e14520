"""Stage 7: kept trajectories become the rows that ms-swift trains on, SPRINT and RFT for the same traces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from curation.stages.base import Record, to_line
from curation.stages.reformat import RowFormat, rft_row, sprint_row
from curation.trace import Trace
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import PromptStyle, prompt_style
from sprint_sgl.rows import Row
from sprint_sgl.storage.files import whole_file
from sprint_sgl.trajectory import Trajectory

SPLITS = ("train", "valid")
KINDS = ("sprint", "rft")


@dataclass
class RowSettings:
    """How rows are written.

    format        tree or transcript (see curation/stages/reformat.py)
    prompt_style  the instruction texts: sprint, or mini for the small models
    validation    share of the questions that are held out for evaluation
    """

    format: RowFormat = RowFormat.tree
    prompt_style: str = "sprint"
    validation: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise BadInput(f"rows.validation={self.validation} is no share: from 0 to below 1")


def write_rows(records: Iterable[Record], settings: RowSettings, out: Path) -> dict[str, int]:
    """Writes {sprint,rft}.{train,valid}.jsonl into the folder; returns the number of rows of each file."""
    style = prompt_style(settings.prompt_style)
    counts = {f"{kind}.{split}.jsonl": 0 for kind in KINDS for split in SPLITS}
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(out / name)) for name in counts}
        for record in records:
            split = split_of(record["trace"]["question"], settings.validation)
            for kind, row in rows_of(record, settings, style):
                name = f"{kind}.{split}.jsonl"
                files[name].write(to_line(row | {"id": record["id"], "annotator": record["annotator"]}))
                counts[name] += 1
    return counts


def split_of(question: str, validation: float) -> str:
    """By the question alone, so that all traces of one question stand on one side, whatever the shard."""
    digest = hashlib.sha256(" ".join(question.split()).lower().encode()).digest()
    return "valid" if int.from_bytes(digest[:8], "big") < validation * 2**64 else "train"


def rows_of(record: Record, settings: RowSettings, style: PromptStyle) -> Iterator[tuple[str, Row]]:
    trace = Trace.from_dict(record["trace"])
    yield "sprint", sprint_row(Trajectory.from_dict(record["trajectory"]), style, settings.format)
    yield "rft", rft_row(trace, style)
