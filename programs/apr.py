"""APR: the model spawns children, which see their own message, and join with what they found (Pan et al. 2025, section
3.1).

    <spawn_1> <child_1.1> message </child_1.1> .. </spawn_1>      the parent stops; all children start
        child: question, its message, its own work                nothing of the parent's thought
    <joined_1> <result_1.1> last line of its work </result_1.1>   the parent goes on

Contexts stay short: a child sees no trunk, and the parent reads one line for each child. It is the format of Table 1
whose price does not grow with what executors write.

Departures: there the parent writes everything that a child sees, here a child also has the question, which prompts of
all traces take for granted. There a child says what it returns in `join(...)`, here that is its last line. There
children may spawn; here, as in all programs, only the planner does. Tags are ours; the paper's are Python calls.
"""

from __future__ import annotations

from typing import Literal

from programs.sprint import run_format
from sprint_sgl import protocol
from sprint_sgl.lang.arguments import Count, StyleName
from sprint_sgl.lang.calls import Watch
from sprint_sgl.lang.defaults import MAX_STAGES
from sprint_sgl.lang.joining import JoinPolicy
from sprint_sgl.lang.program import program
from sprint_sgl.runtime.frontend import ProgramState
from sprint_sgl.trajectory import Trajectory


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip(), needs="apr")
def apr_program(
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
    return run_format(
        *(s, question, protocol.APR),
        max_stages=max_stages,
        prompt_style=prompt_style,
        seed=seed,
        straggler=straggler,
        on_failure=on_failure,
        max_prompts=max_prompts,
        watch=watch,
    )
