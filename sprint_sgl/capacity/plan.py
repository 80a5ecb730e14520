"""Estimates what many questions on many workers take: hours, money, and which part breaks first.

    sprint-sgl fleet path=trajectories.jsonl workers=64 questions=1000000
    sprint-sgl fleet path=work/gateway/records.jsonl worker=cpu_mini workers=2 concurrency=3 questions=24

Questions have the lengths of recorded trajectories; workers are described in conf/worker. A sample is simulated event
by event (simulator.py); the remaining questions are taken to be answered at the steady rate of the sample. The second
command checks the simulation: benchmarks/bench_gateway.py measures the same load.
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
MUST_BE_POSITIVE = ("step", "kv_tokens", "max_running")  # fields of a worker; its other fields may be 0


@dataclass
class FleetLimits:
    """The limits of the parts around the workers; conf/fleet.yaml says which are measured and which assumed.

    gateway          requests per second of one gateway
    gateway_mbytes   megabytes of request bodies per second of one gateway
    client           requests per second of one client process
    processes        number of client processes
    threads          highest number of threads in one client process
    grading          seconds of one core to grade a question
    cores            cores that grade
    record           bytes of a question's record
    disk             gigabytes of disk space
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
    """The settings of an estimate.

    path                 recorded trajectories: a file of rows
    column               the rows' column with the texts of trajectories
    scale                factor on the lengths of the recorded texts
    characters_a_token   by which texts without token counts are measured
    workers              number of SGLang servers
    questions            number of questions in all
    concurrency          concurrent questions for each worker
    policy               how the gateway chooses a worker: cache_aware or round_robin
    rounds               the sample has workers * concurrency * rounds questions
    price                dollars per GPU hour
    seed                 of the draw of recorded trajectories
    """

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
class ResourceLoad:
    """The load on one part of the system, and its limit."""

    name: str
    load: float
    limit: float
    unit: str

    @property
    def share(self) -> float:
        return self.load / self.limit


@dataclass(frozen=True)
class FleetEstimate:
    """The estimate for all questions; times in seconds."""

    seconds: float
    questions_a_second: float
    gpu_hours: float
    dollars: float
    utilisation: float
    tokens_a_second: float  # per worker
    mean_batch: float
    cached_share: float
    uncached: float  # tokens per question
    requests: float  # per question
    latency: tuple[float, float, float]  # median, 95th and 99th percentile
    tail: float  # from the start of the last question to the end
    loads: tuple[ResourceLoad, ...]


def check_config(config: FleetConfig) -> None:
    """Raise BadInput for settings that cannot be simulated."""
    for name in ("workers", "questions", "concurrency", "rounds"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.policy not in POLICIES:
        raise BadInput(f"unknown policy {config.policy!r}; known: {', '.join(POLICIES)}")
    if not 0 <= config.price < math.inf:
        raise BadInput(f"price must be in [0, inf) dollars an hour, got {config.price}")
    check_worker(config.worker)
    for key, value in asdict(config.limits).items():
        if not 0 < value < math.inf:
            raise BadInput(f"limits.{key} must be above 0, got {value}")


def check_worker(worker: WorkerSpec) -> None:
    """Raise BadInput for a worker that cannot be simulated."""
    for key, value in asdict(worker).items():
        may_be_zero = key not in MUST_BE_POSITIVE
        if isinstance(value, int | float) and not (0 < value < math.inf or (value == 0 and may_be_zero)):
            raise BadInput(f"worker.{key} must be {'at least' if may_be_zero else 'above'} 0, got {value}")


def read_shapes(path: str, column: str, scale: float, characters_a_token: float) -> list[TrajectoryShape]:
    """Return the shapes of recorded trajectories. Raises BadInput if no trajectory has a stage."""
    task = Replay(DataSource(path), column, scale, characters_a_token)
    return [question.shape for question in task.questions() if isinstance(question, ReplayQuestion)]


def estimate_fleet(config: FleetConfig, shapes: Sequence[TrajectoryShape]) -> FleetEstimate:
    at_once = min(config.workers * config.concurrency, config.questions)
    sample = min(config.questions, at_once * config.rounds)
    fleet = FleetSimulator(config.worker, config.workers, at_once, sticky=config.policy == "cache_aware")
    return extrapolate(config, fleet.run(draw_shapes(shapes, sample, config.seed)), at_once)


def extrapolate(config: FleetConfig, outcome: SimulationOutcome, at_once: int) -> FleetEstimate:
    """Return the estimate for all questions from the outcome of the sample."""
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
    loads = (
        ResourceLoad("KV memory of the fullest worker", outcome.peak_tokens, config.worker.kv_tokens, "tokens"),
        ResourceLoad("requests of the fullest worker", outcome.peak_worker, config.worker.max_running, ""),
        ResourceLoad("gateway, requests", requests * rate, limits.gateway, "/s"),
        ResourceLoad("gateway, bodies", megabytes, limits.gateway_mbytes, "MB/s"),
        ResourceLoad("client processes, requests", requests * rate, limits.client * limits.processes, "/s"),
        ResourceLoad("client threads per process", outcome.peak_requests / limits.processes, limits.threads, ""),
        ResourceLoad("grading", rate * limits.grading, limits.cores, "cores"),
        ResourceLoad("records on disk", config.questions * limits.record / 1e9, limits.disk, "GB"),
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
        loads=tuple(sorted(loads, key=lambda load: load.share, reverse=True)),
    )


def steady_rate(ends: Sequence[float], at_once: int) -> float:
    """Return the questions per second while all workers were busy: without the first and last `at_once` questions."""
    first, last = at_once - 1, len(ends) - 1 - at_once
    if last <= first or ends[last] == ends[first]:
        return len(ends) / ends[-1]
    return (last - first) / (ends[last] - ends[first])


def estimate_table(config: FleetConfig, estimate: FleetEstimate) -> Table:
    shown = Table(title=f"{config.questions:,} questions on {config.workers} workers, {config.policy}")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    hours = estimate.seconds / HOUR
    rows = [
        ("wall clock", f"{hours:,.1f} h" if hours >= 1 else f"{estimate.seconds:,.1f} s"),
        ("GPU hours", f"{estimate.gpu_hours:,.0f}" if estimate.gpu_hours >= 10 else f"{estimate.gpu_hours:.3f}"),
        (f"cost at ${config.price:g} per GPU hour", f"${_format_amount(estimate.dollars)}"),
        ("cost of 1,000 questions", f"${estimate.dollars / config.questions * 1000:,.2f}"),
        ("questions per second", f"{estimate.questions_a_second:,.2f}"),
        ("tokens per second and worker", f"{estimate.tokens_a_second:,.0f}"),
        ("time that a worker is busy", f"{estimate.utilisation:.0%}"),
        ("mean batch of a worker", f"{estimate.mean_batch:,.1f}"),
        ("prompt tokens from the cache", f"{estimate.cached_share:.1%}"),
        ("uncached prefill tokens per question", f"{estimate.uncached:,.0f}"),
        ("requests per question", f"{estimate.requests:,.1f}"),
        ("seconds per question: median, 95 %, 99 %", " / ".join(f"{each:,.1f}" for each in estimate.latency)),
        (
            "tail after the last question began",
            f"{estimate.tail:,.1f} s, {estimate.tail / estimate.seconds:.1%} of all",
        ),
    ]
    for row in rows:
        shown.add_row(*row)
    return shown


def loads_table(estimate: FleetEstimate) -> Table:
    shown = Table(title="What breaks first", caption="above 100 % the load exceeds the limit")
    for heading in ("part", "load", "limit", "share"):
        shown.add_column(heading, justify="left" if heading == "part" else "right")
    for load in estimate.loads:
        style = "red" if load.share > 1 else "yellow" if load.share > 0.7 else ""
        amounts = [f"{_format_amount(value)} {load.unit}".strip() for value in (load.load, load.limit)]
        shown.add_row(load.name, *amounts, f"{load.share:.0%}", style=style)
    return shown


def _format_amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@entry_point("fleet", FleetConfig)
def main(config: FleetConfig) -> None:
    check_config(config)
    shapes = read_shapes(config.path, config.column, config.scale, config.characters_a_token)
    estimate = estimate_fleet(config, shapes)
    screen().print(estimate_table(config, estimate), loads_table(estimate))
    if config.worker.source:
        screen().print(f"worker: {config.worker.source}", style="dim")


if __name__ == "__main__":
    main()
