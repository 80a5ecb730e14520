"""SPRINT with a sequential thought beside it for the short questions: whichever ends first answers.

    state = hedged_program.run("How much is 17 * 3?", thought_tokens=2000)
    state.trajectory.launch    "eager" where SPRINT was first, "sequential" where the thought was

On short questions the prompts, the tags and the checks of a planner cost more than they save (paper, section 4.2 and
figure 6). Nothing that is known before, neither the question nor the first plan, tells these questions from others
(`benchmarks/bench_easy.py`), but the thought itself does: it has ended. So both begin at once, on one runtime, and the
one that ends first stops the other. A thought that has not ended after `thought_tokens` is given up, which bounds what
it can cost; what was written for nothing counts in `total_tokens`. Its weights are the planner's: they have to know
both formats, as weights do that were fine-tuned from a reasoning model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from programs.sprint import MAX_STAGES, sprint_program
from sprint_sgl import protocol
from sprint_sgl.errors import ProgramFailed, SprintError
from sprint_sgl.lang.calls import Branch, Clock, Watch, Written, account, collect, style_for, submit
from sprint_sgl.lang.forks import branch, end
from sprint_sgl.lang.program import program
from sprint_sgl.lang.straggler import ASK_AGAIN, StragglerPolicy, abort
from sprint_sgl.lang.thoughts import read_thought, thought_limit
from sprint_sgl.limits import checked_count
from sprint_sgl.runtime.frontend import BaseBackend, ProgramState, ProgramStateGroup, SglSamplingParams, StreamExecutor
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Call, Trajectory

THOUGHT_TOKENS = 2000
THOUGHT = "thought_beside"
ABORTED: Mapping[str, Any] = {"finish_reason": {"type": "abort"}}


@program
def hedged_program(
    s: ProgramState,
    question: str,
    thought_tokens: int = THOUGHT_TOKENS,
    max_stages: int = MAX_STAGES,
    launch: Literal["eager", "barrier"] = "eager",
    prompt_style: str | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    straggler: StragglerPolicy | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question; the trajectory is that of the attempt which ended first, `beside` has the other's calls.

    thought_tokens   after which the thought is given up; after max_tokens, where these are fewer
    watch            sees what SPRINT writes; a thought that answers comes in one piece, as the planner's
    The other options are those of sprint_program.
    """
    question = checked_question(question)
    checked_count("thought_tokens", thought_tokens)
    clock, executor, first = Clock(), s.stream_executor, threading.Lock()
    thought = branch(s, 0, 0, protocol.sequential_opening(question, style_for(s, prompt_style)), seed)
    submit(thought[0], THOUGHT, (), min(thought_tokens, thought_limit(s, max_tokens)))
    planner = executor.backend = Stoppable(executor.backend)
    executor.request_id = f"{executor.sid}-planner."
    race = threading.Thread(target=_stop_if_first, args=(thought, planner, first), daemon=True)
    race.start()
    try:
        heard = partial(_unless_stopped, planner, watch) if watch else None
        found = _planned(s, first, question, max_stages, launch, prompt_style, seed, straggler, "raise", heard)
        if found:
            given_up = _given_up(thought, clock)
            return replace(found, beside=given_up, seconds=round(clock.now(), 6))
        race.join()
        written = collect(thought[0], THOUGHT, Branch(1), clock)
    finally:
        end([thought])
    return _thought_out(s, question, written, planner, clock, watch)


def _planned(s: ProgramState, first: threading.Lock, *arguments: Any) -> Trajectory | None:
    """SPRINT's trajectory, or None where the thought was first. Raises what stopped SPRINT by itself."""
    try:
        found: Trajectory = sprint_program.func(s, *arguments)
    except SprintError:
        if first.acquire(blocking=False):
            raise
        return None
    return found if first.acquire(blocking=False) else None


def _stop_if_first(thought: ProgramStateGroup, planner: Stoppable, first: threading.Lock) -> None:
    executor = thought[0].stream_executor
    executor.variable_event[THOUGHT].wait()
    reason = (executor.meta_info.get(THOUGHT) or {}).get("finish_reason") or {}
    if reason.get("type") == "stop" and first.acquire(blocking=False):
        planner.stop()


def _unless_stopped(planner: Stoppable, watch: Watch, branch: Branch, text: str) -> None:
    if not planner.stopped:
        watch(branch, text)


def _given_up(thought: ProgramStateGroup, clock: Clock) -> tuple[Call, ...]:
    """Ends the thought; what it has cost, nothing where it has failed."""
    abort(thought)
    try:
        call = collect(thought[0], THOUGHT, Branch(1), clock).call
    except ProgramFailed:
        return ()
    return (call,) if call.completion_tokens else ()


def _thought_out(
    s: ProgramState, question: str, written: Written, planner: Stoppable, clock: Clock, watch: Watch | None
) -> Trajectory:
    read = read_thought(written.text)
    s["answer"] = read.answer
    if watch:
        watch(Branch(1), written.text)
    calls = (account(meta, clock) for meta in planner.bill)
    return Trajectory(
        question,
        thought=read.thought,
        final_answer=read.final,
        answer_calls=(written.call,),
        beside=tuple(call for call in calls if call.completion_tokens),
        seconds=round(clock.now(), 6),
        launch="sequential",
    )


class Stoppable(BaseBackend):  # type: ignore[misc]
    """A backend whose calls through this object are kept in `bill`, and can be stopped all at once.

    Calls that come later are answered with nothing, as if they had been aborted: the program runs out.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.bill = inner, list[dict[str, Any]]()
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
        self.bill.append(meta)
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
        self.bill.append(meta)

    def _admits(self, s: StreamExecutor) -> bool:
        with self._lock:
            if not self.stopped:
                self._running.add(s)
            return not self.stopped

    def stop(self) -> None:
        """Stops what runs, and waits for it; a backend that cannot stop a request is waited for."""
        with self._lock:
            self.stopped = True
        while running := list(self._running):
            for executor in running if hasattr(self.inner, "abort") else ():
                with suppress(SprintError):  # a runtime that is gone has stopped them
                    self.inner.abort(executor.request_id)
            time.sleep(ASK_AGAIN / 5)
