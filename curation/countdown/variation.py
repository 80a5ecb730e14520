"""Traces that differ in their plans: the start for reinforcement learning, which can only choose among what it samples.

The traces of `traces.py` have one plan for each size of problem. A model of them writes the same plan every time, and a
group of its rollouts has equal rewards. Here plans differ in the order and the number of their tasks, in whether a task
runs in a second round, and in whether a hit is checked. All of them lead to the right answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from curation.trace import Step, Trace

FEWEST = 3  # tasks of a round that some were left out of
SECOND_ROUND = "No pair fits yet, try the others."


@dataclass
class Variation:
    """How often a trace differs from the plain one; each is a probability, by default 0.

    shuffle   the tasks of a round stand in another order
    thin      some tasks without a hit are left out
    split     one round becomes two: some tasks without a hit first
    skip      the hit is not checked
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
    *attempts, check = trace.steps
    if not any(_is_hit(step) for step in attempts):
        return trace
    hit = trace.steps[check.parents[0] - 1]
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
    return replace(trace, steps=tuple(_joined(rounds, hit, None if rng.random() < variation.skip else check)))


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


def _joined(rounds: Sequence[_Round], hit: Step, check: Step | None) -> Iterator[Step]:
    """Yield the steps of the rounds with their parents: a later round needs all tasks of the round before."""
    count, before, found = 0, tuple[int, ...](), 0
    for number, each in enumerate(rounds):
        if number:
            count += 1
            yield Step(each.lead, parents=before)
        plan = count
        for place, task in enumerate(each.tasks):
            lead = each.lead if not number and not place else ""
            yield replace(task, plan=lead, parents=(plan,) if number else ())
            count += 1
            found = count if task.prompt == hit.prompt else found
        before = tuple(range(plan + 1, count + 1))
    if check:
        yield replace(check, parents=(found,))
