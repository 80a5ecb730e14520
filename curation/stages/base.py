"""What every stage shares: it reads records, writes records, and counts what it rejected.

A stage's files are written whole and renamed into place, the result last: after a kill at any moment the stage has
been done or it has not. A stage that was done on the same input with the same settings is not done again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

from curation.records import Rejection, TraceRecord, read_records, record_line
from curation.teacher.calls import ModelCost
from sprint_sgl.config import changed_keys, flatten_settings
from sprint_sgl.console import say
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import file_digest, whole_file

REPORT_INTERVAL = 0.1  # seconds between two updates of a progress bar: drawing one takes longer than packing a trace

Outcome = TraceRecord | Rejection
Report = Callable[["StageCounts"], None]
In = TypeVar("In", bound=TraceRecord)


@dataclass(frozen=True)
class StageCounts:
    """One stage's account: `read` is `kept` plus the sum of `rejected`, which counts reasons.

    calls    what the stage asked of models, and the cost
    reused   whether an earlier start had done the stage
    """

    stage: str
    read: int
    kept: int
    rejected: Mapping[str, int]
    seconds: float = 0.0
    calls: tuple[ModelCost, ...] = ()
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"calls": [cost.to_dict() for cost in self.calls]}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> StageCounts:
        """Raises KeyError or TypeError where a field is missing or unknown."""
        return StageCounts(**{**row, "calls": tuple(map(ModelCost.from_dict, row.get("calls", ())))})


@dataclass(frozen=True)
class StageResult:
    """How a stage ended, as its file funnel/NAME.json says.

    source      digest of the file that the stage read
    settings    what the result depends on beside that file, as plain JSON values
    temporary   whether some rejections may succeed in another attempt (`passing` on disk)
    """

    counts: StageCounts
    source: str
    settings: Mapping[str, Any]
    temporary: bool = False

    @staticmethod
    def read(path: Path) -> StageResult:
        """Raises BadInput if the file does not hold the result of a stage."""
        try:
            row = json.loads(path.read_text())
            counts = StageCounts.from_dict(row["funnel"])
            return StageResult(counts, row["source"], row["settings"], row.get("passing", False))
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{path} does not say how the stage ended: remove it, and the stage is done again"
            ) from error

    def write(self, path: Path) -> None:
        row = {"funnel": self.counts.to_dict(), "source": self.source, "settings": self.settings}
        with whole_file(path) as file:
            json.dump(row | {"passing": self.temporary}, file, indent=2)


def to_json_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as they are after a round trip through JSON."""
    values: dict[str, Any] = json.loads(json.dumps(settings))
    return values


@dataclass(frozen=True)
class PipelineStage(Generic[In]):
    """One stage of a run in `folder`: it writes NAME.jsonl and rejected/NAME.jsonl.

    reads      the type of the records that it reads
    settings   what its result depends on beside the records
    window     records in progress at a time, for work that waits for an endpoint
    costs      returns the cost of its calls so far
    """

    name: str
    folder: Path
    work: Callable[[In], Outcome | Awaitable[Outcome]]
    reads: type[In]
    settings: Mapping[str, Any]
    window: int = 1
    costs: Callable[[], Sequence[ModelCost]] = tuple

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def rejected(self) -> Path:
        return self.folder / "rejected" / f"{self.name}.jsonl"

    @property
    def result(self) -> Path:
        return self.folder / "funnel" / f"{self.name}.json"

    async def run_file(self, source: Path, report: Report) -> StageCounts:
        """Do the stage's work on the records of a file, as `run` does."""
        return await self.run(read_records(source, self.reads), file_digest(source), report)

    async def run(self, records: Iterable[In | Rejection], source: str, report: Report) -> StageCounts:
        """Do the stage's work unless it was done, and return its counts; `source` is the digest of the input.

        Raises what the work raises. The stage's files then stay as they were.
        """
        return self.reusable_counts(source) or await self._write(self._outcomes(records), source, report)

    def reusable_counts(self, source: str) -> StageCounts | None:
        """Return the counts of an earlier start on the same input with the same settings, None without one.

        A result whose rejections may succeed in another attempt is not reused.
        """
        if not (self.result.is_file() and self.path.is_file() and self.rejected.is_file()):
            return None
        result, settings = StageResult.read(self.result), to_json_values(self.settings)
        if result.temporary or (result.source, result.settings) != (source, settings):
            self._say_changes(flatten_settings(result.settings), flatten_settings(settings))
            return None
        return replace(result.counts, reused=True)

    def _say_changes(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        if keys := changed_keys(before, now):
            changes = ", ".join(f"{key}={now.get(key)} in place of {before.get(key)}" for key in keys)
            say(f"{self.name}: done again with {changes}")

    async def _write(self, outcomes: AsyncIterator[Outcome], source: str, report: Report) -> StageCounts:
        start, kept, reasons, temporary = time.monotonic(), 0, Counter[str](), False
        reported = start - REPORT_INTERVAL
        with whole_file(self.path) as out, whole_file(self.rejected) as rejected:
            async for outcome in outcomes:
                if isinstance(outcome, Rejection):
                    rejected.write(record_line(outcome))
                    reasons[outcome.reason] += 1
                    temporary = temporary or outcome.temporary
                else:
                    out.write(record_line(outcome))
                    kept += 1
                if (now := time.monotonic()) >= reported + REPORT_INTERVAL:
                    report(StageCounts(self.name, kept + reasons.total(), kept, reasons, now - start))
                    reported = now
            self.result.unlink(missing_ok=True)  # it describes the files that are replaced now
        seconds, rejections = round(time.monotonic() - start, 2), dict(reasons.most_common())
        counts = StageCounts(self.name, kept + reasons.total(), kept, rejections, seconds, tuple(self.costs()))
        StageResult(counts, source, to_json_values(self.settings), temporary).write(self.result)
        return counts

    async def _outcomes(self, records: Iterable[In | Rejection]) -> AsyncIterator[Outcome]:
        """Yield the outcomes of the work in the order of the records. Rejections pass through."""
        tasks: deque[asyncio.Future[Outcome]] = deque()
        try:
            for record in records:
                outcome = record if isinstance(record, Rejection) else self.work(record)
                if isinstance(outcome, TraceRecord | Rejection):
                    yield outcome
                    continue
                tasks.append(asyncio.ensure_future(outcome))
                while len(tasks) >= self.window or (tasks and tasks[0].done()):
                    yield await tasks.popleft()
                await asyncio.sleep(0)
            while tasks:
                yield await tasks.popleft()
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)  # requests under way are paid for: keep their replies


def read_results(folder: Path, names: Sequence[str]) -> dict[str, StageResult]:
    """Return the results of those stages that have ended in the folder, in the order of the names."""
    paths = {name: folder / "funnel" / f"{name}.json" for name in names}
    return {name: StageResult.read(path) for name, path in paths.items() if path.is_file()}


def read_all_results(folder: Path, names: Sequence[str]) -> dict[str, StageResult]:
    """Return the results of all stages.

    Raises BadInput if a stage has not ended, or has read another file than the stage before it wrote.
    """
    results = read_results(folder, names)
    if missing := [name for name in names if name not in results]:
        raise BadInput(f"{folder}: {missing[0]} has not ended: run the stages before rows first")
    for before, name in pairwise(names):
        if results[name].source != file_digest(folder / f"{before}.jsonl"):
            raise BadInput(
                f"{folder}: {name}.jsonl was made from another {before}.jsonl than the one that is there: "
                f"run {name} and the stages after it again"
            )
    return results
