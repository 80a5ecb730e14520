"""SPRINT: a planner proposes tasks, executors carry them out side by side, the planner goes on with the results.

    state = sprint_program.run("Use 3, 7, 12 and 25 to make 66")
    state["answer"], state.trajectory

One round (paper, section 3.1, figure 1):

    planner    <Plan_1> .. <prompt_1.1> .. </prompt_1.1> .. <prompt_1.2> .. </prompt_1.2> .. </Plan_1>
    executors                                  `- fork: </Plan_1> <Execution_1> <execution_1.1> ..
                                                                               `- fork: .. <execution_1.2> ..
    planner    </Plan_1> <Execution_1> both results in prompt order </Execution_1>   <- join

Each fork starts from the planner's text at the moment its prompt closes, so RadixAttention serves all of
it from the cache. Departures from the paper: none in eager launch; `launch="barrier"` is what the authors'
released code does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, count
from threading import Thread
from typing import Literal

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput, ContextFull, ProgramFailed
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import Branch, Clock, Watch, Written, call, collect, pump, style_for, submit
from sprint_sgl.lang.forks import branch, end
from sprint_sgl.lang.program import program
from sprint_sgl.lang.straggler import StragglerPolicy, checked_policy, wait_for_siblings
from sprint_sgl.limits import checked_count
from sprint_sgl.runtime.frontend import ProgramState, ProgramStateGroup
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory

LAUNCHES = ("eager", "barrier")
MAX_STAGES = 12


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip())
def sprint_program(
    s: ProgramState,
    question: str,
    max_stages: int = MAX_STAGES,
    launch: Literal["eager", "barrier"] = "eager",
    prompt_style: str | None = None,
    seed: int | None = None,
    straggler: StragglerPolicy | None = None,
    on_failure: Literal["raise", "mark"] = "raise",
    watch: Watch | None = None,
) -> Trajectory:
    """Answers the question; `s["answer"]` is the answer, `s.trajectory` the whole run.

    max_stages     at the last one the final answer is forced (paper, appendix A.1)
    launch         start an executor when its prompt closes, or all of them when the plan closes
    prompt_style   a name in sprint_sgl/protocol/prompts; by default what the runtime's model was trained with
    seed           honoured by runtimes with deterministic inference; each branch derives its own
    straggler      by what rules to cut off a slow executor; none, by default
    on_failure     what a failed executor is: an error of the run, or a marked empty execution
    watch          called with (branch, text) as text appears; with stream=True piece by piece
    """
    question = checked_question(question)
    if launch not in LAUNCHES:
        raise BadInput(f"launch must be one of {', '.join(LAUNCHES)}, got {launch!r}")
    if on_failure not in ("raise", "mark"):
        raise BadInput(f"on_failure must be raise or mark, got {on_failure!r}")
    checked_count("max_stages", max_stages)
    run = _Round(s, Clock(), launch, seed, checked_policy(straggler), on_failure, watch)
    s += protocol.planner_opening(question, style_for(s, prompt_style))

    stages: list[Stage] = []
    for i in range(1, max_stages + 1):
        plan = run.plan(i) if i < max_stages else run.forced_answer(i)
        executions = run.join(plan)
        if plan.is_stage:
            stages.append(Stage(tuple(plan.prompts), executions, plan.tail, tuple(plan.calls)))
        if plan.answer is not None:
            break
        s += protocol.render_executions(i, executions)

    trajectory = Trajectory(
        question,
        tuple(stages),
        final_answer=plan.answer or "",
        answer_calls=() if plan.is_stage else tuple(plan.calls),
        repairs=protocol.merge_repairs(*run.repairs),
        discarded_tokens=run.discarded,
        seconds=round(run.clock.now(), 6),
        launch=launch,
    )
    s["answer"] = read_answer(trajectory.final_answer)
    return trajectory


@dataclass
class _Plan:
    """A plan while it is written: its prompts, the contexts of their executors and the forks that run."""

    stage: int
    prompts: list[Prompt] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    forks: list[ProgramStateGroup] = field(default_factory=list)
    launched: list[float] = field(default_factory=list)
    pumps: list[Thread] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    tail: str = ""
    answer: str | None = None
    idle: bool = False

    @property
    def tokens(self) -> int:
        return sum(call.completion_tokens for call in self.calls)

    @property
    def is_stage(self) -> bool:
        """Whether anything was planned: the planner may give its answer in the place of a plan."""
        return bool(self.prompts or self.tail or self.answer is None)


@dataclass
class _Round:
    """The rounds of one run: what they share, and what they add up."""

    s: ProgramState
    clock: Clock
    launch: Literal["eager", "barrier"]
    seed: int | None
    straggler: StragglerPolicy
    on_failure: Literal["raise", "mark"]
    watch: Watch | None
    repairs: list[protocol.Repairs] = field(default_factory=list)
    discarded: int = 0
    begun: bool = False

    def plan(self, i: int) -> _Plan:
        """Lets the planner write plan i, piece by piece, launching executors on the way."""
        plan = _Plan(i)
        try:
            while not self._piece(plan):
                if self.launch == "eager":
                    self._launch(plan)
        except BaseException:
            end(plan.forks)
            raise
        self._launch(plan)
        return plan

    def _piece(self, plan: _Plan) -> bool:
        """One planner call, up to its stop string; returns whether the plan is finished."""
        limit = self.s.stream_executor.default_sampling_para.max_new_tokens - plan.tokens
        before, name = self.s.text(), f"plan_{plan.stage}_{len(plan.calls) + 1}"
        written = self._write(name, plan.stage, limit)
        if written is None:
            plan.answer = ""
            return True
        plan.calls.append(written.call)
        closed_by = written.call.finish
        read = protocol.read_plan(written.text, plan.stage, first=len(plan.prompts) + 1, closed_by=closed_by)
        self._settle(plan, before, written, read)
        plan.answer = read.answer
        idle, plan.idle = plan.idle, not read.prompts
        if closed_by == "</prompt_" and not (idle and plan.idle) and limit > written.call.completion_tokens:
            return False
        if closed_by == "</prompt_" and limit <= written.call.completion_tokens:
            self.repairs.append((("truncated", 1),))
        if read.answer is None:
            self._append(protocol.close_plan(plan.stage), plan.stage)
        return True

    def _write(self, name: str, stage: int, limit: int | None = None) -> Written | None:
        """A planner call, up to its stop string; None if the run has filled the model's context.

        Raises ContextFull if the question alone does.
        """
        stops, seed = protocol.PLANNER_STOPS, self.seed
        try:
            written = call(
                self.s, name, Branch(stage), self.clock, self.watch, stops=stops, max_tokens=limit, seed=seed
            )
        except ContextFull:
            if not self.begun:
                raise
            self.repairs.append((("context_full", 1),))
            return None
        self.begun = True
        return written

    def _settle(self, plan: _Plan, before: str, written: Written, read: protocol.PlanText) -> None:
        """Puts a piece of the plan into the context, verbatim if it is well-formed, else as it was repaired."""
        first = len(plan.prompts) + 1
        opened = before if len(plan.calls) > 1 else before + protocol.open_plan(plan.stage)
        contexts = list(
            accumulate(map(partial(protocol.render_prompt, plan.stage), count(first), read.prompts), initial=opened)
        )
        if read.repairs:
            self.repairs.append(read.repairs)
            kept = contexts[-1] + (f"{protocol.escape_tags(read.tail)}\n" if read.tail else "")
            self.discarded += discarded_tokens(written, len(kept) - len(opened) + len(read.answer or ""))
            self.s.stream_executor.text_ = kept
        elif read.prompts:
            self._append(protocol.close_prompt(plan.stage, first + len(read.prompts) - 1), plan.stage)
            contexts[-1] = self.s.text()
        for prompt in read.prompts:
            plan.prompts.append(Prompt(prompt.text, f"{plan.tail}\n{prompt.lead}", offset=plan.tokens))
            plan.tail = ""
        plan.contexts += contexts[1:]
        plan.tail = f"{plan.tail}\n{read.tail}".strip()

    def _append(self, text: str, stage: int) -> None:
        self.s += text
        if self.watch:
            self.watch(Branch(stage), text)

    def _launch(self, plan: _Plan) -> None:
        """Forks an executor for every prompt that has none yet."""
        for j in range(len(plan.forks) + 1, len(plan.prompts) + 1):
            context = protocol.executor_context(plan.stage, plan.contexts[j - 1], j)
            group = branch(self.s, plan.stage, j, context, self.seed)
            submit(group[0], _name(plan.stage, j), protocol.EXECUTOR_STOPS, self._executor_limit())
            plan.forks.append(group)
            plan.launched.append(time.perf_counter())
            if self.watch:
                plan.pumps.append(pump(group[0], _name(plan.stage, j), Branch(plan.stage, j), self.watch))

    def _executor_limit(self) -> int:
        limit: int = self.s.stream_executor.default_sampling_para.max_new_tokens
        return min(limit, self.straggler.budget or limit)

    def join(self, plan: _Plan) -> tuple[Execution, ...]:
        """Waits for the executors and returns what they wrote, in prompt order."""
        try:
            cancelled = wait_for_siblings(plan.forks, plan.launched, self.straggler)
            executions = tuple(self._execution(plan, j, j in cancelled) for j in range(1, len(plan.forks) + 1))
            for pumping in plan.pumps:
                pumping.join()
            for j, execution in enumerate(executions, 1):
                if self.watch and self.straggler.mark and execution.status == "cancelled":
                    self.watch(Branch(plan.stage, j), f"\n{self.straggler.mark}")
            return executions
        finally:
            end(plan.forks)

    def _execution(self, plan: _Plan, j: int, cancelled: bool) -> Execution:
        group, name = plan.forks[j - 1], _name(plan.stage, j)
        try:
            written = collect(group[0], name, Branch(plan.stage, j), self.clock)
        except ProgramFailed:
            if self.on_failure == "raise":
                raise
            self.repairs.append((("failed_execution", 1),))
            return Execution("", status="failed")
        text, repairs = protocol.read_execution(written.text)
        spent = written.call.finish == "length" and written.call.completion_tokens == self.straggler.budget
        if spent or (cancelled and written.call.finish == "abort"):
            self.repairs.append(repairs)
            return Execution(self.straggler.marked(text), "cancelled", written.call)
        self.repairs.append(protocol.merge_repairs(repairs, (("truncated", 1),)) if written.cut else repairs)
        return Execution(text, "truncated" if written.cut else "ok", written.call)

    def forced_answer(self, stage: int) -> _Plan:
        """The last stage: the tag is written for the planner (paper, appendix A.1)."""
        self._append(protocol.FINAL_ANSWER_OPEN, stage)
        written = self._write("final_answer", stage)
        if written is None:
            return _Plan(stage, answer="")
        closed_by = written.call.finish or protocol.ANSWER_STOP
        read = protocol.read_plan(protocol.FINAL_ANSWER_OPEN + written.text, stage, closed_by=closed_by)
        self.repairs += [read.repairs, (("forced_answer", 1),)]
        return _Plan(stage, calls=[written.call], answer=read.answer or "")


def _name(stage: int, prompt: int) -> str:
    """The variable of an executor's text; one name a stage and prompt, so that a join never overwrites."""
    return f"execution_{stage}.{prompt}"


def discarded_tokens(written: Written, kept_characters: int) -> int:
    """Tokens of a call that a repair threw away, by the share of its characters that was kept."""
    share = 1 - min(kept_characters, len(written.text)) / len(written.text) if written.text else 0.0
    return round(written.call.completion_tokens * share)
