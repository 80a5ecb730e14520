"""Stage 6: keep packed traces that are parallel enough and complete (section 3.2.4), and reject the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from curation.annotate.components import PHASES
from curation.records import PackedTrace, Rejection
from sprint_sgl.errors import BadInput
from sprint_sgl.trajectory import Trajectory


@dataclass
class Thresholds:
    """Conditions that a trace must meet; the first that fails is the reason of its rejection.

    min_ratio       #steps / #stages as in the paper, plan-only steps and stages included
    min_coverage    share of the thought's characters that the trajectory must hold
    max_similarity  of two executions of one stage: shared words / all words of both
    max_chars       of the trajectory; a token has about four characters
    reject_later_results   whether to reject a trace with a step that uses a result of a step on which it does not
                           depend (annotate/results.py). Otherwise the report counts such steps. Rules add the
                           dependency instead.
    """

    min_ratio: float = 1.5
    min_coverage: float = 1.0
    max_similarity: float = 0.9
    max_chars: int = 60_000
    reject_later_results: bool = False

    def __post_init__(self) -> None:
        shares = {"min_coverage": self.min_coverage, "max_similarity": self.max_similarity}
        if wrong := next((name for name, share in shares.items() if not 0 <= share <= 1), None):
            raise BadInput(f"filter.{wrong} must be in [0, 1], got {shares[wrong]}")
        if not self.min_ratio >= 0 or self.max_chars < 1:
            raise BadInput("filter.min_ratio must be 0 or more, filter.max_chars at least 1")


@dataclass(frozen=True)
class Filter:
    """Returns the packed trace, or its rejection by the first check that fails."""

    thresholds: Thresholds

    def __call__(self, packed: PackedTrace) -> PackedTrace | Rejection:
        checks = (
            self._check_executions,
            self._check_ratio,
            self._check_contents,
            self._check_siblings,
            self._check_later_results,
            self._check_length,
        )
        for check in checks:
            if failure := check(packed):
                return packed.reject("filter", *failure)
        return packed

    def _check_executions(self, packed: PackedTrace) -> tuple[str, str] | None:
        """Plan-only steps in one stage have a high ratio, and nothing runs in parallel."""
        if any(stage.executions for stage in packed.trajectory.stages):
            return None
        return "no executions", f"all steps only plan{_short(packed)}"

    def _check_ratio(self, packed: PackedTrace) -> tuple[str, str] | None:
        if packed.ratio >= self.thresholds.min_ratio:
            return None
        return "ratio", f"{packed.ratio:.2f} steps per stage, below {self.thresholds.min_ratio}{_short(packed)}"

    def _check_contents(self, packed: PackedTrace) -> tuple[str, str] | None:
        """The steps in order must be the thought, and the trajectory must hold them."""
        trace = packed.trace
        phases = [text for step in trace.steps for phase in PHASES if (text := getattr(step, phase))]
        if trace.thought and not same_letters("".join(phases), trace.thought):
            return "rejoined text", "the steps in their order are not the thought"
        share = coverage(phases, "\n".join(texts_of(packed.trajectory)))
        if share >= self.thresholds.min_coverage:
            return None
        return "coverage", f"{share:.1%} of the thought, below {self.thresholds.min_coverage:.1%}"

    def _check_siblings(self, packed: PackedTrace) -> tuple[str, str] | None:
        for number, stage in enumerate(packed.trajectory.stages, 1):
            words = [set(execution.text.split()) for execution in stage.executions]
            for (j, first), (k, second) in combinations(enumerate(words, 1), 2):
                if similarity(first, second) > self.thresholds.max_similarity:
                    return "duplicate siblings", f"executions {number}.{j} and {number}.{k} say the same"
        return None

    def _check_later_results(self, packed: PackedTrace) -> tuple[str, str] | None:
        if not (self.thresholds.reject_later_results and packed.later_results):
            return None
        user, source, value = packed.later_results[0]
        return "later result", f"step {user} uses {value} of step {source}, on which it does not depend"

    def _check_length(self, packed: PackedTrace) -> tuple[str, str] | None:
        chars = sum(map(len, texts_of(packed.trajectory)))
        if chars <= self.thresholds.max_chars:
            return None
        return "too long", f"{chars} characters, above {self.thresholds.max_chars}"


def _short(packed: PackedTrace) -> str:
    count = packed.short_executions
    return f"; {count} executions are shorter than min_lines and joined their plan" if count else ""


def texts_of(trajectory: Trajectory) -> Iterator[str]:
    """Yield all texts of the trajectory, in order."""
    for stage in trajectory.stages:
        for prompt in stage.prompts:
            yield from (prompt.lead, prompt.text)
        yield stage.tail
        yield from (execution.text for execution in stage.executions)
    yield trajectory.final_answer


def coverage(pieces: Sequence[str], whole: str) -> float:
    """Return the share of the pieces, by characters, that the whole contains word for word."""
    total = sum(map(len, pieces))
    return sum(len(piece) for piece in pieces if piece in whole) / total if total else 1.0


def same_letters(one: str, other: str) -> bool:
    """Return whether the texts are equal apart from white space."""
    return "".join(one.split()) == "".join(other.split())


def similarity(one: set[str], other: set[str]) -> float:
    """Return the Jaccard similarity: common words / all words."""
    either = len(one | other)
    return len(one & other) / either if either else 1.0
