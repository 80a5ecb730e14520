"""Hypothesis strategies for shapes of trajectories, and a model that never stops writing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sprint_sgl.bench.replay import StageShape, TrajectoryShape
from sprint_sgl.storage.package_files import MODELS
from tests.fakes.scripted import ScriptedBackend

MINI = str(MODELS / "countdown-mini-sprint")


lengths = st.integers(1, 9)


stage_shapes = st.lists(st.tuples(lengths, lengths), max_size=4).flatmap(
    lambda pairs: lengths.map(lambda tail: StageShape(tuple(p for p, _ in pairs), tail, tuple(e for _, e in pairs)))
)


shapes = st.builds(TrajectoryShape, st.just(3), st.lists(stage_shapes, max_size=4).map(tuple), lengths)


class Wordy(ScriptedBackend):
    """A model that writes words without end; a word is a token."""

    def __init__(self) -> None:
        super().__init__(lambda context: " word" * 10_000)
        self.model_info: dict[str, Any] = {"tokenizer_path": MINI}
