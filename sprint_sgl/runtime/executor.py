"""SGLang's StreamExecutor, which carries out a program's calls in a thread of its own.

This file alone knows its inside; `CallOptions` is the one attribute that we add to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sprint_sgl.errors import RequestFailed, SprintError
from sprint_sgl.runtime.frontend import ProgramState, StreamExecutor
from sprint_sgl.runtime.prefix_reuse import TokenizedContext

ERROR_LIMIT = 5.0  # seconds


@dataclass(frozen=True)
class CallOptions:
    """Options of an executor's calls that SGLang's sampling parameters lack.

    branch       the executor's place, such as "1.3" for stage 1 and prompt 3; "" for a program's own calls
    request_id   the name under which the calls can be aborted; None gives each call a name of its own
    seed         honoured by runtimes with deterministic inference
    logprobs     whether the reply has the log-probabilities of its tokens
    sampling     more sampling parameters, by SGLang's names
    tokenized    the beginning of the context in the tokens of earlier replies
    """

    branch: str = ""
    request_id: str | None = None
    seed: int | None = None
    logprobs: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    tokenized: TokenizedContext = field(default_factory=TokenizedContext)


@dataclass
class ExecutorStandIn:
    """What a backend reads of a StreamExecutor, for a backend that hands a changed call on to another one."""

    text_: str
    call_options: CallOptions


def call_options(executor: StreamExecutor) -> CallOptions:
    return getattr(executor, "call_options", None) or CallOptions()


def set_call_options(executor: StreamExecutor, **changes: Any) -> None:
    """Replace some of the executor's options and keep the others."""
    executor.call_options = replace(call_options(executor), **changes)


def context_of(executor: StreamExecutor) -> str:
    """Return the text that the executor's next call continues."""
    return executor.text_  # type: ignore[no-any-return]


def set_context(state: ProgramState, text: str) -> None:
    state.stream_executor.text_ = text


def backend_of(state: ProgramState) -> Any:
    return state.stream_executor.backend


def set_backend(state: ProgramState, backend: Any) -> None:
    """Send the state's later calls to another backend."""
    state.stream_executor.backend = backend


def token_limit(state: ProgramState) -> int:
    """Return how many tokens a call may write that sets no limit of its own."""
    return state.stream_executor.default_sampling_para.max_new_tokens  # type: ignore[no-any-return]


def request_name(executor: StreamExecutor, label: str) -> str:
    """Return a request id that starts no other label's: SGLang aborts by prefix, and 1.1 must not abort 1.10."""
    return f"{executor.sid}-{label}."


def fork_state(state: ProgramState, branch: str, context: str, seed: int | None, logprobs: bool) -> ProgramState:
    """Return a state that continues `context` in a thread of its own and can be aborted."""
    fork = state.fork(1)[0]
    executor = fork.stream_executor
    set_context(fork, context)
    executor.call_options = CallOptions(
        branch=branch,
        request_id=request_name(executor, branch),
        seed=seed,
        logprobs=logprobs,
        tokenized=call_options(state.stream_executor).tokenized,
    )
    return fork


def call_pieces(state: ProgramState, name: str) -> Iterator[str]:
    """Yield the text of a call as it is written; in one piece, at its end, where the state does not stream."""
    seen = 0
    if state.stream_executor.stream:
        for piece in ProgramState.text_iter(state, name):
            seen += len(piece)
            if piece:
                yield piece
    state.stream_executor.variable_event[name].wait()
    if name in state and (rest := state[name][seen:]):  # SGLang's stream may end before its text does
        yield rest


def call_error(state: ProgramState, name: str) -> BaseException | None:
    """Wait for a call and return what stopped it; None if it ended by itself."""
    if error := state.error():
        return error  # type: ignore[no-any-return]
    if name in state and (state.get_meta_info(name) or {}).get("finish_reason"):
        return None
    state.stream_executor.worker.join(ERROR_LIMIT)  # SGLang wakes who waits a moment before it keeps the error
    return state.error() or RequestFailed("the call ended without a reason")


def ended_by_itself(state: ProgramState, name: str) -> bool:
    """Wait for a call and tell whether the model ended it, at a stop string or with its last token."""
    reason = (state.get_meta_info(name) or {}).get("finish_reason") if name in state else None
    return reason is not None and reason["type"] == "stop"


def wait_for_calls(state: ProgramState, since: float) -> float:
    """Wait for all calls of the state; return when the last of them ended, on the perf_counter clock.

    That is the backend's own stamp where there is one after `since`.
    """
    executor = state.stream_executor
    for event in list(executor.variable_event.values()):
        event.wait()
    now = time.perf_counter()
    stamps = [meta.get("end", now) for meta in executor.meta_info.values() if meta]
    return max((stamp for stamp in stamps if stamp > since), default=now)


def has_ended(state: ProgramState) -> bool:
    """Whether all calls of the state have ended or failed."""
    return all(event.is_set() for event in state.stream_executor.variable_event.values())


def abort_calls(state: ProgramState) -> None:
    """Abort the state's call if the backend can. A call that has ended is not an error."""
    executor = state.stream_executor
    if abort := getattr(executor.backend, "abort", None):
        with suppress(SprintError):
            abort(call_options(executor).request_id)


def end_executor(state: ProgramState) -> None:
    """End the state's executor for good.

    SGLang's finaliser would end it again, wherever the garbage collector happens to run: in a thread that is just being
    started it waits for a lock that this thread holds, and the program hangs.
    """
    state.stream_executor.end()
    state.stream_executor.end = _do_nothing


def _do_nothing() -> None:
    pass
