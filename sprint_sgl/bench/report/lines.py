"""The figures of a method, and how it compares with another on the same questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from sprint_sgl.bench.records import Record
from sprint_sgl.bench.report.statistics import IntervalEstimate, mean, paired_p, ratio_of_means, share
from sprint_sgl.trajectory import Trajectory

TrajectoryValue = Callable[[Trajectory], float]


@dataclass(frozen=True)
class MethodRecords:
    """One method's records, question by question: figures are means over a question's samples.

    `failed` counts a question's samples that could not be asked: they are wrong, and have no tokens or seconds.
    """

    name: str
    records: dict[str, list[Record]]
    failed: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(name: str, records: Sequence[Record], failed: Iterable[str] = ()) -> MethodRecords:
        found: dict[str, list[Record]] = {}
        for record in records:
            if record.method == name:
                found.setdefault(record.id, []).append(record)
        return MethodRecords(name, found, Counter(failed))

    @property
    def asked(self) -> list[str]:
        return [*self.records, *sorted(self.failed.keys() - self.records.keys())]

    @property
    def has_plans(self) -> bool:
        """Whether a planner made any of its answers."""
        return any(record.trajectory.planned for records in self.records.values() for record in records)

    @property
    def is_sequential(self) -> bool:
        """Whether all of its answers are one thought each."""
        launches = {record.trajectory.launch for records in self.records.values() for record in records}
        return launches == {"sequential"}

    def part(self, group: str) -> MethodRecords:
        """Its answered questions of that group; of what could not be asked nobody knows the group."""
        return MethodRecords(
            self.name, {id: records for id, records in self.records.items() if records[0].group == group}
        )

    def common(self, other: MethodRecords) -> list[str]:
        """The questions that both have answered."""
        return [id for id in self.records if id in other.records]

    def correct(self, ids: Sequence[str] | None = None) -> list[float]:
        """The share of right answers to each question."""
        return self.shares(is_correct, ids)

    def shares(self, holds: Callable[[Record], bool], ids: Sequence[str] | None = None) -> list[float]:
        """Of each question's samples, those for which it holds; for one that could not be asked it does not."""
        found = []
        for id in self.asked if ids is None else ids:
            records = self.records.get(id, [])
            found.append(sum(map(holds, records)) / max(len(records) + self.failed.get(id, 0), 1))
        return found

    def values(self, value: TrajectoryValue, ids: Sequence[str] | None = None) -> list[float]:
        return [fmean(value(r.trajectory) for r in self.records[id]) for id in (self.records if ids is None else ids)]

    def share(self, holds: Callable[[Record], bool]) -> float:
        return fmean(holds(record) for records in self.records.values() for record in records)


def wall_seconds(trajectory: Trajectory) -> float:
    return trajectory.seconds


def sequential_tokens(trajectory: Trajectory) -> float:
    return trajectory.sequential_tokens


def total_tokens(trajectory: Trajectory) -> float:
    return trajectory.total_tokens


def discarded_tokens(trajectory: Trajectory) -> float:
    return trajectory.discarded_tokens


def uncached_tokens(trajectory: Trajectory) -> float:
    return trajectory.uncached_prefill_tokens


def cached_share(trajectory: Trajectory) -> float:
    return trajectory.cached_share


def is_repaired(record: Record) -> bool:
    return bool(record.trajectory.repairs)


def is_correct(record: Record) -> bool:
    return record.correct


def is_correct_with_judge(record: Record) -> bool:
    return record.correct or bool(record.judged)


@dataclass(frozen=True)
class Comparison:
    """A method beside a baseline, on the questions that both answered.

    promised   what the baseline's sequential tokens are of the method's
    realised   what the baseline's seconds are of the method's, by their means, as the tokens are
    """

    baseline: str
    questions: int
    points: float
    p: float
    sequential: IntervalEstimate | None
    total: IntervalEstimate | None
    realised: IntervalEstimate | None

    @property
    def promised(self) -> float | None:
        return 1 / self.sequential.value if self.sequential and self.sequential.value else None

    @staticmethod
    def of(side: MethodRecords, baseline: MethodRecords) -> Comparison | None:
        """None where they have no answered question in common."""
        ids = side.common(baseline)
        if not ids:
            return None
        known = set(baseline.asked)
        asked = [id for id in side.asked if id in known]
        ours, theirs = side.correct(asked), baseline.correct(asked)
        return Comparison(
            baseline.name,
            len(ids),
            100 * (fmean(ours) - fmean(theirs)),
            paired_p(ours, theirs),
            _ratio(side, baseline, sequential_tokens, ids),
            _ratio(side, baseline, total_tokens, ids),
            _ratio(baseline, side, wall_seconds, ids),
        )


def _ratio(
    side: MethodRecords, baseline: MethodRecords, value: TrajectoryValue, ids: Sequence[str]
) -> IntervalEstimate | None:
    under = baseline.values(value, ids)
    return ratio_of_means(side.values(value, ids), under) if all(under) else None


@dataclass(frozen=True)
class MethodFigures:
    """A line of the table; `against` is its baseline's, None on the baseline's own line."""

    name: str
    questions: int
    failed: int
    correct: IntervalEstimate
    sequential: IntervalEstimate
    total: IntervalEstimate
    discarded: float
    uncached: float
    cached: float
    seconds: float
    repaired: float
    judged: IntervalEstimate | None
    against: Comparison | None = None

    @staticmethod
    def of(name: str, side: MethodRecords, baseline: MethodRecords | None = None) -> MethodFigures:
        """Raises ValueError for a side without an answered question."""
        judges = any(record.judged is not None for records in side.records.values() for record in records)
        return MethodFigures(
            name=name,
            questions=len(side.asked),
            failed=len(side.failed),
            correct=share(side.correct()),
            sequential=mean(side.values(sequential_tokens)),
            total=mean(side.values(total_tokens)),
            discarded=fmean(side.values(discarded_tokens)),
            uncached=fmean(side.values(uncached_tokens)),
            cached=fmean(side.values(cached_share)),
            seconds=median(side.values(wall_seconds)),
            repaired=side.share(is_repaired),
            judged=share(side.shares(is_correct_with_judge)) if judges else None,
            against=Comparison.of(side, baseline) if baseline else None,
        )
