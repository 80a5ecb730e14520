"""Stage 2: thoughts whose final answer is right go on (paper, section 4: filtered for correctness), unless their
question stands in a benchmark. Both cost nothing, so they come before anything is paid for."""

from __future__ import annotations

from dataclasses import dataclass, field

from curation.stages.base import Outcome, Record, Rejection
from curation.stages.decontaminate import Grams
from sprint_sgl.grading.extract import extract_answer
from sprint_sgl.grading.match import Match
from sprint_sgl.grading.worker import compare


@dataclass(frozen=True)
class Verify:
    """The record with the answer that its thought reaches, compared within `time_limit` seconds."""

    time_limit: float = 5.0
    benchmarks: Grams = field(default_factory=Grams)

    def __call__(self, record: Record) -> Outcome:
        if shared := self.benchmarks.found_in(record["question"]):
            return _rejected(record, "in a benchmark", f"shares {shared!r}")
        gold = extract_answer(record["answer"]) or record["answer"]
        given = extract_answer(record["response"]) or extract_answer(record["text"])
        if given is None:
            return _rejected(record, "no answer", f"neither \\boxed{{}} nor an answer tag; expected {gold}")
        found = compare(given, gold, self.time_limit)
        if found.match is Match.UNDECIDED:
            return _rejected(record, "not compared", f"{given} with {gold}: {found.reason}")
        if found.match is not Match.SAME:
            return _rejected(record, "wrong answer", f"{given} instead of {gold}")
        return record | {"answer": gold}


def _rejected(record: Record, reason: str, detail: str) -> Rejection:
    return Rejection(record["id"], record["index"], "verify", reason, detail)
