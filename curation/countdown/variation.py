"""Traces that differ in their plans: the start for reinforcement learning, which can only choose among what it samples.

The traces of `traces.py` have one plan for each size of problem. A model of them writes the same plan every time, and a
group of its rollouts has equal rewards. Here plans differ in the order and the number of their tasks, in whether a task
runs in a second round, and in whether hits are checked. All of them lead to the right answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from curation.countdown.traces import CHECK
from curation.trace import Step, Trace

FEWEST = 3  # tasks of a round that some were left out of
SECOND_ROUND = "No pair fits yet, try the others."


@dataclass
class Variation:
    """How often a trace differs from the plain one; each is a probability, by default 0.

    shuffle   the tasks of a round stand in another order
    thin      some tasks without a hit are left out
    split     one round becomes two: some tasks without a hit first
    skip      no hit is checked
    """

    shuffle: float = 0.0
    thin: float = 0.0
    split: float = 0.0
    skip: float = 0.0


@dataclass
class _Round:
    """Tasks side by side, and the text of the plan before them."""

    lead: str
    tasks: list[Step]


def vary(trace: Trace, rng: random.Random, variation: Variation) -> Trace:
    """Return the trace with another plan. A trace without a hit stays as it is."""
    checks = [step for step in trace.steps if step.prompt.startswith(CHECK)]
    if not checks:
        return trace
    attempts = trace.steps[: -len(checks)]
    rounds = list(_rounds(attempts))
    last = rounds[-1]
    spare = [task for task in last.tasks if not _is_hit(task)]
    if rng.random() < variation.thin and len(last.tasks) > FEWEST:
        fewest = max(FEWEST, len(last.tasks) - len(spare))
        left_out = rng.sample(spare, rng.randint(0, len(last.tasks) - fewest))
        last.tasks = [task for task in last.tasks if task not in left_out]
        spare = [task for task in spare if task not in left_out]
    if rng.random() < variation.split and len(rounds) == 1 and spare:
        first = rng.sample(spare, rng.randint(1, len(spare)))
        later = [task for task in last.tasks if task not in first]
        rounds = [_Round(last.lead, [task for task in last.tasks if task in first]), _Round(SECOND_ROUND, later)]
    if rng.random() < variation.shuffle:
        for each in rounds:
            rng.shuffle(each.tasks)
    steps, places = _joined(rounds)
    if rng.random() >= variation.skip:
        hits = [trace.steps[check.parents[0] - 1] for check in checks]
        steps += [replace(check, parents=(places[hit.prompt],)) for check, hit in zip(checks, hits, strict=True)]
    return replace(trace, steps=tuple(steps))


def _is_hit(step: Step) -> bool:
    return "\nSo " in step.execution


def _rounds(attempts: Sequence[Step]) -> Iterator[_Round]:
    """Yield the rounds of a trace. A step without an execution is the plan of a later round."""
    tasks: list[Step] = []
    lead = attempts[0].plan
    for step in attempts:
        if step.execution:
            tasks.append(replace(step, plan="", parents=()))
        else:
            yield _Round(lead, tasks)
            lead, tasks = step.plan, []
    yield _Round(lead, tasks)


def _joined(rounds: Sequence[_Round]) -> tuple[list[Step], dict[str, int]]:
    """Return the steps of the rounds and the number of each by its prompt.

    A later round needs all tasks of the round before.
    """
    steps: list[Step] = []
    places: dict[str, int] = {}
    before: tuple[int, ...] = ()
    for number, each in enumerate(rounds):
        if number:
            steps.append(Step(each.lead, parents=before))
        plan = len(steps)
        for place, task in enumerate(each.tasks):
            lead = each.lead if not number and not place else ""
            steps.append(replace(task, plan=lead, parents=(plan,) if number else ()))
            places[task.prompt] = len(steps)
        before = tuple(range(plan + 1, len(steps) + 1))
    return steps, places
