"""What many questions on many workers will take, on paper: hours, money, and what breaks first.

    sprint-sgl fleet path=trajectories.jsonl workers=64 questions=1000000
    sprint-sgl fleet path=work/gateway/records.jsonl worker=cpu_mini workers=2 concurrency=3 questions=24

Questions are drawn from recorded trajectories, by their lengths alone; workers are what conf/worker says of them. A
sample is simulated event by event (simulator.py), and the rest goes on at the rate of its middle. The
second command is how the simulation is checked: benchmarks/bench_gateway.py measures the same thing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from omegaconf import MISSING
from rich.table import Table

from sprint_sgl.bench.replay import Replay, ReplayQuestion, TrajectoryShape
from sprint_sgl.capacity.simulator import FleetSimulator, SimulationOutcome, WorkerSpec, draw_shapes
from sprint_sgl.config import entry_point
from sprint_sgl.console import screen
from sprint_sgl.errors import BadInput
from sprint_sgl.tasks.datasets import DataSource

HOUR = 3600.0
POLICIES = ("cache_aware", "round_robin")
MUST_BE_POSITIVE = ("step", "kv_tokens", "max_running")  # of a worker, without which it answers nothing


@dataclass
class FleetLimits:
    """What the parts around the workers do, each measured or stated as a guess in conf/fleet.yaml.

    gateway        requests a second of one gateway, and gateway_mbytes of bodies a second
    client         requests a second of one Python process; processes, how many there are
    threads        of one process that are bearable
    grading        seconds of one core a question; cores, how many grade
    record         bytes that a question leaves; disk, GB that there are
    """

    gateway: float
    gateway_mbytes: float
    client: float
    processes: int
    threads: int
    grading: float
    cores: int
    record: float
    disk: float


@dataclass
class FleetConfig:
    """concurrency is questions at a time for each worker; rounds, how many of them a worker answers in the sample."""

    path: str = MISSING
    column: str = "response"
    scale: float = 1.0
    characters_a_token: float = 4.0
    worker: WorkerSpec = field(default_factory=lambda: WorkerSpec(0, 0, 0, 0, 0, 0, 0, 0))
    workers: int = 64
    questions: int = 1_000_000
    concurrency: int = 64
    policy: str = "cache_aware"
    rounds: int = 3
    price: float = 2.0
    seed: int = 7
    limits: FleetLimits = field(default_factory=lambda: FleetLimits(0, 0, 0, 0, 0, 0, 0, 0, 0))


@dataclass(frozen=True)
class ResourceNeed:
    """A part, what is asked of it and what it gives."""

    name: str
    need: float
    limit: float
    unit: str

    @property
    def share(self) -> float:
        return self.need / self.limit


@dataclass(frozen=True)
class FleetEstimate:
    """What the simulation says, for all questions; times in seconds."""

    seconds: float
    questions_a_second: float
    gpu_hours: float
    dollars: float
    utilisation: float
    tokens_a_second: float  # of each worker
    mean_batch: float
    cached_share: float
    uncached: float  # tokens a question
    requests: float  # a question
    latency: tuple[float, float, float]  # median, 95th and 99th percentile
    tail: float  # after the last question began
    needs: tuple[ResourceNeed, ...]


def check_config(config: FleetConfig) -> None:
    """Raises BadInput for what cannot be simulated."""
    for name in ("workers", "questions", "concurrency", "rounds"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.policy not in POLICIES:
        raise BadInput(f"unknown policy {config.policy!r}; known: {', '.join(POLICIES)}")
    if not 0 <= config.price < math.inf:
        raise BadInput(f"price must be 0 dollars an hour at least, got {config.price}")
    for node, values in (("worker", config.worker), ("limits", config.limits)):
        for key, value in asdict(values).items():
            may_be_none = node == "worker" and key not in MUST_BE_POSITIVE
            if isinstance(value, int | float) and not (0 < value < math.inf or (value == 0 and may_be_none)):
                raise BadInput(f"{node}.{key} must be {'at least' if may_be_none else 'above'} 0, got {value}")


def read_shapes(config: FleetConfig) -> list[TrajectoryShape]:
    """Raises BadInput where the file holds no trajectory with a stage."""
    task = Replay(DataSource(config.path), config.column, config.scale, config.characters_a_token)
    return [question.shape for question in task.questions() if isinstance(question, ReplayQuestion)]


def estimate_fleet(config: FleetConfig, shapes: Sequence[TrajectoryShape]) -> FleetEstimate:
    at_once = min(config.workers * config.concurrency, config.questions)
    sample = min(config.questions, at_once * config.rounds)
    fleet = FleetSimulator(config.worker, config.workers, at_once, sticky=config.policy == "cache_aware")
    return extrapolate(config, fleet.run(draw_shapes(shapes, sample, config.seed)), at_once)


def extrapolate(config: FleetConfig, outcome: SimulationOutcome, at_once: int) -> FleetEstimate:
    """The sample's outcome for all questions."""
    sample, ends = len(outcome.ends), outcome.ends
    rate = steady_rate(ends, at_once)
    seconds = ends[-1] + (config.questions - sample) / rate
    rate = config.questions / seconds
    gpu_hours = config.workers * seconds / HOUR
    requests = outcome.requests / sample
    latencies = outcome.latencies if sample > 1 else outcome.latencies * 2
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    last_began = max(end - latency for end, latency in zip(ends, outcome.latencies, strict=True))
    megabytes = outcome.sent_tokens / sample * config.characters_a_token * rate / 1e6
    limits = config.limits
    needs = (
        ResourceNeed("KV memory of the fullest worker", outcome.peak_tokens, config.worker.kv_tokens, "tokens"),
        ResourceNeed("requests of the fullest worker", outcome.peak_worker, config.worker.max_running, ""),
        ResourceNeed("gateway, requests", requests * rate, limits.gateway, "/s"),
        ResourceNeed("gateway, bodies", megabytes, limits.gateway_mbytes, "MB/s"),
        ResourceNeed("client processes, requests", requests * rate, limits.client * limits.processes, "/s"),
        ResourceNeed("client threads a process", outcome.peak_requests / limits.processes, limits.threads, ""),
        ResourceNeed("grading", rate * limits.grading, limits.cores, "cores"),
        ResourceNeed("records on disk", config.questions * limits.record / 1e9, limits.disk, "GB"),
    )
    return FleetEstimate(
        seconds=seconds,
        questions_a_second=rate,
        gpu_hours=gpu_hours,
        dollars=gpu_hours * config.price,
        utilisation=outcome.busy / (config.workers * ends[-1]),
        tokens_a_second=outcome.decoded / sample * rate / config.workers,
        mean_batch=outcome.batch,
        cached_share=1 - outcome.uncached / outcome.sent_tokens,
        uncached=outcome.uncached / sample,
        requests=requests,
        latency=(cuts[49], cuts[94], cuts[98]),
        tail=ends[-1] - last_began,
        needs=tuple(sorted(needs, key=lambda need: need.share, reverse=True)),
    )


def steady_rate(ends: Sequence[float], at_once: int) -> float:
    """Questions a second while all workers were busy: without the first and the last of those at a time."""
    first, last = at_once - 1, len(ends) - 1 - at_once
    if last <= first or ends[last] == ends[first]:
        return len(ends) / ends[-1]
    return (last - first) / (ends[last] - ends[first])


def estimate_table(config: FleetConfig, plan: FleetEstimate) -> Table:
    shown = Table(title=f"{config.questions:,} questions on {config.workers} workers, {config.policy}")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    hours = plan.seconds / HOUR
    rows = [
        ("wall clock", f"{hours:,.1f} h" if hours >= 1 else f"{plan.seconds:,.1f} s"),
        ("GPU hours", f"{plan.gpu_hours:,.0f}" if plan.gpu_hours >= 10 else f"{plan.gpu_hours:.3f}"),
        (f"cost at ${config.price:g} a GPU hour", f"${_format_amount(plan.dollars)}"),
        ("cost of 1,000 questions", f"${plan.dollars / config.questions * 1000:,.2f}"),
        ("questions a second", f"{plan.questions_a_second:,.2f}"),
        ("tokens a second and worker", f"{plan.tokens_a_second:,.0f}"),
        ("workers busy", f"{plan.utilisation:.0%}"),
        ("requests that run at a time and worker", f"{plan.mean_batch:,.1f}"),
        ("prompt tokens from the cache", f"{plan.cached_share:.1%}"),
        ("uncached prefill a question, tokens", f"{plan.uncached:,.0f}"),
        ("requests a question", f"{plan.requests:,.1f}"),
        ("seconds a question: median, 95 %, 99 %", " / ".join(f"{each:,.1f}" for each in plan.latency)),
        ("after the last question began", f"{plan.tail:,.1f} s, {plan.tail / plan.seconds:.1%} of all"),
    ]
    for row in rows:
        shown.add_row(*row)
    return shown


def needs_table(plan: FleetEstimate) -> Table:
    shown = Table(title="What breaks first", caption="above 100 % it does not hold")
    for heading in ("part", "needed", "there is", "share"):
        shown.add_column(heading, justify="left" if heading == "part" else "right")
    for need in plan.needs:
        style = "red" if need.share > 1 else "yellow" if need.share > 0.7 else ""
        said = [f"{_format_amount(value)} {need.unit}".strip() for value in (need.need, need.limit)]
        shown.add_row(need.name, *said, f"{need.share:.0%}", style=style)
    return shown


def _format_amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@entry_point("fleet", FleetConfig)
def main(config: FleetConfig) -> None:
    check_config(config)
    plan = estimate_fleet(config, read_shapes(config))
    screen().print(estimate_table(config, plan), needs_table(plan))
    if config.worker.source:
        screen().print(f"worker: {config.worker.source}", style="dim")


if __name__ == "__main__":
    main()
