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
from sprint_sgl.errors import BadInput, ContextFull, ProgramFailed
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE, PromptStyle
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime.chat_template import user_turn
from sprint_sgl.runtime.executor import backend_of, call_error, call_pieces, ended_by_itself, set_call_options
from sprint_sgl.runtime.frontend import ProgramState, sgl
from sprint_sgl.storage.checkpoints import model_notes
from sprint_sgl.trajectory import Call, Timing


def load_prompt(name: str, beside: str = __file__) -> Template:
    """Return the text prompts/NAME.txt in the folder of the file `beside`, such as tree_of_thoughts/propose."""
    return Template((Path(beside).parent / "prompts" / f"{name}.txt").read_text())


CHAT = load_prompt("chat")
RESULTS = ("answer", "trajectory")  # of a run; reading one waits for its end


@dataclass(frozen=True)
class Branch:
    """Who writes: the planner of a stage, or the executor of one of its prompts."""

    stage: int
    prompt: int | None = None

    def __str__(self) -> str:
        return f"planner, stage {self.stage}" if self.prompt is None else f"executor {self.stage}.{self.prompt}"


Watch = Callable[[Branch, str], None]


@dataclass(frozen=True)
class Generation:
    """A finished call: its text without the stop string, and its accounting."""

    text: str
    call: Call
    logprob: float | None = None  # mean over its tokens, if the call asked for it

    @property
    def truncated(self) -> bool:
        """Whether a token limit or an abort ended it."""
        return self.call.finish in ("length", "abort")


class Clock:
    """Seconds since the run began, on the clock that the backends stamp their calls with."""

    def __init__(self) -> None:
        self.zero = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self.zero


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
) -> Generation:
    """Generate at the end of the state's text and wait for the result. Raises ProgramFailed, ContextFull."""
    set_call_options(state.stream_executor, seed=seed)
    submit(state, name, stops, max_tokens)
    generation = collect(state, name, branch, clock, watch)
    check_room([generation])
    return generation


def submit(state: ProgramState, name: str, stops: Sequence[str], max_new_tokens: int | None = None) -> None:
    """Start a generation in the state's own thread. Raises BadInput for a name that the run's result has."""
    if name in RESULTS:
        raise BadInput(f"a call cannot be named {name!r}, which is the run's own result: give it another name")
    state += sgl.gen(name, stop=list(stops), max_tokens=max_new_tokens)


def collect(state: ProgramState, name: str, branch: Branch, clock: Clock, watch: Watch | None = None) -> Generation:
    """Wait for the call of that name and return its result. Raises ProgramFailed with the branch if it failed.

    A call that had no room in the model's context comes back empty, whether its runtime truncates prompts or refuses
    them; `check_room` raises for it.
    """
    if watch:
        _forward(state, name, branch, watch)
    error = call_error(state, name)
    if isinstance(error, ContextFull):
        now = round(clock.now(), 6)
        return Generation("", Call(start=now, end=now, finish="length"))
    if error:
        raise ProgramFailed(str(branch), error) from error
    meta = state.get_meta_info(name)
    return Generation(state[name], accounting(meta, clock), _mean_logprob(meta))


def check_room(generations: Sequence[Generation]) -> None:
    """Raise ContextFull if no call had room for a token."""
    if generations and all(each.call.finish == "length" and not each.call.completion_tokens for each in generations):
        raise ContextFull("the prompt fills the model's context: shorten it, or serve a model with a longer one")


def start_forwarding(state: ProgramState, name: str, branch: Branch, watch: Watch) -> threading.Thread:
    """Hand the call's text to the watcher as it appears, from a thread that ends with the text.

    An empty text tells the watcher that the call has ended by itself: it was not cut off and has not failed.
    """

    def forward() -> None:
        _forward(state, name, branch, watch)
        if ended_by_itself(state, name):
            watch(branch, "")

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    return thread


def _forward(state: ProgramState, name: str, branch: Branch, watch: Watch) -> None:
    for piece in call_pieces(state, name):
        watch(branch, piece)


def model_note(backend: Any, name: str) -> Any:
    """Return a setting that the model ships with (sprint.json): the backend's, if it knows it, else the folder's."""
    if hasattr(backend, name):
        return getattr(backend, name)
    notes = model_notes(model) if (model := model_name(backend)) else {}
    return notes.get("prompt_style" if name == "trained_style" else name)


def model_name(backend: Any) -> str | None:
    """Return the path or name of a backend's model; None if the backend knows none."""
    try:
        return str(backend.get_model_name())
    except NotImplementedError:
        return None


def style_for(state: ProgramState, name: str | None) -> PromptStyle:
    """Return the prompt style of that name, or the style that the runtime's model was trained with."""
    return load_style(name or model_note(backend_of(state), "prompt_style") or DEFAULT_PROMPT_STYLE)


def opening_for(state: ProgramState, question: str, prompt_style: str | None) -> str:
    """Return the beginning of one whole thought: as the runtime's model was trained, else a turn of its chat format."""
    style = prompt_style or model_note(backend_of(state), "trained_style")
    if style:
        return protocol.sequential_opening(question, load_style(style))
    return chat_turn(state, CHAT.substitute(question=question))


def chat_turn(state: ProgramState, user: str, begun: str = "") -> str:
    """Return a user's message and the beginning of the answer in the chat template of the runtime's model.

    If the template is not on this machine, SGLang's guess from the model's name is used.
    """
    backend = backend_of(state)
    if (model := model_name(backend)) and (turn := user_turn(model, user)) is not None:
        return turn + begun
    template = backend.get_chat_template()
    (before, after), (answer, _) = (template.get_prefix_and_suffix(role, []) for role in ("user", "assistant"))
    return f"{before}{user}{after}{answer}{begun}"


def accounting(meta: dict[str, Any], clock: Clock) -> Call:
    """Return the runtime's accounting of a call as a Call."""
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


def _mean_logprob(meta: dict[str, Any]) -> float | None:
    found = [entry[0] for entry in meta.get("output_token_logprobs") or () if entry[0] is not None]
    return sum(found) / len(found) if found else None


STAMPS = (
    "request_received_ts",
    "api_server_dispatch_finish_ts",
    "forward_entry_time",
    "prefill_finished_time",
    "request_finished_ts",
    "response_sent_to_client_ts",
)


def _timing(meta: dict[str, Any]) -> Timing | None:
    """Return the stamps of a runtime with `enable-metrics`; None for a request that did not run."""
    if not all(name in meta for name in STAMPS):
        return None
    stamps = [float(meta[name]) for name in STAMPS]
    return Timing(*(round(max(later - earlier, 0.0), 6) for earlier, later in pairwise(stamps)))
