"""A trajectory as text: every tag, line end and stop string that is written; `reading` reads it back."""

from __future__ import annotations

from collections.abc import Sequence

from sprint_sgl.protocol.lexer import escape_tags
from sprint_sgl.protocol.parser import NO_PROMPT
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

SEPARATOR = "-----"
PLANNER_STOPS = ("</prompt_", "</Plan_", "</Execution_", "</Final_answer>")
EXECUTOR_STOPS = ("</execution_", "</Execution_", "</Plan_", "</prompt_", "</Final_answer>")
STOPS = tuple(dict.fromkeys(PLANNER_STOPS + EXECUTOR_STOPS))


def render_dependencies(references: Sequence[tuple[int, int]]) -> str:
    """The line that opens a step which depends on earlier executions, given as (stage, prompt) numbers."""
    return f"Based on {', '.join(f'execution_{i}.{j}' for i, j in references)}:"


def planner_opening(question: str, style: PromptStyle) -> str:
    """What the planner sees before its first token: instruction, question, the opened thought."""
    return f"{style.parallel}\n\n{render_question(question)}\n\n<think>\n"


def sequential_opening(question: str, style: PromptStyle) -> str:
    """The same for the sequential model."""
    return f"{style.sequential}\n\n{render_question(question)}\n\n<think>\n"


def render_question(question: str) -> str:
    return f"<Question>\n{escape_tags(question.strip())}\n</Question>"


def open_prompt(i: int, j: int) -> str:
    return f"<prompt_{i}.{j}>"


def close_prompt(i: int, j: int) -> str:
    """Closes a prompt, line end included: the runtime's context and the training row break tokens alike there."""
    return f"</prompt_{i}.{j}>\n"


def open_plan(i: int) -> str:
    return f"<Plan_{i}>\n"


def close_plan(i: int) -> str:
    return f"</Plan_{i}>\n\n"


def open_execution(i: int, j: int) -> str:
    """What follows a closed plan in the context of executor i.j, up to its first own token."""
    return f"<Execution_{i}>\n<execution_{i}.{j}>\n"


def close_execution(i: int, j: int) -> str:
    return f"\n</execution_{i}.{j}>"


FINAL_ANSWER_OPEN = "<Final_answer>\n"
FINAL_ANSWER_CLOSE = "</Final_answer>\n"
THOUGHT_CLOSE = "</think>"


def render_prompt(i: int, j: int, prompt: Prompt) -> str:
    lead = f"{escape_tags(prompt.lead)}\n" if prompt.lead else ""
    return f"{lead}{open_prompt(i, j)} {escape_tags(prompt.text)} {close_prompt(i, j)}"


def render_plan(i: int, prompts: Sequence[Prompt], tail: str = "") -> str:
    """Plan i as the planner writes it, both tags included."""
    body = "".join(render_prompt(i, j, prompt) for j, prompt in enumerate(prompts, 1))
    end = f"{escape_tags(tail)}\n" if tail else ""
    return f"{open_plan(i)}{body}{end}{close_plan(i)}"


def render_executions(i: int, executions: Sequence[Execution]) -> str:
    """The sync of stage i: all its executions in prompt order, as they enter the context."""
    if not executions:
        return f"<Execution_{i}>\n{NO_PROMPT}\n</Execution_{i}>\n\n"
    blocks = (
        f"<execution_{i}.{j}>\n{escape_tags(execution.text)}{close_execution(i, j)}"
        for j, execution in enumerate(executions, 1)
    )
    return f"<Execution_{i}>\n" + "\n\n".join(blocks) + f"\n</Execution_{i}>\n\n"


def render_stage(i: int, stage: Stage) -> str:
    return render_plan(i, stage.prompts, stage.tail) + render_executions(i, stage.executions)


def render_final_answer(answer: str) -> str:
    return f"{FINAL_ANSWER_OPEN}{escape_tags(answer)}\n{FINAL_ANSWER_CLOSE}{THOUGHT_CLOSE}"


def executor_context(i: int, snapshot: str, j: int) -> str:
    """What executor i.j sees: the planner's context up to the end of its prompt, the plan closed, its place opened.

    Departs from training on `transcript` rows in one way (paper, appendix A.1): earlier siblings are not there.
    """
    return snapshot + close_plan(i) + open_execution(i, j)


def render_stages(trajectory: Trajectory) -> str:
    return "".join(render_stage(i, stage) for i, stage in enumerate(trajectory.stages, 1))


def render(trajectory: Trajectory) -> str:
    """The whole trajectory as text; parse(render(t)) gives t's question, stages, thought and answer back.

    What a run has measured is no text: calls, offsets, and whether an execution failed or was cut off.
    """
    if trajectory.thought:
        body = f"{escape_tags(trajectory.thought)}\n{THOUGHT_CLOSE}\n\n{escape_tags(trajectory.final_answer)}"
        return f"{render_question(trajectory.question)}\n\n<think>\n{body}"
    answer = render_final_answer(trajectory.final_answer)
    return f"{render_question(trajectory.question)}\n\n<think>\n{render_stages(trajectory)}{answer}"


def transcript(trajectory: Trajectory) -> str:
    """A run as a person reads it: rendered, or without stages its thought and its answer."""
    thought = trajectory.thought
    return f"{thought}\n\n{trajectory.final_answer}" if thought else render(trajectory)
