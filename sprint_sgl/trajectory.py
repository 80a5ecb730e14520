"""The nouns of a run: calls, prompts, executions, stages and the trajectory, with the figures derived from them.

All are frozen. Constructors strip surrounding whitespace from texts, so that rendering and parsing are exact
inverses. Counts are in tokens, times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

ExecutionStatus = Literal["ok", "truncated", "cancelled", "failed", "pending"]
Launch = Literal["eager", "barrier", "rounds", "sequential"]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
_SEPARATOR = re.compile(r"^[ \t]*-----[ \t]*\r?$", re.MULTILINE)


def _strip(value: object, *names: str) -> None:
    for name in names:
        object.__setattr__(value, name, getattr(value, name).strip())


@dataclass(frozen=True)
class Timing:
    """Seconds that a request spent inside the runtime, by the runtime's clock; the rest of a call's time is HTTP.

    Each phase ends where the next begins: `tokenising` from arrival until the scheduler has the request, `queue`
    until the first forward pass, `prefill` until the prompt is computed, `decode` until the last token, `reply`
    until the answer leaves.
    """

    tokenising: Seconds
    queue: Seconds
    prefill: Seconds
    decode: Seconds
    reply: Seconds

    @property
    def total(self) -> float:
        return self.tokenising + self.queue + self.prefill + self.decode + self.reply


@dataclass(frozen=True)
class Call:
    """One generation request, with the runtime's token counts, or one call of a tool, which has none.

    start, end   seconds since the run began
    finish       the stop string that ended the request, "length" for a token limit, "abort" if it was cut off,
                 "" if the model ended it
    retries      connections refused or reset before the one that served the request, or a tool's failed attempts
    timing       None if the runtime does not report it
    tool         the tool's name; "" for a call of the model
    """

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    completion_tokens: Count = 0
    start: Seconds = 0.0
    end: Seconds = 0.0
    finish: str = ""
    retries: int = 0
    timing: Timing | None = None
    tool: str = ""

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def uncached_prefill_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True)
class Prompt:
    """A task for one executor.

    lead     the plan's text between the previous prompt and this one
    offset   the planner's tokens in this stage up to the prompt's end (P_k in the paper, section 4.1)
    """

    text: str
    lead: str = ""
    offset: Count = 0

    def __post_init__(self) -> None:
        _strip(self, "text", "lead")
        if not self.text:
            raise ValueError("a prompt needs a text")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Execution:
    """The text of the executor, model or tool, of the prompt at the same position; `call` is None for parsed text.

    `rounds` are the calls behind the first one, of an executor that called tools within its text: by turns a tool and
    the model that goes on from its result.

    `status` is "truncated" if a token limit ended the text, "cancelled" if a straggler policy did, "failed" if there
    is no text or it is the error of a tool, "pending" if the client has yet to carry out the call.
    """

    text: str
    status: ExecutionStatus = "ok"
    call: Call | None = None
    rounds: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        _strip(self, "text")

    def __str__(self) -> str:
        return self.text

    @property
    def calls(self) -> tuple[Call, ...]:
        return (self.call, *self.rounds) if self.call else ()

    @property
    def tokens(self) -> int:
        return sum(call.completion_tokens for call in self.calls)

    @property
    def seconds(self) -> float:
        return sum(call.seconds for call in self.calls)


@dataclass(frozen=True)
class Stage:
    """One round: a plan (prompts with their leads, and `tail`, the text after the last prompt) and its executions."""

    prompts: tuple[Prompt, ...] = ()
    executions: tuple[Execution, ...] = ()
    tail: str = ""
    planner_calls: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        _strip(self, "tail")
        if len(self.prompts) != len(self.executions):
            raise ValueError(
                f"a stage needs one execution for each prompt, got {len(self.prompts)} prompts "
                f"and {len(self.executions)} executions; use Execution('', status='failed') for a missing one"
            )

    @property
    def plan(self) -> str:
        """The plan's text without its prompts."""
        pieces = [*(prompt.lead for prompt in self.prompts), self.tail]
        return "\n".join(piece for piece in pieces if piece)

    @property
    def is_pending(self) -> bool:
        """Whether an execution waits for a tool of the client."""
        return any(execution.status == "pending" for execution in self.executions)

    @property
    def steps(self) -> int:
        """Prompts, plus trains of thought without one; a `-----` line or a prompt ends a train of thought."""
        unprompted = [piece for prompt in self.prompts for piece in _split_trains(prompt.lead)[:-1]]
        return len(self.prompts) + sum(bool(piece) for piece in unprompted + _split_trains(self.tail))

    @property
    def plan_tokens(self) -> int:
        return sum(call.completion_tokens for call in self.planner_calls)

    @property
    def sequential_tokens_eager(self) -> int:
        """Eager launch, each executor starts at its prompt's end: max(plan length, max_k(P_k + E_k))."""
        branches = (p.offset + e.tokens for p, e in zip(self.prompts, self.executions, strict=True))
        return max(self.plan_tokens, *branches, 0)

    @property
    def sequential_tokens_barrier(self) -> int:
        """Barrier launch, all executors start when the plan is closed: plan length + max_k E_k."""
        return self.plan_tokens + max((e.tokens for e in self.executions), default=0)

    def critical_seconds(self, launch: Launch) -> float:
        """The critical path in seconds of calls: `sequential_tokens` with a call's duration for its tokens.

        Tools count too; what passes between the calls does not.
        """
        ends = list(accumulate(call.seconds for call in self.planner_calls))
        tokens = list(accumulate(call.completion_tokens for call in self.planner_calls))
        whole = ends[-1] if ends else 0.0
        branches = (
            (_end_of_prompt(prompt.offset, tokens, ends) if launch == "eager" else whole) + e.seconds
            for prompt, e in zip(self.prompts, self.executions, strict=True)
            if e.call
        )
        return max(whole, *branches, 0.0)

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.planner_calls + tuple(_flatten(e.calls for e in self.executions))


@dataclass(frozen=True)
class Trajectory:
    """All stages and the final answer of one run, with its repairs and its costs.

    thought            the text of a sequential run, which has no stages
    repairs            (kind, count) pairs, kinds as in `sprint_sgl.protocol.RepairKind`
    discarded_tokens   decoded tokens outside the text: cut by a repair, or of a cancelled branch
    seconds            wall clock of the whole run, from the first request to the last token
    launch             when the calls of a stage began: "eager" or "barrier" with a planner; "rounds" for a baseline
                       whose stages are calls side by side (samples, points, proposals); "sequential" for one thought
    beside             calls of another attempt that ran at the same time and was not used
    """

    question: str
    stages: tuple[Stage, ...] = ()
    final_answer: str = ""
    thought: str = ""
    answer_calls: tuple[Call, ...] = ()
    repairs: tuple[tuple[str, int], ...] = ()
    discarded_tokens: int = 0
    seconds: Seconds = 0.0
    launch: Launch = "eager"
    beside: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        _strip(self, "question", "final_answer", "thought")

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every request of the run: by stage, planner before executors, then the answer, then unused attempts."""
        return tuple(_flatten(stage.calls for stage in self.stages)) + self.answer_calls + self.beside

    @property
    def answer_tokens(self) -> int:
        return sum(call.completion_tokens for call in self.answer_calls)

    @property
    def has_planner(self) -> bool:
        """Whether the run has a planner; 'rounds' and 'sequential' have none."""
        return self.launch in ("eager", "barrier")

    @property
    def sequential_tokens(self) -> int:
        """Length of the critical path under the run's own launch, final answer included."""
        return self.sequential_tokens_eager if self.launch == "eager" else self.sequential_tokens_barrier

    @property
    def sequential_tokens_eager(self) -> int:
        """Length of the critical path under eager launch (paper, section 4.1), whatever the run's own launch."""
        return sum(stage.sequential_tokens_eager for stage in self.stages) + self.answer_tokens

    @property
    def sequential_tokens_barrier(self) -> int:
        """Length of the critical path under barrier launch, whatever the run's own launch."""
        return sum(stage.sequential_tokens_barrier for stage in self.stages) + self.answer_tokens

    @property
    def critical_seconds(self) -> float:
        """Seconds of the calls on the critical path under the run's own launch, tools and the final answer included."""
        stages = sum(stage.critical_seconds(self.launch) for stage in self.stages)
        return stages + sum(call.seconds for call in self.answer_calls)

    @property
    def is_pending(self) -> bool:
        """Whether the run waits for tools of the client: its last stage is then incomplete, and it has no answer."""
        return bool(self.stages) and self.stages[-1].is_pending

    @property
    def tool_calls(self) -> tuple[Call, ...]:
        return tuple(call for call in self.calls if call.tool)

    @property
    def tool_seconds(self) -> float:
        """Seconds of all calls of tools, side by side or not."""
        return sum(call.seconds for call in self.tool_calls)

    @property
    def total_tokens(self) -> int:
        """All decoded tokens, discarded text included, by the runtime's counts."""
        return sum(call.completion_tokens for call in self.calls)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all requests; a shared prefix counts once for each request."""
        return sum(call.prompt_tokens for call in self.calls)

    @property
    def cached_tokens(self) -> int:
        return sum(call.cached_tokens for call in self.calls)

    @property
    def uncached_prefill_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens

    @property
    def peak_context(self) -> int:
        """The most tokens that one request held, its prompt and what it wrote."""
        return max((call.prompt_tokens + call.completion_tokens for call in self.calls), default=0)

    @property
    def cached_share(self) -> float:
        """Share of all prompt tokens that the prefix cache served, in [0, 1]."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def cancelled_count(self) -> int:
        """How many executions a straggler policy ended."""
        return sum(execution.status == "cancelled" for stage in self.stages for execution in stage.executions)

    @property
    def truncated_count(self) -> int:
        """How many texts a token limit or the end of the model's context cut short."""
        found = dict(self.repairs)
        return found.get("truncated", 0) + found.get("context_full", 0)

    @property
    def parallelization_ratio(self) -> float:
        """Steps / stages (paper, section 3.2); steps without an execution count too."""
        return sum(stage.steps for stage in self.stages) / len(self.stages) if self.stages else 0.0

    @property
    def width(self) -> int:
        """The largest number of executors in one stage."""
        return max((len(stage.executions) for stage in self.stages), default=0)

    def to_dict(self) -> dict[str, Any]:
        """Return what `to_json` writes, as plain values."""
        row: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return row

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> Trajectory:
        """Inverse of `to_dict`. Raises pydantic.ValidationError, which names the wrong field."""
        return _ADAPTER.validate_python(row)

    def to_json(self, indent: int | None = None) -> str:
        return _ADAPTER.dump_json(self, indent=indent).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Trajectory:
        """Inverse of `to_json`. Raises pydantic.ValidationError, which names the wrong field."""
        return _ADAPTER.validate_json(text)


def _end_of_prompt(offset: int, tokens: list[int], ends: list[float]) -> float:
    """Return when the planner had written a prompt, by the tokens and the ends of its calls."""
    return next((end for written, end in zip(tokens, ends, strict=True) if written >= offset), 0.0)


def _split_trains(text: str) -> list[str]:
    """Return the stripped pieces between separator lines."""
    return [piece.strip() for piece in _SEPARATOR.split(text)]


def _flatten(groups: Iterable[tuple[Call, ...]]) -> Iterator[Call]:
    for group in groups:
        yield from group


_ADAPTER = TypeAdapter(Trajectory)


def error_detail(error: Exception) -> str:
    """Return one line about an error from reading a trajectory, with the field if the error has one."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    return f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
