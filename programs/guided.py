"""SPRINT with a model that was never trained for it: the program writes the tags, the model what lies between them.

    guided_program.run("What is larger, 17 * 23 or 20 * 19?")      # any instruct model

The model stops where it opens or closes a tag, and the program writes the tag with its right number. With `grammar`
SGLang lets it write nothing else: plans are text without tags, and a prompt is one line. A plan that hands nothing out
is tried again, and then the question is answered by one sequential thought.

No part of the paper: its models are fine-tuned. Expect less of the plans, and nothing of the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from typing import Annotated, Literal

from programs.sprint import PlanDraft, SprintRun, checked_begun, checked_names, forced_tools
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Clock, Generation, Watch, chat_turn, opening_for
from sprint_sgl.lang.joining import JoinPolicy, checked_policy
from sprint_sgl.lang.launcher import Launcher
from sprint_sgl.lang.program import program
from sprint_sgl.lang.thoughts import answer_in_one_thought
from sprint_sgl.protocol.guided import (
    CHOICE_REGEX,
    GUIDED_STOPS,
    LEAD_REGEX,
    PLAN_OPENING,
    PROMPT_OPENING,
    PROMPT_REGEX,
)
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime.executor import set_call_options, set_context, token_limit
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.tasks.question import checked_question
from sprint_sgl.tools.sources import Tools, checked_tools, toolbox_for
from sprint_sgl.trajectory import Call, Trajectory

LEAD_TOKENS, PROMPT_TOKENS, CHOICE_TOKENS = 200, 400, 8


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip())
def guided_program(
    s: ProgramState,
    question: str,
    max_stages: Count = 4,
    max_prompts: Count = 8,
    tries: Count = 2,
    grammar: bool = False,
    launch: Literal["eager", "barrier"] = "eager",
    prompt_style: StyleName = "instruct",
    seed: int | None = None,
    straggler: JoinPolicy | None = None,
    on_failure: Literal["raise", "mark"] = "raise",
    tools: Annotated[Tools, checked_tools] | None = None,
    parallel_tool_calls: bool = True,
    must_call: Annotated[Sequence[str], checked_names] = (),
    begun: Annotated[Trajectory, checked_begun] | None = None,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer the question; `s["answer"]` is the answer, `s.trajectory` the whole run.

    max_stages    the final answer is written in the last of them
    max_prompts   a plan is closed after so many
    tries         plans without a prompt, before the question is answered by one thought
    grammar       have the runtime rule out everything but plans, prompts and their tags; it needs a grammar backend and
                  leaves no room for "<", line ends, and prompts of more than 400 characters
    Other arguments are those of `sprint_program`.
    """
    question, style = checked_question(question), load_style(prompt_style)
    if not style.guided:
        raise BadInput(f"the prompt style {style.name} is for trained models: use the program sprint")
    with toolbox_for(tools) as box:
        launcher = Launcher(s, question, Clock(), seed, checked_policy(straggler), on_failure, watch, box, GUIDED_STOPS)
        told = protocol.describe_tools(style, box.listing) if box else ""
        told = f"\n{told}\n" if told else ""
        s += chat_turn(s, Template(style.parallel).substitute(question=question, tools=told))
        forced = forced_tools(box, must_call)
        run = GuidedRun(launcher, launch, parallel_tool_calls, max_prompts, forced, tries=tries, grammar=grammar)
        return run.answer(max_stages, begun)


class NothingPlanned(Exception):
    """The planner has handed nothing out; `calls` are its attempts."""

    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls


@dataclass
class GuidedRun(SprintRun):
    """A run in which the program writes the tags."""

    tries: int = 2
    grammar: bool = False

    def answer(self, max_stages: int, begun: Trajectory | None = None) -> Trajectory:
        try:
            return super().answer(max_stages, begun)
        except NothingPlanned as nothing:
            run = self.launcher
            set_context(self.s, opening_for(self.s, run.question, None))
            before = tuple(nothing.calls)
            return answer_in_one_thought(self.s, run.question, run.clock, run.watch, seed=run.seed, before=before)

    def plan(self, i: int) -> PlanDraft:
        """Return plan i, or the answer where the model chooses to give it. Raises NothingPlanned for an empty first
        plan."""
        spent: list[Call] = []
        before = self.s.text()
        if i > 1 and not self.forced:
            choice = self._write(f"choice_{i}", i, CHOICE_TOKENS, CHOICE_REGEX)
            set_context(self.s, before)
            spent = [choice.call] if choice else []
            if choice is None or choice.call.finish != PLAN_OPENING:
                return self._answer_after(spent, i)
        for _ in range(self.tries):
            self.append(protocol.open_plan(i), i)
            plan = PlanDraft(i, calls=list(spent))
            self.fill(plan)
            if plan.prompts:
                return plan
            spent = plan.calls
            set_context(self.s, before)
        if i == 1:
            raise NothingPlanned(spent)
        return self._answer_after(spent, i)

    def continue_plan(self, plan: PlanDraft) -> bool:
        """Let the model write up to a prompt, and the prompt; return whether the plan is finished."""
        i, j = plan.stage, len(plan.prompts) + 1
        lead = self._write(f"lead_{i}_{len(plan.calls)}", i, LEAD_TOKENS, LEAD_REGEX)
        if lead:
            plan.calls.append(lead.call)
        rambles = lead is not None and lead.truncated and j == 1
        if lead is None or not (lead.call.finish == PROMPT_OPENING or rambles):
            plan.tail = lead.text.strip() if lead else ""
            return self._close(i)
        before = self.s.text()
        self.append(f"{self._line_end()}{protocol.open_prompt(i, j)} ", i)
        task = self._write(f"prompt_{i}_{len(plan.calls)}", i, PROMPT_TOKENS, PROMPT_REGEX)
        if task:
            plan.calls.append(task.call)
        if task is None or not task.text.strip():
            set_context(self.s, before)
            return self._close(i)
        if task.truncated:
            self.repairs.append((("truncated", 1),))
        return self.close_prompt(plan, task.text, lead.text)

    def _write(self, name: str, stage: int, limit: int, regex: str) -> Generation | None:
        """Return what the model writes up to its next tag; None if the model's context is full."""
        set_call_options(self.s.stream_executor, sampling={"regex": regex} if self.grammar else {})
        try:
            return self.call_planner(name, stage, min(limit, token_limit(self.s)), GUIDED_STOPS)
        finally:
            set_call_options(self.s.stream_executor, sampling={})

    def _close(self, i: int) -> bool:
        """Close plan i, and return that it is finished."""
        self.append(f"{self._line_end()}{protocol.close_plan(i)}", i)
        return True

    def _line_end(self) -> str:
        return "" if self.s.text().endswith("\n") else "\n"

    def _answer_after(self, spent: list[Call], i: int) -> PlanDraft:
        answer = self.written_answer(i)
        answer.calls[:0] = spent
        return answer
