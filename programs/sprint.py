"""SPRINT: a planner proposes tasks, executors carry them out side by side, the planner goes on with their results.

    state = sprint_program.run("Use 15, 3 and 62 to make 80")
    state["answer"], state.trajectory

One round (paper, section 3.1, figure 1):

    planner    <Plan_1> .. <prompt_1.1> .. </prompt_1.1> .. <prompt_1.2> .. </prompt_1.2> .. </Plan_1>
    executors                                  `- fork: </Plan_1> <Execution_1> <execution_1.1> ..
                                                                               `- fork: .. <execution_1.2> ..
    planner    </Plan_1> <Execution_1> both results in prompt order </Execution_1>   <- join

Each fork starts from the planner's text at the moment its prompt closes, so that RadixAttention serves all of that text
from the cache. Eager launch is the paper's; `launch="barrier"` is what the authors' released code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, count
from typing import Annotated, Literal

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput, ContextFull
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Branch, Clock, Generation, Watch, call, style_for
from sprint_sgl.lang.defaults import MAX_STAGES
from sprint_sgl.lang.executors import Executor, PendingExecutor
from sprint_sgl.lang.joining import JoinPolicy, checked_policy
from sprint_sgl.lang.launcher import Launcher
from sprint_sgl.lang.program import Program, program
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.runtime.executor import set_call_options, set_context, token_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.tools.calls import call_grammar
from sprint_sgl.tools.sources import Tools, checked_tools, toolbox_for
from sprint_sgl.tools.tool import Tool
from sprint_sgl.tools.toolbox import Toolbox
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory


def checked_begun(name: str, value: object) -> Trajectory:
    """Return a run to go on from. Raises BadInput for one that still waits for results, or for anything else."""
    if not isinstance(value, Trajectory):
        raise BadInput(f"{name} must be a Trajectory, got {value!r}")
    if value.is_pending:
        raise BadInput(f"{name}: its last stage still waits for results: replace the executions of status pending")
    return value


def checked_names(name: str, value: object) -> object:
    """Return a list of names. Raises BadInput for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise BadInput(f"{name} must be a list of names of tools, got {value!r}")
    return value


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip(), needs="sprint")
def sprint_program(
    s: ProgramState,
    question: str,
    max_stages: Count = MAX_STAGES,
    launch: Literal["eager", "barrier"] = "eager",
    prompt_style: StyleName | None = None,
    seed: int | None = None,
    straggler: JoinPolicy | None = None,
    on_failure: Literal["raise", "mark"] = "raise",
    tools: Annotated[Tools, checked_tools] | None = None,
    parallel_tool_calls: bool = True,
    must_call: Annotated[Sequence[str], checked_names] = (),
    max_prompts: Count | None = None,
    begun: Annotated[Trajectory, checked_begun] | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question; `s["answer"]` is the answer, `s.trajectory` the whole run.

    max_stages            the final answer is forced at the last of them (paper, appendix A.1)
    launch                start an executor when its prompt closes, or all of them when the plan closes
    prompt_style          a name in sprint_sgl/protocol/prompts; by default what the runtime's model was trained with
    seed                  honoured by runtimes with deterministic inference; each branch derives its own
    straggler             how slow executors are cut off, such as StragglerPolicy; by default all are waited for
    on_failure            what a failed executor is: an error of the run, or an empty execution marked as failed
    tools                 a Toolbox, or functions, MCP servers and names of tools: what carries out prompts that are
                          calls
    parallel_tool_calls   whether a plan may hand several calls to tools of the client (Tool.of_client)
    must_call             names of tools: the first prompt, or the first after `begun`, is a call of one of them, which
                          the runtime's grammar backend sees to
    max_prompts           a plan is closed after so many; by default where the planner closes it
    begun                 a run that waited for such tools, with their results in place: this one goes on from it
    watch                 called with (branch, text) as text appears; with stream=True piece by piece; an empty text
                          says that an executor has ended by itself
    """
    question = checked_question(question)
    with toolbox_for(tools) as box:
        launcher = Launcher(s, question, Clock(), seed, checked_policy(straggler), on_failure, watch, box)
        style = trained_style(s, prompt_style)
        s += protocol.planner_opening(question, style, protocol.describe_tools(style, box.listing) if box else "")
        forced = forced_tools(box, must_call)
        return SprintRun(launcher, launch, parallel_tool_calls, max_prompts, forced).answer(max_stages, begun)


def forced_tools(box: Toolbox | None, names: Sequence[str]) -> Sequence[Tool]:
    """Return the tools of which one must be called. Raises BadInput for an unknown name, or without tools."""
    if names and box is None:
        raise BadInput(f"must_call names {names[0]!r}, and there are no tools")
    return [box[name] for name in names] if box else ()


def trained_style(s: ProgramState, name: str | None) -> PromptStyle:
    """Return the prompt style. Raises BadInput for one of models that were never trained to write tags."""
    style = style_for(s, name)
    if style.guided:
        raise BadInput(f"the prompt style {style.name} needs a program that writes the tags: sprint_guided")
    return style


def format_program(format: protocol.Format) -> Program:
    """Return the program of another format, whose models are trained on rows of that format."""

    def run_format(
        s: ProgramState,
        question: str,
        max_stages: Count = MAX_STAGES,
        prompt_style: StyleName | None = None,
        seed: int | None = None,
        straggler: JoinPolicy | None = None,
        on_failure: Literal["raise", "mark"] = "raise",
        max_prompts: Count | None = None,
        watch: Watch | None = None,
    ) -> Trajectory:
        """Answer the question; `s["answer"]` is the answer, `s.trajectory` the whole run. Arguments are those of
        `sprint_program`."""
        question, style = checked_question(question), trained_style(s, prompt_style)
        seen = protocol.in_sprints_tags(format, watch) if watch else None
        launcher = Launcher(
            *(s, question, Clock(), seed, checked_policy(straggler), on_failure, seen),
            stops=format.executor_stops,
            format=format,
        )
        s += format.opening(question, style)
        return SprintRun(launcher, format.launch, max_prompts=max_prompts).answer(max_stages)

    run_format.__name__ = run_format.__qualname__ = f"{format.name}_program"
    return Program(run_format, answer_after=protocol.FINAL_ANSWER_OPEN.strip(), needs=format.name)


@dataclass
class PlanDraft:
    """A plan while it is written: its prompts, the contexts of their executors, and those executors."""

    stage: int
    prompts: list[Prompt] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    executors: list[Executor] = field(default_factory=list)
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

    def end_executors(self) -> None:
        for executor in self.executors:
            executor.end()


@dataclass
class SprintRun:
    """One run: what its stages share, and the repairs and discarded tokens that they add up.

    forced   tools: the next plan begins with a call of one of them
    """

    launcher: Launcher
    launch: Literal["eager", "barrier"]
    parallel_tool_calls: bool = True
    max_prompts: int | None = None
    forced: Sequence[Tool] = ()
    repairs: list[protocol.Repairs] = field(default_factory=list)
    discarded: int = 0
    begun: bool = False

    opening: str = field(init=False)

    def __post_init__(self) -> None:
        self.opening = self.s.text()

    @property
    def s(self) -> ProgramState:
        return self.launcher.s

    @property
    def format(self) -> protocol.Format:
        return self.launcher.format

    def answer(self, max_stages: int, begun: Trajectory | None = None) -> Trajectory:
        """Plan and join until there is an answer, which is forced in the last stage, or a client's tool to wait for."""
        s, launcher = self.s, self.launcher
        stages = list(begun.stages) if begun else []
        if begun:
            s += protocol.render_stages(begun)
        for i in count(len(stages) + 1):
            plan = self.plan(i) if i < max_stages or self.forced else self.forced_answer(i)
            executions = self.join(plan)
            if plan.is_stage:
                stages.append(Stage(tuple(plan.prompts), executions, plan.tail, tuple(plan.calls)))
            if plan.answer is not None or (stages and stages[-1].is_pending):
                break
            s += self.format.render_executions(i, executions)

        trajectory = Trajectory(
            launcher.question,
            tuple(stages),
            final_answer=plan.answer or "",
            answer_calls=() if plan.is_stage else tuple(plan.calls),
            repairs=protocol.merge_repairs(*self.repairs),
            discarded_tokens=self.discarded,
            seconds=round(launcher.clock.now(), 6),
            launch=self.launch,
        )
        s["answer"] = read_answer(trajectory.final_answer)
        return trajectory

    def plan(self, i: int) -> PlanDraft:
        """Return plan i, with its executors under way."""
        plan = PlanDraft(i)
        if self.forced:
            self.append(self.format.open_plan(i), i)
        self.fill(plan)
        return plan

    def fill(self, plan: PlanDraft) -> None:
        """Let the planner write the plan, call by call, and launch its executors on the way."""
        write = self.write_forced_call if self.forced else self.continue_plan
        try:
            while not write(plan):
                write = self.continue_plan
                if self.launch == "eager":
                    self._launch(plan)
        except BaseException:
            plan.end_executors()
            raise
        self._launch(plan)

    def write_forced_call(self, plan: PlanDraft) -> bool:
        """Write a prompt's tag, and let the planner write a call in it; return whether the plan is finished."""
        i, tools, self.forced = plan.stage, self.forced, ()
        self.append(f"{protocol.open_prompt(i, 1)} ", i)
        set_call_options(self.s.stream_executor, sampling={"structural_tag": call_grammar(tools)})
        try:
            written = self.call_planner(f"call_{i}", i)
        finally:
            set_call_options(self.s.stream_executor, sampling={})
        if written is None:
            plan.answer = ""
            return True
        plan.calls.append(written.call)
        if written.truncated:
            self.repairs.append((("truncated", 1),))
        return self.close_prompt(plan, written.text)

    def close_prompt(self, plan: PlanDraft, text: str, lead: str = "") -> bool:
        """Close the prompt that the planner has written between tags of ours; return whether the plan is finished."""
        space = "" if text[-1:].isspace() else " "
        self.append(f"{space}{self.format.close_prompt(plan.stage, len(plan.prompts) + 1)}", plan.stage)
        plan.prompts.append(Prompt(text, lead, offset=plan.tokens))
        plan.contexts.append(self.s.text())
        return self.close_full(plan)

    def continue_plan(self, plan: PlanDraft) -> bool:
        """Make one planner call, up to its stop string; return whether the plan is finished."""
        limit = token_limit(self.s) - plan.tokens
        before, name = self.s.text(), f"plan_{plan.stage}_{len(plan.calls) + 1}"
        written = self.call_planner(name, plan.stage, limit)
        if written is None:
            plan.answer = ""
            return True
        plan.calls.append(written.call)
        closed_by = written.call.finish
        read = self.format.read_plan(written.text, plan.stage, first=len(plan.prompts) + 1, closed_by=closed_by)
        self._extend_plan(plan, before, written, read)
        plan.answer = read.answer
        idle, plan.idle = plan.idle, not read.prompts
        closes_prompt = closed_by == self.format.prompt_stop
        if closes_prompt and not (idle and plan.idle) and limit > written.call.completion_tokens:
            return self.close_full(plan)
        if closes_prompt and limit <= written.call.completion_tokens:
            self.repairs.append((("truncated", 1),))
        if read.answer is None:
            self.append(self.format.close_plan(plan.stage), plan.stage)
        return True

    def close_full(self, plan: PlanDraft) -> bool:
        """Close the plan if it may have no more prompts; return whether it was closed."""
        full = self.max_prompts is not None and len(plan.prompts) >= self.max_prompts
        last = plan.prompts[-1].text if plan.prompts else ""
        if not full and (self.parallel_tool_calls or not last or not self.launcher.is_client_call(last)):
            return False
        self.append(self.format.close_plan(plan.stage), plan.stage)
        return True

    def call_planner(
        self, name: str, stage: int, limit: int | None = None, stops: Sequence[str] = ()
    ) -> Generation | None:
        """Return a planner call, up to a stop string (the format's); None if the run has filled the model's context.

        Raises ContextFull if the question alone does.
        """
        run = self.launcher
        try:
            written = call(
                *(self.s, name, Branch(stage), run.clock, run.watch),
                stops=stops or self.format.planner_stops,
                max_tokens=limit,
                seed=run.seed,
            )
        except ContextFull:
            if not self.begun:
                raise
            self.repairs.append((("context_full", 1),))
            return None
        self.begun = True
        return written

    def _extend_plan(self, plan: PlanDraft, before: str, written: Generation, read: protocol.PlanText) -> None:
        """Add a call's text to the plan and to the context, verbatim if it is well-formed, else as it was repaired."""
        first = len(plan.prompts) + 1
        opened = before if len(plan.calls) > 1 else before + self.format.open_plan(plan.stage)
        contexts = list(
            accumulate(map(partial(self.format.render_prompt, plan.stage), count(first), read.prompts), initial=opened)
        )
        if read.repairs:
            self.repairs.append(read.repairs)
            tail = self.format.spell(f"{protocol.escape_tags(read.tail)}\n") if read.tail else ""
            kept = contexts[-1] + tail
            self.discarded += discarded_tokens(written, len(kept) - len(opened) + len(read.answer or ""))
            set_context(self.s, kept)
        elif read.prompts:
            self.append(self.format.close_prompt(plan.stage, first + len(read.prompts) - 1), plan.stage)
            contexts[-1] = self.s.text()
        for prompt in read.prompts:
            plan.prompts.append(Prompt(prompt.text, f"{plan.tail}\n{prompt.lead}", offset=plan.tokens))
            plan.tail = ""
        plan.contexts += contexts[1:]
        plan.tail = f"{plan.tail}\n{read.tail}".strip()

    def append(self, text: str, stage: int) -> None:
        s = self.s
        s += text
        if self.launcher.watch:
            self.launcher.watch(Branch(stage), text)

    def _launch(self, plan: PlanDraft) -> None:
        """Start an executor for every prompt that has none yet."""
        for j in range(len(plan.executors) + 1, len(plan.prompts) + 1):
            prompt = plan.prompts[j - 1]
            context = self._seen_by_executor(plan, j) + self.format.open_execution(plan.stage, j, prompt)
            waits = any(isinstance(executor, PendingExecutor) for executor in plan.executors)
            refuse = "one call at a time" if waits and not self.parallel_tool_calls else ""
            plan.executors.append(self.launcher.launch(Branch(plan.stage, j), prompt.text, context, refuse))

    def _seen_by_executor(self, plan: PlanDraft, j: int) -> str:
        """Return the part of the planner's text that executor j sees."""
        match self.format.sees:
            case "text":
                return plan.contexts[j - 1]
            case "plan":
                return self.s.text()  # type: ignore[no-any-return]
            case "prompt":
                return self.opening

    def join(self, plan: PlanDraft) -> tuple[Execution, ...]:
        """Wait for the executors and return their executions, in prompt order."""
        joining, watch = self.launcher.joining, self.launcher.watch
        try:
            stopped = joining.wait(plan.executors)
            executions = []
            for j, executor in enumerate(plan.executors, 1):
                execution, repairs = executor.execution(j in stopped)
                executions.append(execution)
                self.repairs.append(repairs)
            for j, execution in enumerate(executions, 1):
                if watch and joining.suffix and execution.status == "cancelled":
                    watch(Branch(plan.stage, j), joining.suffix)
            return tuple(executions)
        finally:
            plan.end_executors()

    def forced_answer(self, stage: int) -> PlanDraft:
        """Return the last stage: the tag of the final answer is written for the planner (paper, appendix A.1)."""
        plan = self.written_answer(stage)
        if plan.calls:
            self.repairs.append((("forced_answer", 1),))
        return plan

    def written_answer(self, stage: int) -> PlanDraft:
        """Write the tag of the final answer, and let the planner go on from there."""
        self.append(protocol.FINAL_ANSWER_OPEN, stage)
        written = self.call_planner("final_answer", stage)
        if written is None:
            return PlanDraft(stage, answer="")
        closed_by = written.call.finish or protocol.ANSWER_STOP
        read = self.format.read_plan(protocol.FINAL_ANSWER_OPEN + written.text, stage, closed_by=closed_by)
        self.repairs.append(read.repairs)
        return PlanDraft(stage, calls=[written.call], answer=read.answer or "")


def discarded_tokens(written: Generation, kept_characters: int) -> int:
    """Return the tokens of a call that a repair threw away, by the share of its characters that was kept."""
    share = 1 - min(kept_characters, len(written.text)) / len(written.text) if written.text else 0.0
    return round(written.call.completion_tokens * share)
