"""Counters of the server in Prometheus's format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sprint_sgl.serving.admission import Admission
from sprint_sgl.trajectory import Trajectory

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server."""

    def __init__(self, admission: Admission) -> None:
        self.registry = registry = CollectorRegistry()
        self._answers = Counter("sprint_answers", "by path and HTTP status", ["path", "status"], registry=registry)
        self._broken = Counter("sprint_broken_streams", "streams that ended with an error", registry=registry)
        self._tokens = Counter("sprint_tokens", "tokens of finished runs", ["model", "kind"], registry=registry)
        self._seconds = _histogram("sprint_seconds", "from a request to its whole answer", registry)
        self._first = _histogram(
            "sprint_first_token_seconds", "from a request to the first piece of a stream", registry
        )
        Gauge("sprint_running", "runs that have a place", registry=registry).set_function(lambda: admission.running)
        Gauge("sprint_waiting", "requests in the queue", registry=registry).set_function(lambda: admission.waiting)

    def count_answer(self, path: str, status: int) -> None:
        self._answers.labels(path, str(status)).inc()

    def count_broken_stream(self) -> None:
        self._broken.inc()

    def observe_first_piece(self, model: str, seconds: float) -> None:
        self._first.labels(model).observe(seconds)

    def observe_run(self, model: str, trajectory: Trajectory, seconds: float) -> None:
        """Count a run's tokens, and the seconds from the request to its answer, time in the queue included."""
        kinds = {
            "prompt": trajectory.prompt_tokens,
            "cached": trajectory.cached_tokens,
            "total": trajectory.total_tokens,
            "sequential": trajectory.sequential_tokens,
        }
        for kind, tokens in kinds.items():
            self._tokens.labels(model, kind).inc(tokens)
        self._seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def _histogram(name: str, description: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(name, description, ["model"], buckets=BUCKETS, registry=registry)
