"""Many workers and many questions, simulated: when every request of every question would begin and end.

Discrete events. A worker decodes one token of each of its running requests a step; a step takes longer with more
requests and more context, and a prefill stops it. A question is what its `Shape` says, under eager launch: the planner
goes on while executors write, and the next stage begins when all of them have ended.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from sprint_sgl.bench.replay import StageShape, TrajectoryShape

TAGS = 12  # tokens of the tags before a call's own text, which no cache holds
OnEnd = Callable[[float], None]


@dataclass
class WorkerSpec:
    """What one worker does, in seconds and tokens.

    step, step_per_request, step_per_token   a decode step: alone, for each request, for each token of context
    prefill      seconds a token that no cache holds
    admission    seconds that a new request stops the others for, beside its prefill
    request      seconds from a program's call to the worker and back that stop nobody
    kv_tokens    what its memory holds; max_running, requests at a time
    """

    step: float
    step_per_request: float
    step_per_token: float
    prefill: float
    admission: float
    request: float
    kv_tokens: int
    max_running: int
    source: str = ""


@dataclass(order=True)
class SimulatedRequest:
    """A request on a worker; `end` is on the worker's clock of tokens."""

    end: float
    number: int
    context: int = field(compare=False)
    tokens: int = field(compare=False)
    done: OnEnd = field(compare=False)


@dataclass
class SimulatedWorker:
    """A runtime. `clock` counts the tokens that a request which never ends would have written."""

    figures: WorkerSpec
    clock: float = 0.0
    at: float = 0.0
    stalled: float = 0.0  # seconds of prefill that are still to be done
    context: int = 0
    running: list[SimulatedRequest] = field(default_factory=list)
    waiting: list[SimulatedRequest] = field(default_factory=list)
    busy: float = 0.0
    decoded: float = 0.0
    running_seconds: float = 0.0
    prefilled: int = 0
    version: int = 0

    @property
    def step(self) -> float:
        f = self.figures
        return f.step + f.step_per_request * len(self.running) + f.step_per_token * self.context

    @property
    def load(self) -> int:
        return len(self.running) + len(self.waiting)

    def advance(self, now: float) -> None:
        """Does what happens until then, between two changes of what is running."""
        elapsed = now - self.at
        prefilling = min(elapsed, self.stalled)
        if self.running:
            self.busy += elapsed
            self.running_seconds += elapsed * len(self.running)
            steps = (elapsed - prefilling) / self.step
            self.clock += steps
            self.decoded += steps * len(self.running)
        self.stalled -= prefilling
        self.at = now

    def next_end(self) -> float:
        return self.at + self.stalled + max(0.0, self.running[0].end - self.clock) * self.step

    def take(self, request: SimulatedRequest, uncached: int) -> None:
        self.stalled += self.figures.admission + uncached * self.figures.prefill
        self.prefilled += uncached
        if len(self.running) < self.figures.max_running:
            self._run(request)
        else:
            self.waiting.append(request)

    def _run(self, request: SimulatedRequest) -> None:
        request.end = self.clock + request.tokens
        self.context += request.context + request.tokens // 2  # half of its own on average
        heapq.heappush(self.running, request)

    def finish_one(self) -> SimulatedRequest:
        request = heapq.heappop(self.running)
        self.context -= request.context + request.tokens // 2
        if self.waiting:
            self._run(self.waiting.pop(0))
        return request


@dataclass
class ActiveQuestion:
    """A question under way: how much of it is written, and which worker has seen how much of it."""

    shape: TrajectoryShape
    begun: float
    home: int
    context: int = 0
    stage: int = 0
    prompt: int = 0
    pending: int = 0
    planned: bool = False
    held: dict[int, int] = field(default_factory=dict)  # by worker, tokens in its memory: contexts and what is written
    seen: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SimulationOutcome:
    """Seconds of each question in the order in which they ended, and when; totals over all workers."""

    ends: list[float]
    latencies: list[float]
    requests: int
    sent_tokens: int  # of all prompts, as they went through the gateway
    uncached: int
    decoded: float
    busy: float
    batch: float  # requests that run on a busy worker, on average
    peak_tokens: int  # in the fullest worker's memory
    peak_requests: int  # under way at a time, at all workers
    peak_worker: int  # and at the fullest


class FleetSimulator:
    """`concurrency` questions at a time on all workers together; with `sticky` all of one go to one worker."""

    def __init__(self, figures: WorkerSpec, workers: int, concurrency: int, sticky: bool = True) -> None:
        self.workers = [SimulatedWorker(figures) for _ in range(workers)]
        self.figures, self.concurrency, self.sticky = figures, concurrency, sticky
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers, self._turn = count(), count()
        self._held = [0] * workers
        self._open = [0] * workers
        self._asked_of = [0] * workers
        self.ends: list[float] = []
        self.latencies: list[float] = []
        self.requests = self.sent = self.peak_tokens = self.peak_requests = self.peak_worker = self._under_way = 0

    def run(self, shapes: Iterator[TrajectoryShape]) -> SimulationOutcome:
        self._shapes = shapes
        for _ in range(self.concurrency):
            self._ask(0.0)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        busy = sum(worker.busy for worker in self.workers)
        return SimulationOutcome(
            self.ends,
            self.latencies,
            self.requests,
            self.sent,
            sum(worker.prefilled for worker in self.workers),
            sum(worker.decoded for worker in self.workers),
            busy,
            sum(worker.running_seconds for worker in self.workers) / busy,
            self.peak_tokens,
            self.peak_requests,
            self.peak_worker,
        )

    def _at(self, time: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def _ask(self, now: float) -> None:
        shape = next(self._shapes, None)
        if shape is None:
            return
        home = min(range(len(self.workers)), key=lambda n: (self._open[n], self.workers[n].load))
        self._open[home] += 1
        asked = ActiveQuestion(shape, now, home)
        asked.context = shape.question
        self._hold(asked, home, shape.question if self.sticky else 0)
        self._plan(asked, now)

    def _plan(self, asked: ActiveQuestion, now: float) -> None:
        """The planner's next call: up to a prompt's end, to the plan's end, or the answer."""
        stages = asked.shape.stages
        if asked.stage == len(stages):
            self._call(asked, asked.shape.answer, now, lambda t: self._answered(asked, t), planner=True)
            return
        stage = stages[asked.stage]
        if asked.prompt < len(stage.prompts):
            self._call(asked, stage.prompts[asked.prompt], now, lambda t: self._prompted(asked, t), planner=True)
        else:
            self._call(asked, stage.tail, now, lambda t: self._planned(asked, t), planner=True)

    def _prompted(self, asked: ActiveQuestion, now: float) -> None:
        tokens = asked.shape.stages[asked.stage].executions[asked.prompt]
        asked.pending += 1
        asked.prompt += 1
        self._call(asked, tokens, now, lambda t: self._executed(asked, t), planner=False)
        self._plan(asked, now)

    def _executed(self, asked: ActiveQuestion, now: float) -> None:
        asked.pending -= 1
        self._join(asked, now)

    def _planned(self, asked: ActiveQuestion, now: float) -> None:
        asked.planned = True
        self._join(asked, now)

    def _join(self, asked: ActiveQuestion, now: float) -> None:
        if not asked.planned or asked.pending:
            return
        stage = asked.shape.stages[asked.stage]
        asked.context += joined_tokens(stage)
        if stage.executions:
            for worker in asked.seen:
                asked.seen[worker] += stage.executions[0] if self.sticky else 0  # the first lies where it was written
        asked.stage, asked.prompt, asked.planned = asked.stage + 1, 0, False
        self._plan(asked, now)

    def _answered(self, asked: ActiveQuestion, now: float) -> None:
        self._open[asked.home] -= 1
        for worker, tokens in asked.held.items():
            self._held[worker] -= tokens
        self.ends.append(now)
        self.latencies.append(now - asked.begun)
        self._ask(now)

    def _hold(self, asked: ActiveQuestion, worker: int, tokens: int) -> None:
        asked.held[worker] = asked.held.get(worker, 0) + tokens
        self._held[worker] += tokens
        self.peak_tokens = max(self.peak_tokens, self._held[worker])

    def _begin(self, worker: int) -> None:
        self._under_way += 1
        self._asked_of[worker] += 1
        self.peak_requests = max(self.peak_requests, self._under_way)
        self.peak_worker = max(self.peak_worker, self._asked_of[worker])

    def _call(self, asked: ActiveQuestion, tokens: int, now: float, done: OnEnd, planner: bool) -> None:
        number = asked.home if self.sticky else next(self._turn) % len(self.workers)
        prompt = asked.context + TAGS
        uncached = max(prompt - asked.seen.get(number, 0), TAGS)
        self.requests += 1
        self.sent += prompt
        self._begin(number)
        self._hold(asked, number, tokens if self.sticky else uncached + tokens)

        def ended(time: float) -> None:
            self._under_way -= 1
            self._asked_of[number] -= 1
            if planner:
                asked.context = prompt + tokens
                asked.seen[number] = asked.context
            done(time)

        asked.seen[number] = max(asked.seen.get(number, 0), asked.context)
        request = SimulatedRequest(0.0, next(self._numbers), prompt, tokens, ended)
        self._at(now + self.figures.request, lambda t: self._arrive(number, request, uncached, t))

    def _arrive(self, number: int, request: SimulatedRequest, uncached: int, now: float) -> None:
        worker = self.workers[number]
        worker.advance(now)
        worker.take(request, uncached)
        self._expect(number)

    def _expect(self, number: int) -> None:
        """Notes when the worker's next request ends; what was noted before no longer counts."""
        worker = self.workers[number]
        worker.version += 1
        if worker.running:
            version = worker.version
            self._at(worker.next_end(), lambda t: self._end(number, version, t))

    def _end(self, number: int, version: int, now: float) -> None:
        worker = self.workers[number]
        if version != worker.version:
            return
        worker.advance(now)
        request = worker.finish_one()
        self._expect(number)
        request.done(now)


def joined_tokens(stage: StageShape) -> int:
    """Tokens that a stage's executions add to the context, with their tags."""
    return sum(stage.executions) + TAGS * len(stage.executions)


def draw_shapes(shapes: Sequence[TrajectoryShape], questions: int, seed: int) -> Iterator[TrajectoryShape]:
    """Every shape once if there are as many, else drawn anew for each question."""
    if questions <= len(shapes):
        return iter(shapes[:questions])
    rng = random.Random(seed)
    return (rng.choice(shapes) for _ in range(questions))
