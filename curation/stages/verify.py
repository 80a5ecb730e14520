"""Stage 2: keep thoughts with the right final answer (paper, section 4), unless their question is in a benchmark.

Both checks are free, so they come before anything is paid for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from curation.records import RawTrace, Rejection
from curation.stages.decontaminate import NGrams
from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import compare


@dataclass(frozen=True)
class Verify:
    """Returns the trace with the extracted reference answer, or its rejection.

    time_limit   seconds for the comparison of an answer
    """

    time_limit: float = 5.0
    benchmarks: NGrams = field(default_factory=NGrams)

    def __call__(self, trace: RawTrace) -> RawTrace | Rejection:
        if shared := self.benchmarks.find_in(trace.question):
            return trace.reject("verify", "in a benchmark", f"shares {shared!r}")
        gold = extract_answer(trace.answer) or trace.answer
        given = extract_answer(trace.response) or extract_answer(trace.text)
        if given is None:
            return trace.reject("verify", "no answer", f"neither \\boxed{{}} nor an answer tag; expected {gold}")
        found = compare(given, gold, self.time_limit)
        if found.match is Match.UNDECIDED:
            return trace.reject("verify", "not compared", f"{given} with {gold}: {found.reason}")
        if found.match is not Match.SAME:
            return trace.reject("verify", "wrong answer", f"{given} instead of {gold}")
        return replace(trace, answer=gold)
