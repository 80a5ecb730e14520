"""SPRINT with a sequential thought beside it for short questions: whichever ends first answers.

    state = hedged_program.run("How much is 17 * 3?", thought_tokens=2000)
    state.trajectory.launch    "eager" if SPRINT was first, "sequential" if the thought was

On short questions the prompts, tags and checks of a planner cost more than they save (paper, section 4.2 and figure 6).
Neither the question nor the first plan tells these questions from others (`benchmarks/bench_easy.py`), but a short
thought does: it has ended. So both begin at once, on one runtime, and the one that ends first stops the other. A
thought that has not ended after `thought_tokens` is given up, which bounds its cost; what was written for nothing
counts in `total_tokens`. The planner's weights write the thought too: they must know both formats, as weights do that
were fine-tuned from a reasoning model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from programs.sprint import sprint_program
from sprint_sgl import protocol
from sprint_sgl.errors import ProgramFailed, SprintError
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Branch, Clock, Generation, Watch, accounting, collect, style_for, submit
from sprint_sgl.lang.defaults import MAX_STAGES
from sprint_sgl.lang.forks import end_forks, start_fork
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import read_thought, thought_limit
from sprint_sgl.runtime.executor import (
    abort_calls,
    backend_of,
    call_options,
    request_name,
    set_backend,
    set_call_options,
)
from sprint_sgl.runtime.frontend import BaseBackend, ProgramState, SglSamplingParams, StreamExecutor
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Call, Trajectory

THOUGHT_TOKENS = 2000
THOUGHT = "thought_beside"
STOP_PAUSE = 0.02  # seconds between two aborts: the first may overtake the request that it is for
ABORTED: Mapping[str, Any] = {"finish_reason": {"type": "abort"}}


@program
def hedged_program(
    s: ProgramState,
    question: str,
    thought_tokens: Count = THOUGHT_TOKENS,
    max_stages: Count = MAX_STAGES,
    launch: Literal["eager", "barrier"] = "eager",
    prompt_style: StyleName | None = None,
    max_tokens: Count | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question; the trajectory is that of the attempt that ended first, `beside` has the other's calls.

    thought_tokens   tokens after which the thought is given up; after max_tokens if that is fewer
    watch            sees what SPRINT writes; a thought that answers comes in one piece, as the planner's
    The other options are those of sprint_program.
    """
    question = checked_question(question)
    clock, first = Clock(), threading.Lock()
    opening = protocol.sequential_opening(question, style_for(s, prompt_style))
    thought = start_fork(s, Branch(0), opening, seed)
    submit(thought, THOUGHT, (), min(thought_tokens, thought_limit(s, max_tokens)))
    planner = StoppableBackend(backend_of(s))
    set_backend(s, planner)
    set_call_options(s.stream_executor, request_id=request_name(s.stream_executor, "planner"))
    race = threading.Thread(target=_stop_planner_if_first, args=(thought, planner, first), daemon=True)
    race.start()
    try:
        planner_watch = partial(_watch_unless_stopped, planner, watch) if watch else None
        options = {"max_stages": max_stages, "launch": launch, "prompt_style": prompt_style, "seed": seed}
        found = _run_sprint_if_first(s, first, question, watch=planner_watch, **options)
        if found:
            return replace(found, beside=_abort_thought(thought, clock), seconds=round(clock.now(), 6))
        race.join()
        written = collect(thought, THOUGHT, Branch(1), clock)
    finally:
        end_forks([thought])
    return _thought_trajectory(s, question, written, planner, clock, watch)


def _run_sprint_if_first(s: ProgramState, first: threading.Lock, question: str, **options: Any) -> Trajectory | None:
    """Return SPRINT's trajectory; None if the thought was first. Raises what stopped SPRINT by itself."""
    try:
        found: Trajectory = sprint_program.func(s, question, **options)
    except SprintError:
        if first.acquire(blocking=False):
            raise
        return None
    return found if first.acquire(blocking=False) else None


def _stop_planner_if_first(thought: ProgramState, planner: StoppableBackend, first: threading.Lock) -> None:
    reason = (thought.get_meta_info(THOUGHT) or {}).get("finish_reason") or {}
    if reason.get("type") == "stop" and first.acquire(blocking=False):
        planner.stop()


def _watch_unless_stopped(planner: StoppableBackend, watch: Watch, branch: Branch, text: str) -> None:
    if not planner.stopped:
        watch(branch, text)


def _abort_thought(thought: ProgramState, clock: Clock) -> tuple[Call, ...]:
    """Abort the thought and return its call; nothing if it has failed or written nothing."""
    abort_calls(thought)
    try:
        call = collect(thought, THOUGHT, Branch(1), clock).call
    except ProgramFailed:
        return ()
    return (call,) if call.completion_tokens else ()


def _thought_trajectory(
    s: ProgramState, question: str, written: Generation, planner: StoppableBackend, clock: Clock, watch: Watch | None
) -> Trajectory:
    """Make the thought the state's answer; return its trajectory, with the planner's calls beside it."""
    read = read_thought(written.text)
    s["answer"] = read.answer
    if watch:
        watch(Branch(1), written.text)
    calls = (accounting(meta, clock) for meta in planner.calls)
    return Trajectory(
        question,
        thought=read.thought,
        final_answer=read.final,
        answer_calls=(written.call,),
        beside=tuple(call for call in calls if call.completion_tokens),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )


class StoppableBackend(BaseBackend):  # type: ignore[misc]
    """A backend that keeps the accounting of its calls in `calls` and can stop all of them at once.

    Later calls get an empty reply, as if they had been aborted, so that the program runs to its end.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.calls = inner, list[dict[str, Any]]()
        self._running: set[StreamExecutor] = set()
        self._lock, self.stopped = threading.Lock(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get_model_name(self) -> str:
        return str(self.inner.get_model_name())

    def get_chat_template(self) -> Any:
        return self.inner.get_chat_template()

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        if not self._admits(s):
            return "", dict(ABORTED)
        try:
            text, meta = self.inner.generate(s, sampling_params)
        finally:
            self._running.discard(s)
        self.calls.append(meta)
        return text, meta

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        meta = dict(ABORTED)
        if not self._admits(s):
            yield "", meta
            return
        try:
            for text, meta in self.inner.generate_stream(s, sampling_params):
                yield text, meta
        finally:
            self._running.discard(s)
        self.calls.append(meta)

    def _admits(self, s: StreamExecutor) -> bool:
        with self._lock:
            if not self.stopped:
                self._running.add(s)
            return not self.stopped

    def stop(self) -> None:
        """Abort the running calls if the backend can, and wait for them to end."""
        with self._lock:
            self.stopped = True
        while running := list(self._running):
            for executor in running if hasattr(self.inner, "abort") else ():
                with suppress(SprintError):  # a dead runtime has stopped them
                    self.inner.abort(call_options(executor).request_id)
            time.sleep(STOP_PAUSE)
