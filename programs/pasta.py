"""PASTA: promises with a topic and a length are kept asynchronously, and synchronised before the model goes on (Jin et
al. 2025, section 3).

    <promises_1> <promise_1.1> topic, ~200 characters </promise_1.1>      starts at once, beside the writer
                 <promise_1.2> ..                      </promise_1.2> </promises_1>
    <sync_1> <async_1.1> its text </async_1.1> <async_1.2> .. </async_1.2> </sync_1>

A promise sees the text up to itself, and the full texts of all promises enter the context.

Departures: the paper's interpreter reserves a promise's positions by its predicted length, so that the writer's later
tokens keep their positions and nothing is computed again at the sync. A stock engine numbers positions without gaps:
here the texts are prefilled at the sync, each once, at their true places (`uncached_prefill_tokens` has the price), and
the predicted length is for the reader alone. Tags are ours; in the paper a promise is one tag with attributes.
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


@program(answer_after=protocol.FINAL_ANSWER_OPEN.strip(), needs="pasta")
def pasta_program(
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
        *(s, question, protocol.PASTA),
        max_stages=max_stages,
        prompt_style=prompt_style,
        seed=seed,
        straggler=straggler,
        on_failure=on_failure,
        max_prompts=max_prompts,
        watch=watch,
    )
