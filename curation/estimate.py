"""The estimate of a dry run: calls, tokens and dollars of the calls that no cached reply answers. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rich.table import Table

from curation.records import RawTrace, Rejection
from curation.stages import dag, extract
from curation.teacher.calls import Price, TeacherRequest
from curation.teacher.client import Teacher, TeacherConfig

# Tokens. Recorded GPT-4o replies have 500 to 1,100 tokens of components; a dictionary comes with its reasons.
EXTRACT_REPLY, DAG_REPLY = 900, 500


@dataclass(frozen=True)
class CallEstimate:
    """Calls of one stage to one model. A token counts as four characters."""

    stage: str
    model: str
    calls: int
    prompt_tokens: int
    reply_tokens: int
    price: Price | None

    @property
    def dollars(self) -> float | None:
        """Return the estimated cost, None without a price."""
        return self.price.dollars(self.prompt_tokens, self.reply_tokens) if self.price else None


async def estimate_calls(
    traces: Iterable[RawTrace], models: tuple[str, str], config: TeacherConfig
) -> list[CallEstimate]:
    """Return what is left to pay for these traces, for extract and for dag.

    While the components of a trace are unknown, its dag prompt is taken to be as long as its extract prompt.
    """
    deferring = replace(config, batch=True, budget=None)
    async with Teacher(deferring) as extractor, Teacher(deferring) as linker:
        for trace in traces:
            outcome = await extract.ask(trace, extractor, models[0])
            if not isinstance(outcome, Rejection):
                await dag.ask(outcome, linker, models[1])
        unanswered = extractor.deferred
        return [
            _sum_up("extract", models[0], unanswered, EXTRACT_REPLY, config),
            _sum_up("dag", models[1], chain(linker.deferred, unanswered), DAG_REPLY, config),
        ]


def _sum_up(
    stage: str, model: str, requests: Iterable[TeacherRequest], reply: int, config: TeacherConfig
) -> CallEstimate:
    calls = tokens = 0
    for request in requests:
        calls, tokens = calls + 1, tokens + request.prompt_tokens
    return CallEstimate(stage, model, calls, tokens, reply * calls, config.prices.get(model))


def estimate_table(estimates: Sequence[CallEstimate], discount: float) -> Table:
    """Return the estimates as a table, with the price in a batch."""
    shown = Table("stage", "model", title="Left to ask for (an estimate)", title_justify="left")
    for name in ("calls", "prompt tokens", "reply tokens", "dollars", "in a batch"):
        shown.add_column(name, justify="right")
    for line in estimates:
        dollars = ("unpriced",) * 2 if line.dollars is None else _prices(line.dollars, discount)
        counts = (line.calls, line.prompt_tokens, line.reply_tokens)
        shown.add_row(line.stage, line.model, *(f"{count:,}" for count in counts), *dollars)
    total = sum(line.dollars or 0.0 for line in estimates)
    shown.add_row("total", "", *[""] * 3, *_prices(total, discount), style="bold")
    return shown


def _prices(dollars: float, discount: float) -> tuple[str, str]:
    return f"{dollars:,.2f}", f"{dollars * (1 - discount):,.2f}"
