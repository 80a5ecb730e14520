"""Commands that run experiments and take Hydra overrides: bench, fleet, train, rl, curate, experiment."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from sprint_sgl.console import one_line_errors
from sprint_sgl.errors import BadInput
from sprint_sgl.validation import suggestion


@contextmanager
def _hydra_command(context: typer.Context, overrides: Sequence[str]) -> Iterator[None]:
    """Pass the overrides to the entry point that is called in the `with`, which reads them from sys.argv."""
    sys.argv = [f"sprint-sgl {context.info_name}", *overrides]
    with one_line_errors():
        yield


def _run_other_package(module: str, context: typer.Context, overrides: Sequence[str]) -> None:
    """Call the entry point of a package that sprint_sgl must not import."""
    with _hydra_command(context, overrides):
        importlib.import_module(module).main()


def _refuse_misspelt(context: typer.Context, commands: Sequence[str]) -> None:
    """End with one line if the first word is a misspelt subcommand."""
    word = context.args[0] if context.args else ""
    if "=" not in word and word not in commands and (near := suggestion(word, commands)):
        with one_line_errors():
            raise BadInput(f"no command {context.info_name} {word}{near}")


def bench(context: typer.Context) -> None:
    """Run methods on a benchmark task: accuracy, tokens, wall clock (Hydra overrides).

    [dim]sprint-sgl bench task=countdown task.problems=300 program=sprint against=[sequential] out=work/bench[/dim]
    """
    with _hydra_command(context, context.args):
        from sprint_sgl.bench.run import main

        main()


def fleet(context: typer.Context) -> None:
    """Estimate what many questions on many workers take: hours, money, what breaks first (Hydra overrides).

    [dim]sprint-sgl fleet path=trajectories.jsonl workers=64 questions=1000000 price=2[/dim]
    """
    with _hydra_command(context, context.args):
        from sprint_sgl.capacity.plan import main

        main()


def train(context: typer.Context) -> None:
    """Fine-tune with ms-swift (Hydra overrides). First inspect the rows (train check) and estimate costs (train cost).

    [dim]sprint-sgl train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint[/dim]
    [dim]sprint-sgl train check work/countdown/sprint.train.jsonl --model countdown-mini-sprint[/dim]
    [dim]sprint-sgl train cost recipe=paper machines.processes=8 device=a100_40gb[/dim]
    """
    _refuse_misspelt(context, ("check", "cost"))
    if context.args[:1] == ["check"]:
        importlib.import_module("training.check_rows").main(context.args[1:])
    elif context.args[:1] == ["cost"]:
        _run_other_package("training.estimate.cost", context, context.args[1:])
    else:
        _run_other_package("training.train", context, context.args)


def rl(context: typer.Context) -> None:
    """Train on rollouts of the model's own, for right answers on a short critical path (Hydra overrides).

    First estimate memory and hours: rl cost.

    [dim]sprint-sgl rl task=countdown task.split=train model=countdown-mini-sprint out=work/rl[/dim]
    [dim]sprint-sgl rl task=countdown task.split=train model=work/warm reward=outcome out=work/rl-outcome[/dim]
    [dim]sprint-sgl rl cost path=trajectories.jsonl machines.processes=4 workers=4[/dim]
    """
    _refuse_misspelt(context, ("cost",))
    if context.args[:1] == ["cost"]:
        _run_other_package("training.rl.cost", context, context.args[1:])
    else:
        _run_other_package("training.rl.run", context, context.args)


def curate(context: typer.Context) -> None:
    """Turn reasoning traces into SPRINT and RFT rows (Hydra overrides).

    [dim]sprint-sgl curate source.path=traces.jsonl out=work/curation[/dim]
    [dim]sprint-sgl curate source=openthoughts_math teacher=openai teacher.budget=50 dry_run=true[/dim]
    """
    _run_other_package("curation.pipeline", context, context.args)


def experiment(context: typer.Context) -> None:
    """Run several of these commands in a row, as listed in conf/experiment/NAME.yaml; finished steps are not repeated.

    [dim]sprint-sgl experiment experiment=self_training out=work/self[/dim]
    """
    with _hydra_command(context, context.args):
        from sprint_sgl.cli.experiment import main

        main()
