r"""The tag protocol: the one place that knows how a trajectory is written down.

Layout (the one that released models write, blank lines included):

    <Question>           <think>                      <Execution_1>
    ...                  <Plan_1>                     <execution_1.1>
    </Question>          ...                          ...
                         <prompt_1.1> .. </prompt_1.1>    </execution_1.1>
                         </Plan_1>                    </Execution_1>

then further stages, `<Final_answer>` and `</think>`; a stage without prompts has the line
`No prompt to execute.` for its executions. `render` and `parse` are inverses: text inside a trajectory that
looks like a tag of ours is written neutralised, with a backslash after its `<`, and read back without it.
`rendering` writes; `lexer` finds tags, `parser` and `reading` read what models write, by the rules in `repairs`.
"""

from __future__ import annotations

from sprint_sgl.protocol.lexer import escape_tags, unescape_tags
from sprint_sgl.protocol.reading import PlanText, parse, read_execution, read_plan
from sprint_sgl.protocol.rendering import (
    EXECUTOR_STOPS,
    FINAL_ANSWER_CLOSE,
    FINAL_ANSWER_OPEN,
    PLANNER_STOPS,
    SEPARATOR,
    STOPS,
    THOUGHT_CLOSE,
    close_execution,
    close_plan,
    close_prompt,
    executor_context,
    open_execution,
    open_plan,
    open_prompt,
    planner_opening,
    render,
    render_dependencies,
    render_executions,
    render_final_answer,
    render_plan,
    render_prompt,
    render_question,
    render_stage,
    render_stages,
    sequential_opening,
    transcript,
)
from sprint_sgl.protocol.repairs import RepairKind, Repairs, merge_repairs

__all__ = [
    "EXECUTOR_STOPS",
    "FINAL_ANSWER_CLOSE",
    "FINAL_ANSWER_OPEN",
    "PLANNER_STOPS",
    "SEPARATOR",
    "STOPS",
    "THOUGHT_CLOSE",
    "PlanText",
    "RepairKind",
    "Repairs",
    "close_execution",
    "close_plan",
    "close_prompt",
    "escape_tags",
    "executor_context",
    "merge_repairs",
    "open_execution",
    "open_plan",
    "open_prompt",
    "parse",
    "planner_opening",
    "read_execution",
    "read_plan",
    "render",
    "render_dependencies",
    "render_executions",
    "render_final_answer",
    "render_plan",
    "render_prompt",
    "render_question",
    "render_stage",
    "render_stages",
    "sequential_opening",
    "transcript",
    "unescape_tags",
]
