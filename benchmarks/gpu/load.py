"""The load: recorded trajectories, or shapes drawn with the paper's proportions where none are at hand."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.steady import emptied
from programs import sequential_program, sprint_program
from programs.benchmark.replay import Replay, Shape, StageShape, filler
from programs.benchmark.replay_backend import ReplayBackend
from programs.program import Program
from sprint_sgl.endpoint import Endpoint
from sprint_sgl.profile import Profile, profile
from sprint_sgl.source import DataSource
from sprint_sgl.trajectory import Trajectory

METHODS: Mapping[str, Program] = {
    "sequential": sequential_program,
    "barrier": sprint_program.bind(launch="barrier"),
    "eager": sprint_program,
}


def drawn_shapes(count: int, scale: float = 1.0, seed: int = 0) -> list[Shape]:
    """Shapes of two to five stages of one to four executions, about 3,000 tokens, as R1's traces of MATH have."""
    rng = random.Random(seed)

    def tokens(least: int, most: int) -> int:
        return max(1, round(rng.randint(least, most) * scale))

    def stage() -> StageShape:
        width = rng.randint(1, 4)
        prompts = tuple(tokens(15, 40) for _ in range(width))
        return StageShape(prompts, tokens(5, 40), tuple(tokens(80, 500) for _ in range(width)))

    return [
        Shape(tokens(60, 200), tuple(stage() for _ in range(rng.randint(2, 5))), tokens(100, 200)) for _ in range(count)
    ]


def recorded_shapes(path: Path, count: int, scale: float) -> list[Shape]:
    """Of recorded trajectories those below 6,000 tokens, spread evenly over their lengths."""
    task = Replay(DataSource(path=str(path)), column="response", scale=scale, characters_a_token=4.0)
    shapes = sorted((question.shape for question in task.questions()), key=lambda shape: shape.total)
    shapes = [shape for shape in shapes if shape.total < 6000 * scale]
    return shapes[:: max(1, len(shapes) // count)][:count]


@dataclass(frozen=True)
class Pass:
    """Every shape once: seconds of the whole, tokens on the paths that were waited for, tokens in all, and where the
    seconds of each run went, by the runtime's stamps."""

    seconds: float
    sequential_tokens: int
    total_tokens: int
    profiles: tuple[Profile, ...]


def ask(endpoint: Endpoint, program: Program, shape: Shape, number: int) -> Trajectory:
    """Run one shape through a program; replies have its lengths, whatever they say."""
    limits = {} if program is sequential_program else {"max_stages": len(shape.stages) + 2}
    text, backend = filler(shape.question, seed=number), ReplayBackend(endpoint, shape)
    return program.run(text, temperature=0.6, backend=backend, **limits).trajectory


def one_pass(endpoint: Endpoint, program: Program, shapes: Sequence[Shape], at_a_time: int) -> Pass:
    emptied(endpoint)
    begun = time.perf_counter()
    with ThreadPoolExecutor(at_a_time) as pool:
        runs = list(pool.map(lambda each: ask(endpoint, program, each[1], each[0]), enumerate(shapes)))
    seconds = time.perf_counter() - begun
    profiles = tuple(found for run in runs if (found := profile(run)))
    return Pass(seconds, sum(run.sequential_tokens for run in runs), sum(run.total_tokens for run in runs), profiles)
