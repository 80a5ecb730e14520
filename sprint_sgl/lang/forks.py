"""Forks of a program: several calls side by side, each with a context and a seed of its own, all ended for good."""

from __future__ import annotations

from collections.abc import Sequence

from sprint_sgl.lang.calls import Branch, Clock, Generation, Watch, check_room, collect, start_forwarding, submit
from sprint_sgl.runtime.executor import abort_calls, backend_of, end_executor, fork_state, has_ended
from sprint_sgl.runtime.frontend import ProgramState
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
) -> list[Generation]:
    """Return one generation for each context, in their order; all run at once.

    Raises ProgramFailed with the branch, and ContextFull.
    """
    forks: list[ProgramState] = []
    branches = [Branch(stage, j) for j in range(1, len(contexts) + 1)]
    names = [f"branch_{stage}.{branch.prompt}" for branch in branches]
    try:
        for branch, name, context in zip(branches, names, contexts, strict=True):
            forks.append(start_fork(s, branch, context, seed, logprobs=logprobs))
            submit(forks[-1], name, stops, max_tokens)
        started = list(zip(forks, names, branches, strict=True))
        forwarding = [start_forwarding(*each, watch) for each in started] if watch else []
        generations = [collect(*each, clock) for each in started]
        for thread in forwarding:
            thread.join()
        check_room(generations)
        return generations
    finally:
        end_forks(forks)


def start_fork(
    s: ProgramState, branch: Branch, context: str, seed: int | None, *, logprobs: bool = False
) -> ProgramState:
    """Return a fork that continues `context`, can be aborted by name, and derives a seed of its own."""
    if warn_without_cache := getattr(backend_of(s), "warn_without_cache", None):
        warn_without_cache()
    stage, prompt = branch.stage, branch.prompt or 0
    return fork_state(s, f"{stage}.{prompt}", context, branch_seed(seed, stage, prompt), logprobs)


def end_forks(forks: Sequence[ProgramState]) -> None:
    """End forks for good: a fork that is left keeps its thread, and so the process, alive."""
    for fork in forks:
        if not has_ended(fork):
            abort_calls(fork)
        end_executor(fork)


def branch_seed(seed: int | None, stage: int, prompt: int) -> int | None:
    """Return a seed of the branch's own, so that siblings with similar prompts do not draw alike."""
    return None if seed is None else (seed * 1_000_003 + stage * 1009 + prompt) % 2**31


def barrier_stage(
    prompts: Sequence[str], generations: Sequence[Generation], planner: Sequence[Generation] = ()
) -> Stage:
    """Return a stage of calls that all began when `planner`'s calls, if any, had ended."""
    offset = sum(each.call.completion_tokens for each in planner)
    return Stage(
        tuple(Prompt(text, offset=offset) for text in prompts),
        tuple(Execution(each.text, "truncated" if each.truncated else "ok", each.call) for each in generations),
        planner_calls=tuple(each.call for each in planner),
    )


def truncation_repairs(generations: Sequence[Generation]) -> tuple[tuple[str, int], ...]:
    """Return the count of truncated generations as repairs."""
    count = sum(each.truncated for each in generations)
    return (("truncated", count),) if count else ()
