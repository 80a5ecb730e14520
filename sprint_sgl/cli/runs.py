"""Commands that run experiments, each an entry point of Hydra: bench, fleet, train, curate, experiment."""

from __future__ import annotations

import importlib
import sys

import typer

from sprint_sgl.console import one_line_errors


def _experiment(module: str, context: typer.Context) -> None:
    """Hands everything after the command's name to Hydra."""
    sys.argv = [f"sprint-sgl {context.info_name}", *context.args]
    with one_line_errors():
        importlib.import_module(module).main()


def bench(context: typer.Context) -> None:
    """Run methods on a benchmark task: accuracy, tokens, wall clock (Hydra overrides).

    [dim]sprint-sgl bench task=countdown task.problems=300 program=sprint against=[sequential] out=work/bench[/dim]
    """
    _experiment("sprint_sgl.bench.run", context)


def fleet(context: typer.Context) -> None:
    """What many questions on many workers will take: hours, money, what breaks first (Hydra overrides).

    [dim]sprint-sgl fleet path=trajectories.jsonl workers=64 questions=1000000 price=2[/dim]
    """
    _experiment("sprint_sgl.capacity.plan", context)


def train(context: typer.Context) -> None:
    """Fine-tune with ms-swift (Hydra overrides). Before: look at rows (train check), ask what it needs (train cost).

    [dim]sprint-sgl train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint[/dim]
    [dim]sprint-sgl train check work/countdown/sprint.train.jsonl --model countdown-mini-sprint[/dim]
    [dim]sprint-sgl train cost recipe=paper machines.processes=8 device=a100_40gb[/dim]
    """
    if context.args[:1] == ["check"]:
        importlib.import_module("training.check").main(context.args[1:])
    elif context.args[:1] == ["cost"]:
        context.args.pop(0)
        _experiment("training.estimate.cost", context)
    else:
        _experiment("training.train", context)


def curate(context: typer.Context) -> None:
    """Turn reasoning traces into SPRINT and RFT rows (Hydra overrides).

    [dim]sprint-sgl curate source.path=traces.jsonl out=work/curation[/dim]
    [dim]sprint-sgl curate source=openthoughts_math teacher=openai teacher.budget=50 dry_run=true[/dim]
    """
    _experiment("curation.pipeline", context)


def experiment(context: typer.Context) -> None:
    """Run several of these in a row, as conf/experiment/NAME.yaml lists them; what is done is not done again.

    [dim]sprint-sgl experiment experiment=self_training out=work/self[/dim]
    """
    _experiment("sprint_sgl.cli.experiment", context)
