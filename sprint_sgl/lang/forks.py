"""Forks of a program: several calls side by side, each with a context and a seed of its own, all ended for good."""

from __future__ import annotations

from collections.abc import Sequence

from sprint_sgl.lang.calls import Branch, Clock, Watch, Written, check_room, collect, finish, pump, submit
from sprint_sgl.lang.straggler import abort, finished
from sprint_sgl.runtime.context_tokens import Tokenized
from sprint_sgl.runtime.frontend import ProgramState, ProgramStateGroup
from sprint_sgl.trajectory import Execution, Prompt, Stage


def fan_out(
    s: ProgramState,
    stage: int,
    contexts: Sequence[str],
    clock: Clock,
    *,
    stops: Sequence[str] = (),
    max_tokens: int | None = None,
    seed: int | None = None,
    watch: Watch | None = None,
    logprobs: bool = False,
) -> list[Written]:
    """One call a context, all at once; what was written, in their order.

    Raises ProgramFailed with the branch, and ContextFull.
    """
    forks: list[ProgramStateGroup] = []
    names = [f"branch_{stage}.{j}" for j in range(1, len(contexts) + 1)]
    try:
        for j, (name, context) in enumerate(zip(names, contexts, strict=True), 1):
            forks.append(branch(s, stage, j, context, seed))
            forks[-1][0].stream_executor.return_logprob = logprobs
            submit(forks[-1][0], name, stops, max_tokens)
        branches = [Branch(stage, j) for j in range(1, len(contexts) + 1)]
        pumps = [pump(f[0], n, b, watch) for f, n, b in zip(forks, names, branches, strict=True)] if watch else []
        written = [collect(f[0], n, b, clock) for f, n, b in zip(forks, names, branches, strict=True)]
        for pumping in pumps:
            pumping.join()
        check_room(written)
        return written
    finally:
        end(forks)


def branch(s: ProgramState, stage: int, prompt: int, context: str, seed: int | None) -> ProgramStateGroup:
    """A fork with that text as its context, a name that it can be aborted by, and a seed of its own."""
    if note_missing_cache := getattr(s.stream_executor.backend, "note_missing_cache", None):
        note_missing_cache()
    group = s.fork(1)
    executor = group[0].stream_executor
    executor.text_ = context
    executor.tokenized = getattr(s.stream_executor, "tokenized", Tokenized())
    executor.request_id = f"{executor.sid}-{stage}.{prompt}."  # SGLang aborts by prefix: 1.1 is not 1.10
    executor.sampling_seed = branch_seed(seed, stage, prompt)
    return group


def end(groups: Sequence[ProgramStateGroup]) -> None:
    """Ends forks for good: one that is left would keep its thread, and the process, alive."""
    for group in groups:
        if not finished(group):
            abort(group)
        finish(group[0].stream_executor)


def branch_seed(seed: int | None, stage: int, prompt: int) -> int | None:
    """Another seed for each branch, so that siblings with alike prompts do not draw alike."""
    return None if seed is None else (seed * 1_000_003 + stage * 1009 + prompt) % 2**31


def barrier_stage(prompts: Sequence[str], written: Sequence[Written], planner: Sequence[Written] = ()) -> Stage:
    """A stage of the accounting: calls that all began when `planner`'s calls, if any, had ended."""
    offset = sum(each.call.completion_tokens for each in planner)
    return Stage(
        tuple(Prompt(text, offset=offset) for text in prompts),
        tuple(Execution(each.text, "truncated" if each.cut else "ok", each.call) for each in written),
        planner_calls=tuple(each.call for each in planner),
    )


def cut_off(written: Sequence[Written]) -> tuple[tuple[str, int], ...]:
    """The repairs of calls that a token limit cut off."""
    count = sum(each.cut for each in written)
    return (("truncated", count),) if count else ()
