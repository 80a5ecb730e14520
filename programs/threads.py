"""Threads: parallel blocks inside a thought, with an outline for each thread (ThreadWeaver and Multiverse, 2025).

    <Parallel_1> <Outline_1.1> what thread 1 does </Outline_1.1> <Outline_1.2> .. </Outline_1.2> </Parallel_1>
    <Threads_1>  <Thread_1.1> .. </Thread_1.1> <Thread_1.2> .. </Thread_1.2> </Threads_1>      the thought goes on

All threads start when the block of outlines is closed; a thread sees the thought and all outlines, and nothing of its
siblings. Their full texts come back, in order.

Departures: text before a block's outlines stands inside the block, as in SPRINT's plans; Multiverse asks for a summary
behind the threads, which is left to the model here, as in ThreadWeaver.
"""

from __future__ import annotations

from programs.sprint import format_program
from sprint_sgl import protocol

threads_program = format_program(protocol.THREADS)
