"""Write a trajectory as text: every tag, line end and stop string. `reading` is the inverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sprint_sgl.protocol.lexer import FINAL_ANSWER, escape_tags
from sprint_sgl.protocol.parser import NO_PROMPT
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory

SEPARATOR = "-----"
PLAN_OPENING = "<Plan_"  # how the tag begins, before its number
PROMPT_STOP, PLAN_STOP, BLOCK_STOP, EXECUTION_STOP = "</prompt_", "</Plan_", "</Execution_", "</execution_"
ANSWER_STOP = f"</{FINAL_ANSWER}>"
PLANNER_STOPS = (PROMPT_STOP, PLAN_STOP, BLOCK_STOP, ANSWER_STOP)
EXECUTOR_STOPS = (EXECUTION_STOP, BLOCK_STOP, PLAN_STOP, PROMPT_STOP, ANSWER_STOP)
STOPS = tuple(dict.fromkeys(PLANNER_STOPS + EXECUTOR_STOPS))


def render_dependencies(references: Sequence[tuple[int, int]]) -> str:
    """Return the line that opens a step which depends on earlier executions, given as (stage, prompt) numbers."""
    return f"Based on {', '.join(f'execution_{i}.{j}' for i, j in references)}:"


def planner_opening(question: str, style: PromptStyle, tools: str = "") -> str:
    """Return what the planner sees before its first token: instruction, tools if there are any, question, `<think>`."""
    told = f"{tools}\n\n" if tools else ""
    return f"{style.parallel}\n\n{told}{render_question(question)}\n\n<think>\n"


def describe_tools(style: PromptStyle, lines: str) -> str:
    """Return the list of tools in the planner's instruction, one a line; empty for a style that names none."""
    return f"{style.tools}\n{escape_tags(lines)}" if style.tools and lines else ""


def sequential_opening(question: str, style: PromptStyle) -> str:
    """Return what the sequential model sees before its first token."""
    return f"{style.sequential}\n\n{render_question(question)}\n\n<think>\n"


def render_question(question: str) -> str:
    return f"<Question>\n{escape_tags(question.strip())}\n</Question>"


def open_prompt(i: int, j: int) -> str:
    return f"<prompt_{i}.{j}>"


def close_prompt(i: int, j: int) -> str:
    """Return the closing tag with its line end, so that context and training rows are tokenized alike there."""
    return f"</prompt_{i}.{j}>\n"


def open_plan(i: int) -> str:
    return f"{PLAN_OPENING}{i}>\n"


def close_plan(i: int) -> str:
    return f"</Plan_{i}>\n\n"


def open_execution(i: int, j: int) -> str:
    """Return what stands between the closed plan and the first token of executor i.j."""
    return f"<Execution_{i}>\n<execution_{i}.{j}>\n"


def close_execution(i: int, j: int) -> str:
    return f"\n</execution_{i}.{j}>"


FINAL_ANSWER_OPEN = f"<{FINAL_ANSWER}>\n"
FINAL_ANSWER_CLOSE = f"{ANSWER_STOP}\n"
THOUGHT_CLOSE = "</think>"


def render_prompt(i: int, j: int, prompt: Prompt) -> str:
    lead = f"{escape_tags(prompt.lead)}\n" if prompt.lead else ""
    return f"{lead}{open_prompt(i, j)} {escape_tags(prompt.text)} {close_prompt(i, j)}"


def render_plan(i: int, prompts: Sequence[Prompt], tail: str = "") -> str:
    """Return plan i as the planner writes it, with both tags."""
    body = "".join(render_prompt(i, j, prompt) for j, prompt in enumerate(prompts, 1))
    end = f"{escape_tags(tail)}\n" if tail else ""
    return f"{open_plan(i)}{body}{end}{close_plan(i)}"


def render_executions(i: int, executions: Sequence[Execution]) -> str:
    """Return the sync of stage i: all executions in prompt order, as they enter the planner's context."""
    if not executions:
        return f"<Execution_{i}>\n{NO_PROMPT}\n</Execution_{i}>\n\n"
    return render_block(i, dict(enumerate(executions, 1))) + "\n"


def render_block(i: int, executions: Mapping[int, Execution]) -> str:
    """Return the executions of stage i that there are, by the numbers of their prompts."""
    blocks = (
        f"<execution_{i}.{j}>\n{escape_tags(execution.text)}{close_execution(i, j)}"
        for j, execution in executions.items()
    )
    return f"<Execution_{i}>\n" + "\n\n".join(blocks) + f"\n</Execution_{i}>\n"


def render_stage(i: int, stage: Stage) -> str:
    return render_plan(i, stage.prompts, stage.tail) + render_executions(i, stage.executions)


def render_final_answer(answer: str) -> str:
    return f"{FINAL_ANSWER_OPEN}{escape_tags(answer)}\n{FINAL_ANSWER_CLOSE}{THOUGHT_CLOSE}"


def render_stages(trajectory: Trajectory) -> str:
    return "".join(render_stage(i, stage) for i, stage in enumerate(trajectory.stages, 1))


def render(trajectory: Trajectory) -> str:
    """Return the whole trajectory as text; `parse` restores its question, stages, thought and answer.

    Measurements are not part of the text: calls, offsets, and whether an execution failed or was cut off.
    """
    if trajectory.thought:
        body = f"{escape_tags(trajectory.thought)}\n{THOUGHT_CLOSE}\n\n{escape_tags(trajectory.final_answer)}"
        return f"{render_question(trajectory.question)}\n\n<think>\n{body}"
    answer = render_final_answer(trajectory.final_answer)
    return f"{render_question(trajectory.question)}\n\n<think>\n{render_stages(trajectory)}{answer}"


def transcript(trajectory: Trajectory) -> str:
    """Return a run as a person reads it: `render`, or thought and answer if there are no stages."""
    thought = trajectory.thought
    return f"{thought}\n\n{trajectory.final_answer}" if thought else render(trajectory)
