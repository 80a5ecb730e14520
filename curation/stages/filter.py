"""Stage 6: packed traces that are parallel enough and whole go on (section 3.2.4), each other one with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from curation.annotate.components import PHASES
from curation.stages.base import Outcome, Record, Rejection
from sprint_sgl.errors import BadInput


@dataclass
class Thresholds:
    """What a trace must reach; the first one that it misses is its reason.

    min_ratio       #steps / #stages as the paper counts it, plan-only steps and stages included
    min_coverage    share of the thought, by characters, that the packed trajectory holds
    max_similarity  of two executions of one stage: shared words / all words of both
    max_chars       of the trajectory; four characters are about a token
    reject_later_results   whether a trace is rejected in which a step uses a result that is first said in a step on
                           which it does not depend (results.py). Else such steps are counted in the report.
                           Rules make the step a parent instead, and have none.
    """

    min_ratio: float = 1.5
    min_coverage: float = 1.0
    max_similarity: float = 0.9
    max_chars: int = 60_000
    reject_later_results: bool = False

    def __post_init__(self) -> None:
        shares = {"min_coverage": self.min_coverage, "max_similarity": self.max_similarity}
        if wrong := next((name for name, share in shares.items() if not 0 <= share <= 1), None):
            raise BadInput(f"filter.{wrong}={shares[wrong]} is no share: from 0 to 1")
        if not self.min_ratio >= 0 or self.max_chars < 1:
            raise BadInput("filter.min_ratio must be 0 or more, filter.max_chars at least 1")


@dataclass(frozen=True)
class Filter:
    thresholds: Thresholds

    def __call__(self, record: Record) -> Outcome:
        for check in (self._executions, self._ratio, self._contents, self._siblings, self._results, self._length):
            if found := check(record):
                return Rejection(record["id"], record["index"], "filter", *found)
        return record

    def _executions(self, record: Record) -> tuple[str, str] | None:
        """Many steps in one stage make a high ratio, and nothing runs where all of them only plan."""
        if any(stage["executions"] for stage in record["trajectory"]["stages"]):
            return None
        return "no executions", "all steps only plan"

    def _ratio(self, record: Record) -> tuple[str, str] | None:
        if record["ratio"] >= self.thresholds.min_ratio:
            return None
        return "ratio", f"{record['ratio']:.2f} steps a stage, below {self.thresholds.min_ratio}"

    def _contents(self, record: Record) -> tuple[str, str] | None:
        """The steps, rejoined, are the source, and the trajectory holds them."""
        trace = record["trace"]
        phases = [step[phase] for step in trace["steps"] for phase in PHASES if step[phase]]
        if trace["thought"] and not same_letters("".join(phases), trace["thought"]):
            return "rejoined text", "the steps in their order are not the thought"
        share = coverage(phases, "\n".join(texts(record["trajectory"])))
        if share >= self.thresholds.min_coverage:
            return None
        return "coverage", f"{share:.1%} of the thought, below {self.thresholds.min_coverage:.1%}"

    def _siblings(self, record: Record) -> tuple[str, str] | None:
        for number, stage in enumerate(record["trajectory"]["stages"], 1):
            words = [set(execution["text"].split()) for execution in stage["executions"]]
            for (j, first), (k, second) in combinations(enumerate(words, 1), 2):
                if similarity(first, second) > self.thresholds.max_similarity:
                    return "duplicate siblings", f"executions {number}.{j} and {number}.{k} say the same"
        return None

    def _results(self, record: Record) -> tuple[str, str] | None:
        if not (self.thresholds.reject_later_results and record["later_results"]):
            return None
        user, source, value = record["later_results"][0]
        return "later result", f"step {user} uses {value} of step {source}, on which it does not depend"

    def _length(self, record: Record) -> tuple[str, str] | None:
        chars = sum(map(len, texts(record["trajectory"])))
        if chars <= self.thresholds.max_chars:
            return None
        return "too long", f"{chars} characters, above {self.thresholds.max_chars}"


def texts(trajectory: dict[str, Any]) -> Iterator[str]:
    """All that a packed trajectory says, in its order."""
    for stage in trajectory["stages"]:
        for prompt in stage["prompts"]:
            yield from (prompt["lead"], prompt["text"])
        yield stage["tail"]
        yield from (execution["text"] for execution in stage["executions"])
    yield trajectory["final_answer"]


def coverage(pieces: Sequence[str], whole: str) -> float:
    """The share of the pieces, by characters, that the whole contains word for word."""
    total = sum(map(len, pieces))
    return sum(len(piece) for piece in pieces if piece in whole) / total if total else 1.0


def same_letters(one: str, other: str) -> bool:
    """Equal but for white space."""
    return "".join(one.split()) == "".join(other.split())


def similarity(one: set[str], other: set[str]) -> float:
    """Jaccard: common words / all words."""
    either = len(one | other)
    return len(one & other) / either if either else 1.0
