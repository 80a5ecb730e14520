"""Recorded trajectories as a load: their shape and nothing else, on any model and runtime, through the real programs.

    sprint-sgl bench task=replay task.source.path=trajectories.jsonl program=sprint against=[sprint_barrier,sequential]

Each call generates as many tokens as it had in the recording, whatever they are; the sequential program generates the
same total in one go. So the wall clock that a trained 7B model would save can be measured without its weights.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.straggler import StragglerPolicy, shorten
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.datasets import DataSource, chosen_rows
from sprint_sgl.trajectory import Call, Trajectory, reason

if TYPE_CHECKING:
    from sprint_sgl.bench.replay_backend import ReplayBackend
    from sprint_sgl.runtime.endpoint import Endpoint

FILLER = (
    "one",
    "two",
    "six",
    "ten",
    "red",
    "sun",
    "oak",
    "day",
    "sea",
    "map",
    "ink",
    "fox",
    "box",
    "cup",
    "hat",
    "key",
)


@dataclass(frozen=True)
class StageShape:
    """Tokens of each prompt with what leads to it, of the rest of the plan, and of each execution."""

    prompts: tuple[int, ...]
    tail: int
    executions: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What remains of a trajectory: lengths in tokens."""

    question: int
    stages: tuple[StageShape, ...]
    answer: int

    @staticmethod
    def of(trajectory: Trajectory, characters_a_token: float = 4.0, scale: float = 1.0) -> Shape:
        """By the runtime's counts where the trajectory has them, else by its texts."""

        def tokens(text: str) -> int:
            return _length(len(text) / characters_a_token * scale)

        def called(call: Call | None, text: str) -> int:
            return _length(call.completion_tokens * scale) if call and call.completion_tokens else tokens(text)

        stages = []
        for stage in trajectory.stages:
            ends = [0, *(prompt.offset for prompt in stage.prompts)]
            counted = stage.plan_tokens > 0
            prompts = tuple(
                _length((ends[k + 1] - ends[k]) * scale) if counted else tokens(f"{prompt.lead} {prompt.text}")
                for k, prompt in enumerate(stage.prompts)
            )
            tail = _length((stage.plan_tokens - ends[-1]) * scale) if counted else tokens(stage.tail)
            executions = tuple(called(execution.call, execution.text) for execution in stage.executions)
            stages.append(StageShape(prompts, tail, executions))
        answered = trajectory.answer_calls[0] if trajectory.answer_calls else None
        return Shape(tokens(trajectory.question), tuple(stages), called(answered, trajectory.final_answer))

    def cut(self, policy: StragglerPolicy) -> Shape:
        """What would be left of it under the policy if every token took the same time."""
        return replace(self, stages=tuple(_cut(stage, policy) for stage in self.stages))

    @property
    def digest(self) -> str:
        """Equal for equal shapes."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    @property
    def total(self) -> int:
        """Tokens that are generated."""
        return self.answer + sum(sum(s.prompts) + s.tail + sum(s.executions) for s in self.stages)

    @property
    def sequential(self) -> int:
        """Tokens on the critical path of eager launch (section 4.1)."""
        return self.answer + sum(map(_critical, self.stages))


def _length(tokens: float) -> int:
    return max(1, round(tokens))


def _critical(stage: StageShape) -> int:
    branches = (offset + each for offset, each in zip(accumulate(stage.prompts), stage.executions, strict=True))
    return max(sum(stage.prompts) + stage.tail, *branches, 0)


def _cut(stage: StageShape, policy: StragglerPolicy) -> StageShape:
    began, planned = list(accumulate(stage.prompts)), sum(stage.prompts) + stage.tail
    left = shorten(policy, began, stage.executions, joins=planned)
    return replace(stage, executions=tuple(math.ceil(tokens) for tokens in left))


def _uncut(done: Shape, trajectory: Trajectory, recorded: Shape) -> Shape:
    """What was done, with the recorded lengths for executions that were cut off before they had them."""
    if [len(stage.executions) for stage in done.stages] != [len(stage.executions) for stage in recorded.stages]:
        return done
    stages = []
    for found, wanted, stage in zip(done.stages, recorded.stages, trajectory.stages, strict=True):
        each = zip(found.executions, wanted.executions, stage.executions, strict=True)
        lengths = (max(tokens, full) if run.status == "cancelled" else tokens for tokens, full, run in each)
        stages.append(replace(found, executions=tuple(lengths)))
    return replace(done, stages=tuple(stages))


@dataclass(frozen=True)
class ReplayQuestion(Question):
    shape: Shape = Shape(0, (), 0)


@dataclass
class Replay:
    """A benchmark task of recorded trajectories. A run is right if it has the shape of its recording, or one in which
    only executions that a straggler policy cut off are shorter.

    source               rows with a `trajectory` (what `sprint-sgl bench` writes), or a text of one in `column`
    column               where released trajectories keep their text
    scale                of all lengths, for a model with a shorter context
    characters_a_token   for texts, whose tokens nobody counted
    """

    source: DataSource
    column: str
    scale: float
    characters_a_token: float

    def __post_init__(self) -> None:
        for name in ("scale", "characters_a_token"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise BadInput(f"{name} must be a number above 0, got {value}")

    def questions(self) -> Iterator[ReplayQuestion]:
        planned = False
        for number, row in enumerate(chosen_rows(self.source)):
            trajectory = self._trajectory(row, number)
            if not (trajectory.planned and trajectory.stages):
                continue
            shape = Shape.of(trajectory, self.characters_a_token, self.scale)
            text, group = filler(shape.question, seed=number), f"{min(len(shape.stages), 6)} stages"
            yield ReplayQuestion(str(number), text, shape.digest, group, shape)
            planned = True
        if not planned:
            raise BadInput(
                f"{self.source.path} holds no trajectory with a stage, in `trajectory` or in {self.column!r}"
            )

    def _trajectory(self, row: Mapping[str, Any], number: int) -> Trajectory:
        if isinstance(found := row.get("trajectory"), Mapping):
            try:
                return Trajectory.from_dict(found)
            except ValidationError as error:
                raise BadInput(f"{self.source.path}, row {number + 1}: no trajectory: {reason(error)}") from error
        if self.column not in row:
            raise BadInput(f"no column 'trajectory' or {self.column!r}; the rows have {', '.join(sorted(row))}")
        return protocol.parse(str(row[self.column]))

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(False, "a replay is graded by its run", read=False)

    def grade_run(self, question: Question, trajectory: Trajectory) -> Grade:
        """Whether the run did what the recording did, token for token."""
        assert isinstance(question, ReplayQuestion)
        if trajectory.launch == "sequential":
            done, wanted = trajectory.answer_tokens, question.shape.total
            return Grade(done == wanted, "" if done == wanted else f"{done} tokens, not {wanted}")
        if repaired := [kind for kind, _ in trajectory.repairs if kind != protocol.RepairKind.NO_PROMPT]:
            return Grade(False, f"repaired: {', '.join(repaired)}")  # such as forced_answer: raise program.max_stages
        found = replace(Shape.of(trajectory), question=question.shape.question)
        if _uncut(found, trajectory, question.shape) != question.shape:
            return Grade(False, "another shape than the recording")
        return Grade(True, f"{trajectory.cut_off} executions were cut off" if trajectory.cut_off else "")

    def backend(self, question: Question, endpoint: Endpoint) -> ReplayBackend:
        """The runtime, made to write what has this question's shape."""
        from sprint_sgl.bench.replay_backend import ReplayBackend

        assert isinstance(question, ReplayQuestion)
        return ReplayBackend(endpoint, question.shape)


def filler(words: int, seed: int) -> str:
    """Different questions share no beginning, which a prefix cache would find."""
    rng = random.Random(seed)
    return " ".join(rng.choice(FILLER) for _ in range(words))
