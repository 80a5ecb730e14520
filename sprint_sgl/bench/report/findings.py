"""What a report shows besides the figures: stages, tokens saved by length, why answers are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.figures import MethodRecords, sequential_tokens
from sprint_sgl.bench.report.statistics import IntervalEstimate, ratio_of_means

SHOWN_FAILURES = 50  # at most, of each method and cause
BINS = 5  # at most
FEWEST_IN_BIN = 10  # questions, so that a bin says something
_OTHER_VALUE = re.compile(r"is \S+, not \S+$")
_NUMBER = re.compile(r"\d+(?:\.\d+|/\d+)?")


@dataclass(frozen=True)
class LengthBin:
    """Questions on which the baseline needed `low` to `high` tokens, and the share that the method saves (Figure 6)."""

    low: float
    high: float
    questions: int
    saved: IntervalEstimate


def length_bins(side: MethodRecords, baseline: MethodRecords) -> list[LengthBin]:
    """Return bins with equal numbers of questions, from the shortest baseline to the longest."""
    ids = side.common_ids(baseline)
    if not ids:
        return []
    count = min(BINS, max(1, len(ids) // FEWEST_IN_BIN))
    lengths = dict(zip(ids, baseline.values(sequential_tokens, ids), strict=True))
    ordered = sorted(ids, key=lengths.__getitem__)
    found = []
    for k in range(count):
        part = ordered[k * len(ordered) // count : (k + 1) * len(ordered) // count]
        ratio = ratio_of_means(side.values(sequential_tokens, part), baseline.values(sequential_tokens, part))
        saved = IntervalEstimate(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
        found.append(LengthBin(lengths[part[0]], lengths[part[-1]], len(part), saved))
    return found


def stages_by_group(side: MethodRecords) -> dict[str, list[tuple[int, int]]]:
    """Return, by group and stage, how many runs reach the stage and in how many it has several prompts."""
    found: dict[str, list[tuple[int, int]]] = {}
    records = [record for each in side.records.values() for record in each]
    for group in sorted({record.group for record in records}):
        runs = [record.trajectory.stages for record in records if record.group == group]
        deepest = max(map(len, runs), default=0)
        reached = [[stages[i] for stages in runs if len(stages) > i] for i in range(deepest)]
        found[group] = [(len(stages), sum(len(stage.prompts) > 1 for stage in stages)) for stages in reached]
    return found


def parallel_share(side: MethodRecords) -> float:
    """Return the share of stages that have several prompts."""
    counts = [count for group in stages_by_group(side).values() for count in group]
    return sum(parallel for _, parallel in counts) / max(sum(reached for reached, _ in counts), 1)


@dataclass(frozen=True)
class FailureCause:
    """The failures of a method that have one cause, with some of them as examples."""

    method: str
    name: str
    count: int
    examples: tuple[Record, ...]


def cause_of(record: Record) -> str:
    """Return why a record is wrong, in words that many records share."""
    if record.judged:
        return "right by the judge, unreadable to the rules"
    if dict(record.trajectory.repairs).get("truncated") and not record.read:
        return "cut off by a token limit"
    if not record.read:
        return "no answer that the rules can read"
    faults = record.reason.split("; ")
    if _OTHER_VALUE.match(faults[0]):
        return "makes another number"
    if faults[0].startswith("another "):
        return faults[0].partition(":")[0]
    return _NUMBER.sub("…", faults[0]) if len(faults[0]) < 60 else "another answer"


def failure_causes(sides: Mapping[str, MethodRecords]) -> Iterator[FailureCause]:
    """Yield every method's causes of failure, the most frequent first."""
    for name, side in sides.items():
        found: dict[str, list[Record]] = {}
        for record in (record for records in side.records.values() for record in records if not record.correct):
            found.setdefault(cause_of(record), []).append(record)
        if unasked := sum(side.failed.values()):
            yield FailureCause(name, "could not be asked: see failures.jsonl", unasked, ())
        for cause, wrong in sorted(found.items(), key=lambda each: -len(each[1])):
            yield FailureCause(name, cause, len(wrong), tuple(wrong[:SHOWN_FAILURES]))
