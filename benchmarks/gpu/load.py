"""The load: recorded trajectories, or random shapes with the paper's proportions."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench_realised import load_shapes
from programs import sequential_program, sprint_program
from sprint_sgl.bench.replay import StageShape, TrajectoryShape
from sprint_sgl.lang.program import Program

METHODS: Mapping[str, Program] = {
    "sequential": sequential_program,
    "barrier": sprint_program.bind(launch="barrier"),
    "eager": sprint_program,
}


def random_shapes(count: int, scale: float = 1.0, seed: int = 0) -> list[TrajectoryShape]:
    """Return shapes of 2 to 5 stages of 1 to 4 executions, about 3,000 tokens, as R1's traces of MATH have."""
    rng = random.Random(seed)

    def tokens(least: int, most: int) -> int:
        return max(1, round(rng.randint(least, most) * scale))

    def stage() -> StageShape:
        width = rng.randint(1, 4)
        prompts = tuple(tokens(15, 40) for _ in range(width))
        return StageShape(prompts, tokens(5, 40), tuple(tokens(80, 500) for _ in range(width)))

    return [
        TrajectoryShape(tokens(60, 200), tuple(stage() for _ in range(rng.randint(2, 5))), tokens(100, 200))
        for _ in range(count)
    ]


def recorded_shapes(path: Path, count: int, scale: float) -> list[TrajectoryShape]:
    """Return shapes of recorded trajectories below 6,000 tokens, spread evenly over their lengths; some may repeat."""
    shapes = sorted(load_shapes(path, scale), key=lambda shape: shape.total)
    shapes = [shape for shape in shapes if shape.total < 6000 * scale]
    return [shapes[(2 * number + 1) * len(shapes) // (2 * count)] for number in range(count)]
