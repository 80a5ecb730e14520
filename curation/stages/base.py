"""What every stage shares: JSON lines in, JSON lines out, and an account of what was dropped.

A stage's files appear whole, by a rename, and its account last: after a kill at any moment a stage has been done
or it has not. One that was done on the same input with the same settings is not done again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import file_digest, whole_file

Record = dict[str, Any]
SHOWN_EVERY = 0.1  # seconds between two looks at a stage under way: drawing a bar takes longer than packing a trace


@dataclass(frozen=True)
class Rejection:
    """A trace that leaves the pipeline: where, why in words that are counted, and the particulars.

    `passing`: another attempt may succeed, since it was the endpoint that failed; its stage is not done yet.
    """

    id: str
    index: int
    stage: str
    reason: str
    detail: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Funnel:
    """One stage's account: read = kept + the sum of rejected; `calls` is what it asked for and what that cost."""

    stage: str
    read: int
    kept: int
    rejected: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    calls: list[Record] = field(default_factory=list)
    reused: bool = False


@dataclass(frozen=True)
class Done:
    """How a stage has ended: `source` is the digest of what it read, `passing` says that another attempt may keep
    more."""

    funnel: Funnel
    source: str
    settings: Record
    passing: bool = False

    @staticmethod
    def read(path: Path) -> Done:
        """Raises BadInput for a file that is no account of a stage."""
        try:
            found = json.loads(path.read_text())
            return Done(**found | {"funnel": Funnel(**found["funnel"])})
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{path} does not say how the stage ended: remove it, and the stage is done again"
            ) from error

    def write(self, path: Path) -> None:
        with whole_file(path) as file:
            json.dump(asdict(self), file, indent=2)


def plain(settings: Mapping[str, Any]) -> Record:
    """As JSON gives them back."""
    found: Record = json.loads(json.dumps(settings))
    return found


Outcome = Record | Rejection
Work = Callable[[Record], Outcome | Awaitable[Outcome]]
Watch = Callable[[Funnel], None]


def read_jsonl(path: Path) -> Iterator[Record]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def to_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """How many were written; the file appears whole."""
    count = 0
    with whole_file(path) as file:
        for record in records:
            file.write(to_line(record))
            count += 1
    return count


@dataclass(frozen=True)
class Stage:
    """One stage of a run in `folder`: it reads `source`'s records and writes NAME.jsonl and rejected/NAME.jsonl.

    settings   what its result depends on beside the records
    window     records in the works at a time, for work that waits for an endpoint
    calls      the account of its calls so far
    """

    name: str
    folder: Path
    work: Work
    settings: Mapping[str, Any]
    window: int = 1
    calls: Callable[[], list[Record]] = list

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def rejected(self) -> Path:
        return self.folder / "rejected" / f"{self.name}.jsonl"

    @property
    def account(self) -> Path:
        return self.folder / "funnel" / f"{self.name}.json"

    def done(self, source: str) -> Funnel | None:
        """Its account, if it was done on the input of that digest with these settings, and nothing may come out better
        in another attempt."""
        if not (self.account.is_file() and self.path.is_file() and self.rejected.is_file()):
            return None
        done = Done.read(self.account)
        if done.passing or (done.source, done.settings) != (source, plain(self.settings)):
            return None
        return replace(done.funnel, reused=True)

    async def run(self, source: Path, watch: Watch) -> Funnel:
        """Does what is not done yet. Raises what the work raises; then nothing of the stage has changed."""
        digest = file_digest(source)
        return self.done(digest) or await self.write(self.outcomes(read_jsonl(source)), digest, watch)

    async def write(self, outcomes: AsyncIterator[Outcome], source: str, watch: Watch) -> Funnel:
        """Writes its files; `source` is the digest of what the outcomes are made from."""
        start, kept, reasons, passing = time.monotonic(), 0, Counter[str](), False
        shown = start - SHOWN_EVERY
        with whole_file(self.path) as out, whole_file(self.rejected) as dropped:
            async for outcome in outcomes:
                if isinstance(outcome, Rejection):
                    dropped.write(to_line(asdict(outcome)))
                    reasons[outcome.reason] += 1
                    passing = passing or outcome.passing
                else:
                    out.write(to_line(outcome))
                    kept += 1
                if (now := time.monotonic()) >= shown + SHOWN_EVERY:
                    watch(Funnel(self.name, kept + reasons.total(), kept, reasons, now - start))
                    shown = now
            self.account.unlink(missing_ok=True)  # it tells of the files that now go
        seconds = round(time.monotonic() - start, 2)
        account = Funnel(self.name, kept + reasons.total(), kept, dict(reasons.most_common()), seconds, self.calls())
        Done(account, source, plain(self.settings), passing).write(self.account)
        return account

    async def outcomes(self, records: Iterable[Record]) -> AsyncIterator[Outcome]:
        """The work's outcomes, in the order of the records."""
        tasks: deque[asyncio.Future[Outcome]] = deque()
        try:
            for record in records:
                outcome = self.work(record)
                if isinstance(outcome, dict | Rejection):
                    yield outcome
                    continue
                tasks.append(asyncio.ensure_future(outcome))
                while len(tasks) >= self.window or (tasks and tasks[0].done()):
                    yield await tasks.popleft()
                await asyncio.sleep(0)
            while tasks:
                yield await tasks.popleft()
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)  # what is under way is paid for: let it be kept


async def each(outcomes: Iterable[Outcome]) -> AsyncIterator[Outcome]:
    for outcome in outcomes:
        yield outcome


def ended(folder: Path, order: Sequence[str]) -> dict[str, Done]:
    """How the stages that have ended in that folder did, in that order."""
    paths = {name: folder / "funnel" / f"{name}.json" for name in order}
    return {name: Done.read(path) for name, path in paths.items() if path.is_file()}


def chain(folder: Path, order: Sequence[str]) -> dict[str, Done]:
    """How all stages have ended. Raises BadInput for one that has not, or has read another file than the one before it
    has written."""
    found = ended(folder, order)
    if missing := [name for name in order if name not in found]:
        raise BadInput(f"{folder}: {missing[0]} has not ended: run the stages before rows first")
    for before, name in pairwise(order):
        if found[name].source != file_digest(folder / f"{before}.jsonl"):
            raise BadInput(
                f"{folder}: {name}.jsonl was made from another {before}.jsonl than the one that is there: "
                f"run {name} and the stages after it again"
            )
    return found
