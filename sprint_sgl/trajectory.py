"""The nouns: what one run of a planner and its executors is made of, and what follows from that.

Frozen values at the bottom of the package; everything else imports them. Texts carry no surrounding
whitespace (the constructors strip it), so that rendering and parsing are exact inverses.
Counts are in tokens, times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

ExecutionStatus = Literal["ok", "truncated", "cancelled", "failed"]
Launch = Literal["eager", "barrier", "rounds", "sequential"]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
_SEPARATOR = re.compile(r"^[ \t]*-----[ \t]*\r?$", re.MULTILINE)


def _strip(value: object, *names: str) -> None:
    for name in names:
        object.__setattr__(value, name, getattr(value, name).strip())


@dataclass(frozen=True)
class Timing:
    """Seconds of a request inside the runtime, by the runtime's own stamps; what is left of a call is HTTP.

    `tokenising` runs from its arrival until it is handed to the scheduler, `queue` until its first forward pass,
    `prefill` until its prompt is computed, `decode` until its last token, `reply` until the answer leaves.
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
    """One generation request, as the runtime accounted for it.

    `start` and `end` are seconds since the run began. `finish` is the stop string that ended the
    request, "length" where a token limit did, "abort" where it was cut off, "" where the model ended it.
    `retries` counts connections that were refused or reset before this one. `timing` is there if the runtime tells it.
    """

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    completion_tokens: Count = 0
    start: Seconds = 0.0
    end: Seconds = 0.0
    finish: str = ""
    retries: int = 0
    timing: Timing | None = None

    @property
    def uncached_prefill_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True)
class Prompt:
    """A task for one executor. `lead` is the plan's text between the previous prompt and this one.

    `offset` is P_k of the paper's section 4.1: the planner's tokens in this stage up to the prompt's end.
    """

    text: str
    lead: str = ""
    offset: int = 0

    def __post_init__(self) -> None:
        _strip(self, "text", "lead")
        if not self.text:
            raise ValueError("a prompt needs a text")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Execution:
    """What one executor wrote for the prompt of the same position; `call` is None for parsed text.

    `status` is "truncated" where a token limit ended it, "cancelled" where a straggler policy did, "failed" where there
    is no text.
    """

    text: str
    status: ExecutionStatus = "ok"
    call: Call | None = None

    def __post_init__(self) -> None:
        _strip(self, "text")

    def __str__(self) -> str:
        return self.text

    @property
    def tokens(self) -> int:
        return self.call.completion_tokens if self.call else 0


@dataclass(frozen=True)
class Stage:
    """One round: a plan (leads, prompts and `tail`, the text after the last prompt) and its executions."""

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
    def steps(self) -> int:
        """The prompts, and the trains of thought without one: a `-----` line or a prompt ends a train of thought."""
        without = [piece for prompt in self.prompts for piece in _split_trains(prompt.lead)[:-1]] + _split_trains(
            self.tail
        )
        return len(self.prompts) + sum(bool(piece) for piece in without)

    @property
    def plan_tokens(self) -> int:
        return sum(call.completion_tokens for call in self.planner_calls)

    @property
    def sequential_tokens_eager(self) -> int:
        """max(plan length, max_k(P_k + E_k)): eager launch, each executor starts at its prompt's end."""
        branches = (p.offset + e.tokens for p, e in zip(self.prompts, self.executions, strict=True))
        return max(self.plan_tokens, *branches, 0)

    @property
    def sequential_tokens_barrier(self) -> int:
        """plan length + max_k E_k: barrier launch, all executors start when the plan is closed."""
        return self.plan_tokens + max((e.tokens for e in self.executions), default=0)

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.planner_calls + tuple(e.call for e in self.executions if e.call)


@dataclass(frozen=True)
class Trajectory:
    """All stages and the final answer of one run, with its repairs and its bill.

    `repairs` holds (kind, count) pairs; the kinds are those of `sprint_sgl.protocol.rendering.RepairKind`.
    `beside` holds the calls of another attempt that ran at the same time and was not used.
    `discarded_tokens` were decoded but are not part of the text (cut by a repair or a cancelled branch).
    `seconds` is the wall clock of the whole run, from the first request to the last token.
    A sequential baseline is a trajectory without stages: its thought is `thought`.
    `launch` says what the run was and when the calls of a stage began: "eager" or "barrier" with a planner, "rounds"
    where a baseline keeps what ran side by side (samples, points, proposals) as stages, "sequential" for one thought.
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
        """Every request of the run, stage by stage, planner before executors, the answer and unused attempts last."""
        return tuple(_flatten(stage.calls for stage in self.stages)) + self.answer_calls + self.beside

    @property
    def answer_tokens(self) -> int:
        return sum(call.completion_tokens for call in self.answer_calls)

    @property
    def planned(self) -> bool:
        """Whether a planner made the run: rounds of a baseline and a sequential thought have none."""
        return self.launch in ("eager", "barrier")

    @property
    def sequential_tokens(self) -> int:
        """Length of the run's critical path under the launch that it had, final answer included."""
        return self.sequential_tokens_eager if self.launch == "eager" else self.sequential_tokens_barrier

    @property
    def sequential_tokens_eager(self) -> int:
        """Length of the critical path under eager launch (paper, section 4.1), whatever the run had."""
        return sum(stage.sequential_tokens_eager for stage in self.stages) + self.answer_tokens

    @property
    def sequential_tokens_barrier(self) -> int:
        """Length of the critical path under barrier launch, whatever the run had."""
        return sum(stage.sequential_tokens_barrier for stage in self.stages) + self.answer_tokens

    @property
    def total_tokens(self) -> int:
        """Everything that was decoded, discarded text too: the runtime's own completion counts."""
        return sum(call.completion_tokens for call in self.calls)

    @property
    def prompt_tokens(self) -> int:
        """What all requests began with, the shared beginning counted for each of them."""
        return sum(call.prompt_tokens for call in self.calls)

    @property
    def cached_tokens(self) -> int:
        return sum(call.cached_tokens for call in self.calls)

    @property
    def uncached_prefill_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens

    @property
    def cached_share(self) -> float:
        """Share of all prompt tokens that came from the prefix cache, 0 to 1."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def cut_off(self) -> int:
        """Executions that a straggler policy has ended."""
        return sum(execution.status == "cancelled" for stage in self.stages for execution in stage.executions)

    @property
    def cuts(self) -> int:
        """How many texts a token limit or the end of the model's context has cut short."""
        found = dict(self.repairs)
        return found.get("truncated", 0) + found.get("context_full", 0)

    @property
    def parallelization_ratio(self) -> float:
        """#steps / #stages (paper, section 3.2); those without an execution count too."""
        return sum(stage.steps for stage in self.stages) / len(self.stages) if self.stages else 0.0

    @property
    def width(self) -> int:
        """The largest number of executors that ran side by side."""
        return max((len(stage.executions) for stage in self.stages), default=0)

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as plain values."""
        row: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return row

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> Trajectory:
        """The inverse of `to_dict`. Raises pydantic.ValidationError, naming the field that is wrong."""
        return _ADAPTER.validate_python(row)

    def to_json(self, indent: int | None = None) -> str:
        return _ADAPTER.dump_json(self, indent=indent).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Trajectory:
        """The inverse of `to_json`. Raises pydantic.ValidationError, naming the field that is wrong."""
        return _ADAPTER.validate_json(text)


def _split_trains(text: str) -> list[str]:
    """The pieces between separator lines, stripped."""
    return [piece.strip() for piece in _SEPARATOR.split(text)]


def _flatten(groups: Iterable[tuple[Call, ...]]) -> Iterator[Call]:
    for group in groups:
        yield from group


_ADAPTER = TypeAdapter(Trajectory)


def error_detail(error: Exception) -> str:
    """What is wrong with a trajectory that was read, in one line: the field, where there is one."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
    return f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
