"""The figures of a method, and its comparison with another method on the same questions."""

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
    """One method's records by question id; the figure of a question is the mean over its samples.

    `failed` counts, by question id, the samples that could not be asked. They count as wrong and have no tokens or
    seconds.
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
    def asked_ids(self) -> list[str]:
        return [*self.records, *sorted(self.failed.keys() - self.records.keys())]

    @property
    def has_plans(self) -> bool:
        """Return whether a planner took part in any of the answers."""
        return any(record.trajectory.has_planner for records in self.records.values() for record in records)

    @property
    def is_sequential(self) -> bool:
        """Return whether every answer is one sequential thought."""
        launches = {record.trajectory.launch for records in self.records.values() for record in records}
        return launches == {"sequential"}

    def part(self, group: str) -> MethodRecords:
        """Return the answered questions of a group. The group of a question that could not be asked is unknown."""
        return MethodRecords(
            self.name, {id: records for id, records in self.records.items() if records[0].group == group}
        )

    def common_ids(self, other: MethodRecords) -> list[str]:
        """Return the ids of the questions that both methods have answered."""
        return [id for id in self.records if id in other.records]

    def correct(self, ids: Sequence[str] | None = None) -> list[float]:
        """Return the share of right answers to each question."""
        return self.shares(is_correct, ids)

    def shares(self, predicate: Callable[[Record], bool], ids: Sequence[str] | None = None) -> list[float]:
        """Return each question's share of samples for which the predicate holds; it fails for unasked samples."""
        shares = []
        for id in self.asked_ids if ids is None else ids:
            records = self.records.get(id, [])
            shares.append(sum(map(predicate, records)) / max(len(records) + self.failed.get(id, 0), 1))
        return shares

    def values(self, value: TrajectoryValue, ids: Sequence[str] | None = None) -> list[float]:
        """Return each answered question's mean value."""
        return [fmean(value(r.trajectory) for r in self.records[id]) for id in (self.records if ids is None else ids)]

    def share(self, predicate: Callable[[Record], bool]) -> float:
        """Return the share of records for which the predicate holds."""
        return fmean(predicate(record) for records in self.records.values() for record in records)


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


def peak_context(trajectory: Trajectory) -> float:
    return trajectory.peak_context


def cached_share(trajectory: Trajectory) -> float:
    return trajectory.cached_share


def is_repaired(record: Record) -> bool:
    return bool(record.trajectory.repairs)


def is_correct(record: Record) -> bool:
    return record.correct


def is_correct_with_judge(record: Record) -> bool:
    return record.correct or bool(record.judged)


@dataclass(frozen=True)
class MethodComparison:
    """A method against a baseline, on the questions that both answered.

    points             difference of accuracy, in percentage points; p is its p-value
    sequential, total  ratio of the method's mean tokens to the baseline's
    promised           the speed-up by sequential tokens: the baseline's mean over the method's
    realised           the speed-up by the clock: the baseline's mean seconds over the method's
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
    def of(side: MethodRecords, baseline: MethodRecords) -> MethodComparison | None:
        """Return the comparison; None if the two have no answered question in common."""
        ids = side.common_ids(baseline)
        if not ids:
            return None
        asked_of_baseline = set(baseline.asked_ids)
        asked_of_both = [id for id in side.asked_ids if id in asked_of_baseline]
        ours, theirs = side.correct(asked_of_both), baseline.correct(asked_of_both)
        return MethodComparison(
            baseline=baseline.name,
            questions=len(ids),
            points=100 * (fmean(ours) - fmean(theirs)),
            p=paired_p(ours, theirs),
            sequential=_ratio(side, baseline, sequential_tokens, ids),
            total=_ratio(side, baseline, total_tokens, ids),
            realised=_ratio(baseline, side, wall_seconds, ids),
        )


def _ratio(
    side: MethodRecords, baseline: MethodRecords, value: TrajectoryValue, ids: Sequence[str]
) -> IntervalEstimate | None:
    under = baseline.values(value, ids)
    return ratio_of_means(side.values(value, ids), under) if all(under) else None


@dataclass(frozen=True)
class MethodFigures:
    """The figures of one method: a row of the table. `against` compares it with the baseline; None for the baseline.

    correct, sequential, total, judged     mean over questions; judged counts a judge's verdicts as well
    discarded, uncached, cached, repaired  mean over questions or records
    context                                mean over questions of the most tokens that one request held
    seconds                                median over questions
    """

    name: str
    questions: int
    failed: int
    correct: IntervalEstimate
    sequential: IntervalEstimate
    total: IntervalEstimate
    discarded: float
    uncached: float
    cached: float
    context: float
    seconds: float
    repaired: float
    judged: IntervalEstimate | None
    against: MethodComparison | None = None

    @staticmethod
    def of(name: str, side: MethodRecords, baseline: MethodRecords | None = None) -> MethodFigures:
        """Return the figures. Raises ValueError for a method without an answered question."""
        has_judge = any(record.judged is not None for records in side.records.values() for record in records)
        return MethodFigures(
            name=name,
            questions=len(side.asked_ids),
            failed=len(side.failed),
            correct=share(side.correct()),
            sequential=mean(side.values(sequential_tokens)),
            total=mean(side.values(total_tokens)),
            discarded=fmean(side.values(discarded_tokens)),
            uncached=fmean(side.values(uncached_tokens)),
            cached=fmean(side.values(cached_share)),
            context=fmean(side.values(peak_context)),
            seconds=median(side.values(wall_seconds)),
            repaired=side.share(is_repaired),
            judged=share(side.shares(is_correct_with_judge)) if has_judge else None,
            against=MethodComparison.of(side, baseline) if baseline else None,
        )
