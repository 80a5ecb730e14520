"""Answers one question with SPRINT, shown as it is written, and with the sequential baseline for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from sprint_sgl.console import say
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.lang.calls import Branch, model_note
from sprint_sgl.lang.program import Run
from sprint_sgl.lang.registry import misfit, named_method
from sprint_sgl.protocol.prompts import prompt_style as load_style
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.tasks.countdown.checker import Verdict, countdown_problem, verdict_on
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view.terminal import make_view


@dataclass(frozen=True)
class SolveOptions:
    """Options of a run; None takes the value of conf/program. `baseline` is the model of a sequential run, if any."""

    baseline: str | None = None
    prompt_style: str | None = None
    launch: str | None = None
    temperature: float | None = None
    max_stages: int | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    tools: Sequence[str] = ()

    @property
    def guided(self) -> bool:
        """Whether the prompt style is one of models that were never trained on the protocol."""
        return self.prompt_style is not None and load_style(self.prompt_style).guided


def solve(question: str, options: SolveOptions, endpoint: Endpoint, console: Console | None) -> list[MethodAnswer]:
    """Return SPRINT's answer, shown on the console if there is one, and the baseline's answer if options name it."""
    say_if_unfit(endpoint, options)
    if not countdown_problem(question):
        say_scope(endpoint)
    if console:
        say_notation(endpoint)
    endpoint.warm_up()
    answers = [MethodAnswer.of("SPRINT", run_sprint(question, options, console, endpoint))]
    if options.baseline:
        endpoint.load_weights(options.baseline)
        endpoint.warm_up()
        with console.status("the sequential model, for comparison") if console else nullcontext():
            method = named_method("sequential")
            run = method.program.run(
                question,
                prompt_style=options.prompt_style,
                seed=options.seed,
                temperature=method.choose_temperature(options.temperature),
                backend=endpoint,
            )
        answers.append(MethodAnswer.of("sequential", run))
    return answers


def say_if_unfit(endpoint: Endpoint, options: SolveOptions) -> None:
    """Say that the model was not trained for SPRINT, if its notes say so or the style is one of such models."""
    if options.guided:
        say("the model is not fine-tuned for SPRINT: the program writes the tags of its plans", style="yellow")
    elif line := misfit(named_method("sprint"), endpoint):
        say(line, style="yellow")


def say_scope(endpoint: Endpoint) -> None:
    """Say what the model knows, if it knows one thing only."""
    if scope := model_note(endpoint, "scope"):
        say(f"this model knows {scope}, and nothing else", style="yellow")


def say_notation(endpoint: Endpoint) -> None:
    """Explain how the model writes, if it has ways of its own."""
    if notation := model_note(endpoint, "notation"):
        say(notation, style="dim")


@dataclass(frozen=True)
class MethodAnswer:
    """A method's answer and its trajectory; `verdict` is None unless the question is a Countdown problem."""

    method: str
    answer: str
    trajectory: Trajectory
    verdict: Verdict | None

    @staticmethod
    def of(method: str, run: Run) -> MethodAnswer:
        verdict = verdict_on(run.trajectory.question, run["answer"])
        return MethodAnswer(method, run["answer"], run.trajectory, verdict)

    def __str__(self) -> str:
        if self.verdict is None:
            return f"{self.method}: {self.answer}"
        return f"{self.method}: {self.answer}, {'right' if self.verdict.correct else f'wrong: {self.verdict.reason}'}"


def judge_answer(question: str, final: str) -> Verdict | None:
    """Return the verdict on a final answer; None unless the question is a Countdown problem."""
    return verdict_on(question, read_answer(final))


def run_sprint(question: str, options: SolveOptions, console: Console | None, endpoint: Endpoint) -> Run:
    """Return the ended run, shown stage by stage on the console if there is one. Raises what stopped it."""
    method = named_method("sprint_guided" if options.guided else "sprint")
    arguments: dict[str, Any] = {
        "max_stages": options.max_stages,
        "launch": options.launch,
        "prompt_style": options.prompt_style,
    }
    with make_view(console, partial(judge_answer, question)) if console else nullcontext() as view:

        def watch(branch: Branch, text: str) -> None:
            if view:
                view.write(branch.stage, branch.prompt, text)

        run = method.program.run(
            question,
            **{name: value for name, value in arguments.items() if value is not None},
            seed=options.seed,
            tools=options.tools or None,
            watch=watch if view else None,
            temperature=method.choose_temperature(options.temperature),
            max_new_tokens=options.max_new_tokens,
            stream=view is not None,
            backend=endpoint,
        )
        _ = run.trajectory  # waits for the end
    return run
