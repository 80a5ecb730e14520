"""What a run would ask for and pay: the calls that no cached reply answers, gathered and not sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rich.table import Table

from curation.stages import dag, extract
from curation.stages.base import Record, Rejection
from curation.teacher.calls import Price, Request
from curation.teacher.client import Teacher, TeacherConfig

# Recorded GPT-4o replies have 500 to 1,100 tokens of components; a dictionary comes with its reasons.
EXTRACT_REPLY, DAG_REPLY = 900, 500


@dataclass(frozen=True)
class Estimate:
    """Calls of one stage; a token is taken for four characters; no price, no dollars."""

    stage: str
    model: str
    calls: int
    prompt_tokens: int
    reply_tokens: int
    price: Price | None

    @property
    def dollars(self) -> float | None:
        return self.price.dollars(self.prompt_tokens, self.reply_tokens) if self.price else None


async def estimate(records: Iterable[Record], models: tuple[str, str], config: TeacherConfig) -> list[Estimate]:
    """What is left to pay for these records. Where the components are still unknown, the call about their
    dependencies is taken to be as long as the one that asks for them."""
    gather = replace(config, batch=True, budget=None)
    async with Teacher(gather) as extractor, Teacher(gather) as linker:
        for record in records:
            outcome = await extract.ask(record, extractor, models[0])
            if not isinstance(outcome, Rejection):
                await dag.ask(outcome, linker, models[1])
        unknown = extractor.pending
        lines = (
            ("extract", models[0], unknown, EXTRACT_REPLY),
            ("dag", models[1], chain(linker.pending, unknown), DAG_REPLY),
        )
        return [_line(stage, model, requests, reply, config) for stage, model, requests, reply in lines]


def _line(stage: str, model: str, requests: Iterable[Request], reply: int, config: TeacherConfig) -> Estimate:
    calls = tokens = 0
    for request in requests:
        calls, tokens = calls + 1, tokens + request.prompt_tokens
    return Estimate(stage, model, calls, tokens, reply * calls, config.prices.get(model))


def table(estimates: Sequence[Estimate], discount: float) -> Table:
    """The estimate for a person, with the price in a batch."""
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
