"""A task of recorded plans: questions with sub-questions, what each of them needs, and a tool that answers them.

    sprint-sgl bench task=tool_replay task.source.path=fanoutqa_dev.json program=sprint against=[sprint_one_by_one]

The planner plays the recorded plan: a stage asks every sub-question whose needs are answered. The runtime writes as
many tokens as the plan has, for the time they take, and the recorded text is put in their place. The tool `ask` answers
from the record after a latency of its own for each sub-question, the same for every method.

Rows are those of FanOutQA (`decomposition`, with `depends_on`), or of ParallelQA, which says only how many searches a
question takes (`branch`): so many side by side, and a calculation with their results.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.datasets import DataSource, select_rows
from sprint_sgl.tools import Tool, Toolbox, ToolContext, ToolError
from sprint_sgl.trajectory import Trajectory

if TYPE_CHECKING:
    from sprint_sgl.bench.tool_replay_backend import RecordedPlanner
    from sprint_sgl.runtime.endpoint import Endpoint


@dataclass(frozen=True)
class Lookup:
    """A sub-question: its answer, the numbers of those before it that it needs, and the seconds that it takes."""

    text: str
    answer: str
    needs: tuple[int, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class PlannedQuestion(Question):
    """A question with its sub-questions; each comes after those that it needs."""

    lookups: tuple[Lookup, ...] = ()

    @property
    def longest_path(self) -> float:
        """The seconds of the longest chain of sub-questions, each of which needs the one before it."""
        ends: list[float] = []
        for lookup in self.lookups:
            ends.append(lookup.seconds + max((ends[need] for need in lookup.needs), default=0.0))
        return max(ends, default=0.0)


@dataclass
class Latency:
    """Seconds of a call: lognormal, drawn once for each text.

    median   in seconds
    spread   standard deviation of the logarithm; 0 for equal calls
    seed     of the draws
    """

    median: float = 0.5
    spread: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.median < math.inf or not 0 <= self.spread < 10:
            raise BadInput(f"latency must have a median above 0 and a spread from 0 to 10, got {self}")

    def seconds(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}-{text}".encode()).digest()
        return self.median * math.exp(self.spread * random.Random(digest).gauss())


@dataclass
class ToolReplay:
    """The task. A run is right if it has asked every sub-question once, and none before what it needs."""

    source: DataSource
    latency: Latency = field(default_factory=Latency)

    @cached_property
    def _lookups(self) -> dict[str, dict[str, Lookup]]:
        """The sub-questions by question and text."""
        found: dict[str, dict[str, Lookup]] = {}
        for each in self.questions():
            found.setdefault(each.text, {}).update((lookup.text, lookup) for lookup in each.lookups)
        return found

    @cached_property
    def toolbox(self) -> Toolbox:
        schema = {"name": "ask", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}
        return Toolbox([Tool.from_schema(schema, self._ask, takes_context=True, parallel=10_000, time_limit=3600.0)])

    async def _ask(self, context: ToolContext, query: str) -> str:
        """Return the recorded answer after its latency."""
        lookup = self._lookups.get(context.question, {}).get(query)
        if lookup is None:
            raise ToolError(f"nothing is recorded for {query!r}")
        await asyncio.sleep(lookup.seconds)
        return lookup.answer

    def questions(self) -> Iterator[PlannedQuestion]:
        found = False
        for number, row in enumerate(select_rows(self.source)):
            text = str(row.get("question") or "").strip()
            try:
                lookups = self._plan(row)
            except (KeyError, TypeError, AttributeError) as error:
                raise BadInput(f"{self.source.path}, row {number + 1}: no plan can be read: {error!r}") from error
            if not text or not lookups:
                continue
            found = True
            depth = max(_levels(lookups))
            yield PlannedQuestion(
                str(row.get("id", number)), text, answer_text(row.get("answer", "")), f"{depth} stages", lookups
            )
        if not found:
            raise BadInput(f"{self.source.path} has no row with a question and a `decomposition` or a `branch`")

    def _plan(self, row: Mapping[str, Any]) -> tuple[Lookup, ...]:
        """Return the sub-questions of a row. Raises BadInput if one needs what is not there."""
        if parts := row.get("decomposition"):
            lookups = _fanout_lookups(parts, str(row.get("id")))
        elif isinstance(row.get("branch"), int) and row["branch"] > 0:
            searches = [
                Lookup(f"search {n} for: {row['question']}", f"result {n}") for n in range(1, row["branch"] + 1)
            ]
            last = Lookup(
                f"calculate for: {row['question']}", answer_text(row.get("answer")), tuple(range(len(searches)))
            )
            lookups = [*searches, last]
        else:
            lookups = []
        return tuple(replace(each, seconds=self.latency.seconds(each.text)) for each in lookups)

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(False, "a replay is graded by its run", read=False)

    def grade_run(self, question: Question, trajectory: Trajectory) -> Grade:
        assert isinstance(question, PlannedQuestion)
        left, done = dict(enumerate(question.lookups)), set[int]()
        for stage in trajectory.stages:
            ready = {number: each for number, each in left.items() if set(each.needs) <= done}
            for prompt in stage.prompts:  # a question may have the same sub-question twice
                found = next((number for number, each in ready.items() if ask_call(each) == prompt.text), None)
                if found is None:
                    return Grade(False, f"{prompt.text} was asked too early, too often, or is not recorded")
                done.add(found)
                del ready[found], left[found]
            if failed := [each.text for each in stage.executions if each.status != "ok"]:
                return Grade(False, failed[0])
        return Grade(not left, f"{len(left)} sub-questions were not asked" if left else "")

    def backend(self, question: Question, endpoint: Endpoint) -> RecordedPlanner:
        from sprint_sgl.bench.tool_replay_backend import RecordedPlanner

        assert isinstance(question, PlannedQuestion)
        return RecordedPlanner(endpoint, question)

    def arguments(self, question: Question) -> dict[str, Any]:
        """Return what the program of a run gets besides the question."""
        return {"tools": self.toolbox}


def ask_call(lookup: Lookup) -> str:
    """Return a sub-question as the prompt that calls the tool."""
    return f"ask({json.dumps(lookup.text, ensure_ascii=False)})"


def answer_text(value: object) -> str:
    """Return a recorded answer in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fanout_lookups(parts: Sequence[Mapping[str, Any]], question: str) -> list[Lookup]:
    """Return FanOutQA's sub-questions, nested ones before the one that they are parts of."""
    found: list[Lookup] = []
    numbers: dict[str, int] = {}

    def add(part: Mapping[str, Any]) -> int:
        nested = [add(each) for each in part.get("decomposition") or ()]
        if missing := [each for each in part["depends_on"] if each not in numbers]:
            raise BadInput(f"question {question}: {part['id']} depends on {missing[0]}, which does not come before it")
        needs = dict.fromkeys([*nested, *(numbers[each] for each in part["depends_on"])])
        found.append(Lookup(part["question"], answer_text(part.get("answer")), tuple(needs)))
        numbers[part["id"]] = len(found) - 1
        return len(found) - 1

    for part in parts:
        add(part)
    return found


def _searches(question: str, count: int, answer: str) -> list[Lookup]:
    """Return so many searches and the calculation that needs them all."""
    searches = [Lookup(f"search {n} for: {question}", f"result {n}") for n in range(1, count + 1)]
    return [*searches, Lookup(f"calculate for: {question}", answer, tuple(range(count)))]


def _levels(lookups: Sequence[Lookup]) -> list[int]:
    """Return the stage of each sub-question, from 1."""
    levels: list[int] = []
    for lookup in lookups:
        levels.append(1 + max((levels[need] for need in lookup.needs), default=0))
    return levels
