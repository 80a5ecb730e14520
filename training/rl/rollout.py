"""Rounds of rollouts: the real program on a running server, several times a question, kept as it is written.

A round's folder holds records.jsonl, as a benchmark's does, so that `sprint-sgl view` reads it, and calls.jsonl with
the tokens of the same runs. A round that was interrupted goes on with the rollouts that it lacks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from sprint_sgl.bench.failures import FAILURES, QuestionFailure, write_failures
from sprint_sgl.bench.records import Record, RecordKey, parse_lines, read_records, truncate_partial_line
from sprint_sgl.bench.runner import QuestionSample, Workload, answer_all, answer_question
from sprint_sgl.storage.files import RECORDS, make_folder
from training.rl.recording import RecordingEndpoint, SampledCall

CALLS = "calls.jsonl"


@dataclass(frozen=True)
class SampledRun:
    """The record of one rollout, with its calls in tokens."""

    record: Record
    calls: tuple[SampledCall, ...]


@dataclass
class RoundFolder:
    """The files of one round. `runs` are the finished rollouts, `failures` those that could not be asked."""

    path: Path
    runs: dict[RecordKey, SampledRun] = field(default_factory=dict)
    failures: list[QuestionFailure] = field(default_factory=list)

    @staticmethod
    def of(path: Path) -> RoundFolder:
        """Return the round with the rollouts that are already in its folder. Raises BadInput for a damaged file."""
        make_folder(path)
        for name in (RECORDS, CALLS):
            truncate_partial_line(path / name)
        calls = dict(parse_lines(path / CALLS, _read_calls, "rollout's calls"))
        records = {record.key: record for record in read_records(path / RECORDS)}
        return RoundFolder(path, {key: SampledRun(record, calls[key]) for key, record in records.items()})

    def groups(self) -> list[list[SampledRun]]:
        """Return the rollouts by question, in the order of questions and samples."""
        found: dict[str, list[SampledRun]] = {}
        for key in sorted(self.runs):
            found.setdefault(key[1], []).append(self.runs[key])
        return list(found.values())

    def collect(self, work: Workload, endpoint: RecordingEndpoint) -> None:
        """Run the one method of `work` on the samples that are missing.

        A rollout that cannot be asked is a failure of the round. Raises BadInput for what would fail every time.
        """
        (method,) = work.methods
        wanted = [each for each in work.samples if (method.name, each.question.id, each.number) not in self.runs]
        with (self.path / CALLS).open("a") as calls, (self.path / RECORDS).open("a") as records:
            failed = answer_all(
                wanted,
                lambda sample: sampled_run(work, sample, endpoint),
                lambda run: self._keep(run, calls, records),
                work.concurrency,
                endpoint.close,
            )
        self.failures = [
            QuestionFailure(method.name, each.question.id, each.number, str(error)) for each, error in failed
        ]
        write_failures(self.path / FAILURES, self.failures)

    def _keep(self, run: SampledRun, calls: TextIO, records: TextIO) -> None:
        """Write a rollout, its calls first: what has a record is complete."""
        key = run.record.key
        calls.write(json.dumps({"key": key, "calls": [each.to_dict() for each in run.calls]}) + "\n")
        calls.flush()
        records.write(run.record.to_json() + "\n")
        records.flush()
        self.runs[key] = run


def sampled_run(work: Workload, sample: QuestionSample, endpoint: RecordingEndpoint) -> SampledRun:
    """Return one rollout. Raises SprintError if it could not be asked."""
    session = endpoint.session()
    record = answer_question(work, work.methods[0], sample, session)
    return SampledRun(record, tuple(session.calls))


def _read_calls(line: str) -> tuple[RecordKey, tuple[SampledCall, ...]]:
    row = json.loads(line)
    method, id, sample = row["key"]
    return (method, id, sample), tuple(map(SampledCall.from_dict, row["calls"]))
