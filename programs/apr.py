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

from programs.sprint import format_program
from sprint_sgl import protocol

apr_program = format_program(protocol.APR)
