"""One generation call of a program: submit it, wait for it, account for it, name the branch if it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from sprint_sgl import protocol
from sprint_sgl.errors import ContextFull, ProgramFailed, RequestFailed
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE, PromptStyle
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime.chat_template import user_turn
from sprint_sgl.runtime.frontend import ProgramState, StreamExecutor, sgl
from sprint_sgl.storage.checkpoints import model_notes
from sprint_sgl.trajectory import Call, Timing

ERROR_LIMIT = 5.0  # seconds


def prompt(name: str, beside: str = __file__) -> Template:
    """Return the text prompts/NAME.txt in the folder of the file `beside`, such as tree_of_thoughts/propose."""
    return Template((Path(beside).parent / "prompts" / f"{name}.txt").read_text())


CHAT = prompt("chat")


@dataclass(frozen=True)
class Branch:
    """Who writes: the planner of a stage, or the executor of one of its prompts."""

    stage: int
    prompt: int | None = None

    def __str__(self) -> str:
        return f"planner, stage {self.stage}" if self.prompt is None else f"executor {self.stage}.{self.prompt}"


Watch = Callable[[Branch, str], None]


@dataclass(frozen=True)
class Written:
    """A finished call: its text with the stop string cut off, and its accounting."""

    text: str
    call: Call
    logprob: float | None = None  # mean over its tokens, where the call asked for it

    @property
    def cut(self) -> bool:
        """Whether a token limit ended it, or somebody else."""
        return self.call.finish in ("length", "abort")


class Clock:
    """Seconds since the run began, on the clock that the backends stamp their calls with."""

    def __init__(self) -> None:
        self.zero = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self.zero


def submit(state: ProgramState, name: str, stops: Sequence[str], max_new_tokens: int | None = None) -> None:
    """Starts a generation in the state's own thread."""
    state += sgl.gen(name, stop=list(stops), max_tokens=max_new_tokens)


def collect(state: ProgramState, name: str, branch: Branch, clock: Clock, watch: Watch | None = None) -> Written:
    """Waits for the call of that name. Raises ProgramFailed with the branch if it failed.

    A call that had no room in the model's context has written nothing, whether its runtime cuts prompts off or refuses
    them; `check_room` tells.
    """
    if watch:
        _forward(state, name, branch, watch)
    error = _error(state, name)
    if isinstance(error, ContextFull):
        now = round(clock.now(), 6)
        return Written("", Call(start=now, end=now, finish="length"))
    if error:
        raise ProgramFailed(str(branch), error) from error
    meta = state.get_meta_info(name)
    return Written(state[name], account(meta, clock), _mean_logprob(meta))


def _mean_logprob(meta: dict[str, Any]) -> float | None:
    found = [entry[0] for entry in meta.get("output_token_logprobs") or () if entry[0] is not None]
    return sum(found) / len(found) if found else None


def call(
    state: ProgramState,
    name: str,
    branch: Branch,
    clock: Clock,
    watch: Watch | None = None,
    *,
    stops: Sequence[str] = (),
    max_tokens: int | None = None,
    seed: int | None = None,
) -> Written:
    """One generation at the end of the state's text, from its start to its end. Raises ProgramFailed, ContextFull."""
    state.stream_executor.sampling_seed = seed
    submit(state, name, stops, max_tokens)
    written = collect(state, name, branch, clock, watch)
    check_room([written])
    return written


def check_room(written: Sequence[Written]) -> None:
    """Raises ContextFull where no call had room for a token."""
    if written and all(each.call.finish == "length" and not each.call.completion_tokens for each in written):
        raise ContextFull("the prompt fills the model's context: shorten it, or serve a model with a longer one")


def _error(state: ProgramState, name: str) -> BaseException | None:
    """What stopped the call. SGLang lets a waiting caller go a moment before it keeps the error."""
    if error := state.error():
        return error  # type: ignore[no-any-return]
    if name in state and (state.get_meta_info(name) or {}).get("finish_reason"):
        return None
    state.stream_executor.worker.join(ERROR_LIMIT)
    return state.error() or RequestFailed("the call ended without a reason")


def finish(executor: StreamExecutor) -> None:
    """Ends the executor for good.

    SGLang's finaliser would end it again, wherever the garbage collector happens to run: in a thread that is just being
    started it waits for a lock that this thread holds, and the program hangs.
    """
    executor.end()
    executor.end = _nothing


def _nothing() -> None:
    pass


def pump(state: ProgramState, name: str, branch: Branch, watch: Watch) -> threading.Thread:
    """Hands the call's text to the watcher from a thread of its own, which ends with the text."""
    thread = threading.Thread(target=_forward, args=(state, name, branch, watch), daemon=True)
    thread.start()
    return thread


def _forward(state: ProgramState, name: str, branch: Branch, watch: Watch) -> None:
    seen = 0
    if state.stream_executor.stream:
        for chunk in ProgramState.text_iter(state, name):
            seen += len(chunk)
            watch(branch, chunk)
    state.stream_executor.variable_event[name].wait()
    if name in state and (rest := state[name][seen:]):  # SGLang's stream may end before its text does
        watch(branch, rest)


def note(backend: Any, name: str) -> Any:
    """What a backend says of how its model is used; SGLang's own say nothing, so that the model's folder is asked."""
    if hasattr(backend, name):
        return getattr(backend, name)
    notes = model_notes(model) if (model := model_of(backend)) else {}
    return notes.get("prompt_style" if name == "trained_style" else name)


def model_of(backend: Any) -> str | None:
    """Return the path or name of a backend's model; None where it knows none."""
    try:
        return str(backend.get_model_name())
    except NotImplementedError:
        return None


def style_for(state: ProgramState, name: str | None) -> PromptStyle:
    """The prompt style of that name, or the one that the runtime's model was trained with."""
    return load_style(name or note(state.stream_executor.backend, "prompt_style") or DEFAULT_PROMPT_STYLE)


def opening_for(state: ProgramState, question: str, prompt_style: str | None) -> str:
    """What a question in one go begins with: as the runtime's model was trained, else a turn of its chat format."""
    style = prompt_style or note(state.stream_executor.backend, "trained_style")
    if style:
        return protocol.sequential_opening(question, load_style(style))
    return chat(state, CHAT.substitute(question=question))


def chat(state: ProgramState, user: str, begun: str = "") -> str:
    """A user's turn and the begun answer, as the chat template of the runtime's model has them.

    Where that is not on this machine, as SGLang guesses them from the model's name.
    """
    backend = state.stream_executor.backend
    if (model := model_of(backend)) and (turn := user_turn(model, user)) is not None:
        return turn + begun
    template = backend.get_chat_template()
    (before, after), (answer, _) = (template.get_prefix_and_suffix(role, []) for role in ("user", "assistant"))
    return f"{before}{user}{after}{answer}{begun}"


def account(meta: dict[str, Any], clock: Clock) -> Call:
    """The runtime's accounting of a call, in our words."""
    reason = meta.get("finish_reason") or {}
    matched = reason.get("matched", "")
    finish = {"length": "length", "abort": "abort"}.get(
        reason.get("type", ""), matched if isinstance(matched, str) else ""
    )
    end = meta.get("end", time.perf_counter())
    start = meta.get("start", end - meta.get("e2e_latency", 0.0))
    return Call(
        prompt_tokens=meta.get("prompt_tokens", 0),  # an abort in the queue has none
        cached_tokens=meta.get("cached_tokens", 0),
        completion_tokens=meta.get("completion_tokens", 0),
        start=round(start - clock.zero, 6),
        end=round(end - clock.zero, 6),
        finish=finish,
        retries=meta.get("retries", 0),
        timing=_timing(meta),
    )


STAMPS = (
    "request_received_ts",
    "api_server_dispatch_finish_ts",
    "forward_entry_time",
    "prefill_finished_time",
    "request_finished_ts",
    "response_sent_to_client_ts",
)


def _timing(meta: dict[str, Any]) -> Timing | None:
    """What a runtime with `enable-metrics` says of a request; None of one that it did not run."""
    if not all(name in meta for name in STAMPS):
        return None
    stamps = [float(meta[name]) for name in STAMPS]
    return Timing(*(round(max(later - earlier, 0.0), 6) for earlier, later in pairwise(stamps)))
