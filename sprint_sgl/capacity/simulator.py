"""A discrete-event simulation of many questions on many workers: when every request begins and ends.

In each step a worker decodes one token of every running request; a step takes longer with more requests and more
context, and a prefill pauses decoding. A question has the lengths of its shape, under eager launch: the planner goes
on while executors write, and the next stage begins when all of them have ended.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from sprint_sgl.bench.replay import StageShape, TrajectoryShape

TAGS = 12  # tokens of the tags before a call's own text, which are never cached
OnEnd = Callable[[float], None]


@dataclass
class WorkerSpec:
    """The speed and size of one worker.

    step               seconds of a decode step, whatever runs
    step_per_request   additional seconds of a step for each running request
    step_per_token     additional seconds of a step for each token of context
    prefill            seconds for each uncached prompt token
    admission          seconds that a new request pauses the others, besides its prefill
    request            seconds of a request outside the worker, which delay nobody else
    kv_tokens          tokens that the worker's memory holds
    max_running        requests that run at a time
    source             where the figures are from
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
    """A request on a worker; it ends when the worker's `clock` reaches `end`."""

    end: float
    number: int
    context: int = field(compare=False)
    tokens: int = field(compare=False)
    done: OnEnd = field(compare=False)


@dataclass
class SimulatedWorker:
    """A worker at the time `at`. `clock` is its number of decode steps, fractions included."""

    spec: WorkerSpec
    clock: float = 0.0
    at: float = 0.0
    stalled: float = 0.0  # seconds of prefill still to do
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
        f = self.spec
        return f.step + f.step_per_request * len(self.running) + f.step_per_token * self.context

    @property
    def load(self) -> int:
        return len(self.running) + len(self.waiting)

    def advance(self, now: float) -> None:
        """Advance to the time `now`; the set of running requests does not change in between."""
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
        self.stalled += self.spec.admission + uncached * self.spec.prefill
        self.prefilled += uncached
        if len(self.running) < self.spec.max_running:
            self._run(request)
        else:
            self.waiting.append(request)

    def _run(self, request: SimulatedRequest) -> None:
        request.end = self.clock + request.tokens
        self.context += request.context + request.tokens // 2  # half of its own tokens, on average over its run
        heapq.heappush(self.running, request)

    def finish_one(self) -> SimulatedRequest:
        request = heapq.heappop(self.running)
        self.context -= request.context + request.tokens // 2
        if self.waiting:
            self._run(self.waiting.pop(0))
        return request


@dataclass
class ActiveQuestion:
    """A question in progress: what is written, and which worker has how much of it in memory or cache."""

    shape: TrajectoryShape
    begun: float
    home: int
    context: int = 0
    stage: int = 0
    prompt: int = 0
    pending: int = 0
    planned: bool = False
    held: dict[int, int] = field(default_factory=dict)  # by worker: tokens in its memory
    seen: dict[int, int] = field(default_factory=dict)  # by worker: tokens of the context in its cache


@dataclass(frozen=True)
class SimulationOutcome:
    """The end and the latency of each question, in seconds and order of ending; totals over all workers."""

    ends: list[float]
    latencies: list[float]
    requests: int
    sent_tokens: int  # tokens of all prompts, as they pass the gateway
    uncached: int  # prompt tokens that were computed
    decoded: float  # tokens
    busy: float  # seconds
    batch: float  # mean number of requests on a busy worker
    peak_tokens: int  # most tokens in the memory of one worker
    peak_requests: int  # most concurrent requests on all workers
    peak_worker: int  # most concurrent requests on one worker


class FleetSimulator:
    """Runs `concurrency` questions at a time on all workers; `sticky` keeps a question's requests on one worker."""

    def __init__(self, spec: WorkerSpec, workers: int, concurrency: int, sticky: bool = True) -> None:
        self.workers = [SimulatedWorker(spec) for _ in range(workers)]
        self.spec, self.concurrency, self.sticky = spec, concurrency, sticky
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers, self._turn = count(), count()
        self._held = [0] * workers
        self._open_questions = [0] * workers
        self._running_at = [0] * workers
        self.ends: list[float] = []
        self.latencies: list[float] = []
        self._running_requests = 0
        self.requests = self.sent = self.peak_tokens = self.peak_requests = self.peak_worker = 0

    def run(self, shapes: Iterator[TrajectoryShape]) -> SimulationOutcome:
        self._shapes = shapes
        for _ in range(self.concurrency):
            self._start_question(0.0)
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

    def _schedule(self, time: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def _start_question(self, now: float) -> None:
        shape = next(self._shapes, None)
        if shape is None:
            return
        home = min(range(len(self.workers)), key=lambda n: (self._open_questions[n], self.workers[n].load))
        self._open_questions[home] += 1
        question = ActiveQuestion(shape, now, home)
        question.context = shape.question
        self._hold_tokens(question, home, shape.question if self.sticky else 0)
        self._plan(question, now)

    def _plan(self, question: ActiveQuestion, now: float) -> None:
        """Start the planner's next call: to the end of a prompt, to the end of the plan, or the answer."""
        stages = question.shape.stages
        if question.stage == len(stages):
            self._call(question, question.shape.answer, now, lambda t: self._end_answer(question, t), planner=True)
            return
        stage = stages[question.stage]
        if question.prompt < len(stage.prompts):
            self._call(
                question, stage.prompts[question.prompt], now, lambda t: self._end_prompt(question, t), planner=True
            )
        else:
            self._call(question, stage.tail, now, lambda t: self._end_plan(question, t), planner=True)

    def _end_prompt(self, question: ActiveQuestion, now: float) -> None:
        tokens = question.shape.stages[question.stage].executions[question.prompt]
        question.pending += 1
        question.prompt += 1
        self._call(question, tokens, now, lambda t: self._end_execution(question, t), planner=False)
        self._plan(question, now)

    def _end_execution(self, question: ActiveQuestion, now: float) -> None:
        question.pending -= 1
        self._join(question, now)

    def _end_plan(self, question: ActiveQuestion, now: float) -> None:
        question.planned = True
        self._join(question, now)

    def _join(self, question: ActiveQuestion, now: float) -> None:
        if not question.planned or question.pending:
            return
        stage = question.shape.stages[question.stage]
        question.context += joined_tokens(stage)
        if stage.executions and self.sticky:  # the cache has the first execution right behind the plan
            for worker in question.seen:
                question.seen[worker] += stage.executions[0]
        question.stage, question.prompt, question.planned = question.stage + 1, 0, False
        self._plan(question, now)

    def _end_answer(self, question: ActiveQuestion, now: float) -> None:
        self._open_questions[question.home] -= 1
        for worker, tokens in question.held.items():
            self._held[worker] -= tokens
        self.ends.append(now)
        self.latencies.append(now - question.begun)
        self._start_question(now)

    def _hold_tokens(self, question: ActiveQuestion, worker: int, tokens: int) -> None:
        question.held[worker] = question.held.get(worker, 0) + tokens
        self._held[worker] += tokens
        self.peak_tokens = max(self.peak_tokens, self._held[worker])

    def _count_request(self, worker: int) -> None:
        self._running_requests += 1
        self._running_at[worker] += 1
        self.peak_requests = max(self.peak_requests, self._running_requests)
        self.peak_worker = max(self.peak_worker, self._running_at[worker])

    def _call(self, question: ActiveQuestion, tokens: int, now: float, done: OnEnd, planner: bool) -> None:
        number = question.home if self.sticky else next(self._turn) % len(self.workers)
        prompt = question.context + TAGS
        uncached = max(prompt - question.seen.get(number, 0), TAGS)
        self.requests += 1
        self.sent += prompt
        self._count_request(number)
        self._hold_tokens(question, number, tokens if self.sticky else uncached + tokens)

        def on_end(time: float) -> None:
            self._running_requests -= 1
            self._running_at[number] -= 1
            if planner:
                question.context = prompt + tokens
                question.seen[number] = question.context
            done(time)

        question.seen[number] = max(question.seen.get(number, 0), question.context)
        request = SimulatedRequest(0.0, next(self._numbers), prompt, tokens, on_end)
        self._schedule(now + self.spec.request, lambda t: self._arrive(number, request, uncached, t))

    def _arrive(self, number: int, request: SimulatedRequest, uncached: int, now: float) -> None:
        worker = self.workers[number]
        worker.advance(now)
        worker.take(request, uncached)
        self._schedule_next_end(number)

    def _schedule_next_end(self, number: int) -> None:
        """Schedule the end of the worker's next request; earlier schedules become void by their version."""
        worker = self.workers[number]
        worker.version += 1
        if worker.running:
            version = worker.version
            self._schedule(worker.next_end(), lambda t: self._end_request(number, version, t))

    def _end_request(self, number: int, version: int, now: float) -> None:
        worker = self.workers[number]
        if version != worker.version:
            return
        worker.advance(now)
        request = worker.finish_one()
        self._schedule_next_end(number)
        request.done(now)


def joined_tokens(stage: StageShape) -> int:
    """Return the tokens that a stage's executions add to the context, with their tags."""
    return sum(stage.executions) + TAGS * len(stage.executions)


def draw_shapes(shapes: Sequence[TrajectoryShape], questions: int, seed: int) -> Iterator[TrajectoryShape]:
    """Return a shape for each question: each shape once if there are enough, else random draws."""
    if questions <= len(shapes):
        return iter(shapes[:questions])
    rng = random.Random(seed)
    return (rng.choice(shapes) for _ in range(questions))
