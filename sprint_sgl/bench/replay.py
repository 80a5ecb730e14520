"""A task that replays the shapes of recorded trajectories through the real programs, on any model and runtime.

    sprint-sgl bench task=replay task.source.path=trajectories.jsonl program=sprint against=[sprint_barrier,sequential]

Each call generates as many tokens as in the recording, whichever they are; the sequential program generates the same
total in one call. This measures the wall clock that a trained 7B model would save without its weights.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.straggler import StragglerPolicy, shorten
from sprint_sgl.tasks.base import Grade, Question
from sprint_sgl.tasks.datasets import DataSource, select_rows
from sprint_sgl.trajectory import Call, Trajectory, error_detail

if TYPE_CHECKING:
    from sprint_sgl.bench.replay_backend import ReplayBackend
    from sprint_sgl.runtime.endpoint import Endpoint

FILLER_WORDS = (
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
    """Tokens of each prompt with the text before it, of the rest of the plan (`tail`), and of each execution."""

    prompts: tuple[int, ...]
    tail: int
    executions: tuple[int, ...]


@dataclass(frozen=True)
class TrajectoryShape:
    """The lengths of a trajectory's parts, in tokens."""

    question: int
    stages: tuple[StageShape, ...]
    answer: int

    @staticmethod
    def of(trajectory: Trajectory, characters_a_token: float = 4.0, scale: float = 1.0) -> TrajectoryShape:
        """Return the shape by the runtime's token counts where the trajectory has them, else by its texts."""

        def text_tokens(text: str) -> int:
            return _at_least_one(len(text) / characters_a_token * scale)

        def call_tokens(call: Call | None, text: str) -> int:
            counted = call.completion_tokens if call else 0
            return _at_least_one(counted * scale) if counted else text_tokens(text)

        stages = []
        for stage in trajectory.stages:
            ends = [0, *(prompt.offset for prompt in stage.prompts)]
            if stage.plan_tokens > 0:
                prompts = tuple(_at_least_one((end - begin) * scale) for begin, end in pairwise(ends))
                tail = _at_least_one((stage.plan_tokens - ends[-1]) * scale)
            else:
                prompts = tuple(text_tokens(f"{prompt.lead} {prompt.text}") for prompt in stage.prompts)
                tail = text_tokens(stage.tail)
            executions = tuple(call_tokens(execution.call, execution.text) for execution in stage.executions)
            stages.append(StageShape(prompts, tail, executions))
        answer_call = trajectory.answer_calls[0] if trajectory.answer_calls else None
        answer = call_tokens(answer_call, trajectory.final_answer)
        return TrajectoryShape(text_tokens(trajectory.question), tuple(stages), answer)

    def cut(self, policy: StragglerPolicy) -> TrajectoryShape:
        """Return the shape that the policy would leave if every token took the same time."""
        return replace(self, stages=tuple(_cut_stage(stage, policy) for stage in self.stages))

    @property
    def digest(self) -> str:
        """Return a hash that is equal for equal shapes."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    @property
    def total(self) -> int:
        """Return the number of generated tokens."""
        return self.answer + sum(sum(s.prompts) + s.tail + sum(s.executions) for s in self.stages)

    @property
    def sequential(self) -> int:
        """Return the tokens on the critical path of eager launch (section 4.1)."""
        return self.answer + sum(map(_critical_tokens, self.stages))


def _at_least_one(tokens: float) -> int:
    return max(1, round(tokens))


def _critical_tokens(stage: StageShape) -> int:
    branches = (offset + each for offset, each in zip(accumulate(stage.prompts), stage.executions, strict=True))
    return max(sum(stage.prompts) + stage.tail, *branches, 0)


def _cut_stage(stage: StageShape, policy: StragglerPolicy) -> StageShape:
    began, planned = list(accumulate(stage.prompts)), sum(stage.prompts) + stage.tail
    left = shorten(policy, began, stage.executions, joins=planned)
    return replace(stage, executions=tuple(math.ceil(tokens) for tokens in left))


def _restore_cut_lengths(shape: TrajectoryShape, trajectory: Trajectory, recorded: TrajectoryShape) -> TrajectoryShape:
    """Return the run's shape with the recorded lengths for the executions that a straggler policy cut off."""
    if [len(stage.executions) for stage in shape.stages] != [len(stage.executions) for stage in recorded.stages]:
        return shape
    stages = []
    for replayed, wanted, stage in zip(shape.stages, recorded.stages, trajectory.stages, strict=True):
        each = zip(replayed.executions, wanted.executions, stage.executions, strict=True)
        lengths = (max(tokens, full) if run.status == "cancelled" else tokens for tokens, full, run in each)
        stages.append(replace(replayed, executions=tuple(lengths)))
    return replace(shape, stages=tuple(stages))


@dataclass(frozen=True)
class ReplayQuestion(Question):
    shape: TrajectoryShape = TrajectoryShape(0, (), 0)


@dataclass
class Replay:
    """A benchmark task of recorded trajectories. A run is right if it has the shape of its recording; executions that a
    straggler policy cut off may be shorter.

    source               rows with a `trajectory`, as `sprint-sgl bench` writes them, or with its text in `column`
    column               the column with the text of a released trajectory
    scale                factor of all lengths, for a model with a shorter context
    characters_a_token   for texts without token counts
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
        for number, row in enumerate(select_rows(self.source)):
            trajectory = self._trajectory(row, number)
            if not (trajectory.has_planner and trajectory.stages):
                continue
            shape = TrajectoryShape.of(trajectory, self.characters_a_token, self.scale)
            text, group = filler_text(shape.question, seed=number), f"{min(len(shape.stages), 6)} stages"
            yield ReplayQuestion(str(number), text, shape.digest, group, shape)
            planned = True
        if not planned:
            raise BadInput(
                f"{self.source.path} contains no trajectory with a stage, in `trajectory` or in {self.column!r}"
            )

    def _trajectory(self, row: Mapping[str, Any], number: int) -> Trajectory:
        if isinstance(found := row.get("trajectory"), Mapping):
            try:
                return Trajectory.from_dict(found)
            except ValidationError as error:
                place = f"{self.source.path}, row {number + 1}"
                raise BadInput(f"{place}: not a trajectory: {error_detail(error)}") from error
        if self.column not in row:
            raise BadInput(f"no column 'trajectory' or {self.column!r}; the rows have {', '.join(sorted(row))}")
        return protocol.parse(str(row[self.column]))

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(False, "a replay is graded by its run", read=False)

    def grade_run(self, question: Question, trajectory: Trajectory) -> Grade:
        """Return whether the run has the lengths of the recording, token for token."""
        assert isinstance(question, ReplayQuestion)
        if trajectory.launch == "sequential":
            tokens, wanted = trajectory.answer_tokens, question.shape.total
            return Grade(tokens == wanted, "" if tokens == wanted else f"{tokens} tokens, not {wanted}")
        if repairs := [kind for kind, _ in trajectory.repairs if kind != protocol.RepairKind.NO_PROMPT]:
            return Grade(False, f"repaired: {', '.join(repairs)}")  # such as forced_answer: raise program.max_stages
        shape = replace(TrajectoryShape.of(trajectory), question=question.shape.question)
        if _restore_cut_lengths(shape, trajectory, question.shape) != question.shape:
            return Grade(False, "another shape than the recording")
        cancelled = trajectory.cancelled_count
        return Grade(True, f"{cancelled} executions were cut off" if cancelled else "")

    def backend(self, question: Question, endpoint: Endpoint) -> ReplayBackend:
        """Return a backend that makes the runtime write text of this question's shape."""
        from sprint_sgl.bench.replay_backend import ReplayBackend

        assert isinstance(question, ReplayQuestion)
        return ReplayBackend(endpoint, question.shape)


def filler_text(words: int, seed: int) -> str:
    """Return random words: different seeds share no prefix, which a cache would find."""
    rng = random.Random(seed)
    return " ".join(rng.choice(FILLER_WORDS) for _ in range(words))
