"""Threads: parallel blocks inside a thought, with an outline for each thread (ThreadWeaver and Multiverse, 2025).

    <Parallel_1> <Outline_1.1> what thread 1 does </Outline_1.1> <Outline_1.2> .. </Outline_1.2> </Parallel_1>
    <Threads_1>  <Thread_1.1> .. </Thread_1.1> <Thread_1.2> .. </Thread_1.2> </Threads_1>      the thought goes on

All threads start when the block of outlines is closed; a thread sees the thought and all outlines, and nothing of its
siblings. Their full texts come back, in order.

Departures: text before a block's outlines stands inside the block, as in SPRINT's plans; Multiverse asks for a summary
behind the threads, which is left to the model here, as in ThreadWeaver.
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


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip(), needs="threads")
def threads_program(
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
        *(s, question, protocol.THREADS),
        max_stages=max_stages,
        prompt_style=prompt_style,
        seed=seed,
        straggler=straggler,
        on_failure=on_failure,
        max_prompts=max_prompts,
        watch=watch,
    )
