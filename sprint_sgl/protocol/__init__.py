r"""The tag protocol: how a trajectory is written as text.

Layout, as released models write it, with its blank lines:

    <Question>           <think>                      <Execution_1>
    ...                  <Plan_1>                     <execution_1.1>
    </Question>          ...                          ...
                         <prompt_1.1> .. </prompt_1.1>    </execution_1.1>
                         </Plan_1>                    </Execution_1>

Further stages follow, then `<Final_answer>` and `</think>`. A stage without prompts has the line
`No prompt to execute.` in place of executions. `render` and `parse` are inverses: a tag that occurs in the text
of a trajectory is written escaped, with a backslash after its `<`, and read back without it.

rendering   trajectory to text
lexer       tags in a text, and escaping
parser      tags to `elements`, by the rules in `repairs`
model_output   elements to trajectories and plans
formats     other formats of parallel reasoning, spelled with tags of their own
patterns    regular expressions for text that is still being written
"""

from __future__ import annotations

from sprint_sgl.protocol.formats import APR, FORMATS, PASTA, SPRINT, THREADS, Format, format_named, in_sprints_tags
from sprint_sgl.protocol.lexer import FINAL_ANSWER, escape_tags, tag_texts, unescape_tags
from sprint_sgl.protocol.model_output import PlanText, parse, read_execution, read_plan
from sprint_sgl.protocol.patterns import PAGE_PATTERNS, PROMPT_PATTERN, TAG_PATTERN, open_execution_numbers
from sprint_sgl.protocol.rendering import (
    ANSWER_STOP,
    BLOCK_STOP,
    EXECUTOR_STOPS,
    FINAL_ANSWER_CLOSE,
    FINAL_ANSWER_OPEN,
    PLAN_STOP,
    PLANNER_STOPS,
    PROMPT_STOP,
    SEPARATOR,
    STOPS,
    THOUGHT_CLOSE,
    close_execution,
    close_plan,
    close_prompt,
    describe_tools,
    open_execution,
    open_plan,
    open_prompt,
    planner_opening,
    render,
    render_block,
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
    "ANSWER_STOP",
    "APR",
    "BLOCK_STOP",
    "EXECUTOR_STOPS",
    "FINAL_ANSWER",
    "FINAL_ANSWER_CLOSE",
    "FINAL_ANSWER_OPEN",
    "FORMATS",
    "PAGE_PATTERNS",
    "PASTA",
    "PLANNER_STOPS",
    "PLAN_STOP",
    "PROMPT_PATTERN",
    "PROMPT_STOP",
    "SEPARATOR",
    "SPRINT",
    "STOPS",
    "TAG_PATTERN",
    "THOUGHT_CLOSE",
    "THREADS",
    "Format",
    "PlanText",
    "RepairKind",
    "Repairs",
    "close_execution",
    "close_plan",
    "close_prompt",
    "describe_tools",
    "escape_tags",
    "format_named",
    "in_sprints_tags",
    "merge_repairs",
    "open_execution",
    "open_execution_numbers",
    "open_plan",
    "open_prompt",
    "parse",
    "planner_opening",
    "read_execution",
    "read_plan",
    "render",
    "render_block",
    "render_dependencies",
    "render_executions",
    "render_final_answer",
    "render_plan",
    "render_prompt",
    "render_question",
    "render_stage",
    "render_stages",
    "sequential_opening",
    "tag_texts",
    "transcript",
    "unescape_tags",
]
