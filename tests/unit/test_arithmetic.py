"""Drills: every line is true, and written as the traces write it."""

import random
import re
from collections.abc import Callable

import pytest

from curation.countdown.drills import ITEMS, distance_drill, division_drill, drill
from curation.stages.reformat import Row


@pytest.mark.parametrize(("make", "items"), [(drill, ITEMS), (division_drill, 2 * ITEMS)])
def test_every_item_is_worked_out_and_true(make: Callable[[random.Random], Row], items: int) -> None:
    rng = random.Random(3)
    for _ in range(50):
        context, response = (message["content"] for message in make(rng)["messages"])
        tasks, worked = context.rstrip(".\n").split(", "), response.rstrip(".\n").split(", ")
        assert len(tasks) == len(worked) == items
        for task, line in zip(tasks, worked, strict=True):
            left, sign, right = re.fullmatch(r"(\d+)([-+*/])(\d+)", task).groups()  # type: ignore[union-attr]
            assert line.startswith(task)
            if line.endswith(" no"):
                assert int(left) % int(right)
            else:
                value = int(line.rpartition("=")[2])
                results = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
                assert value == results.get(sign, int(left) // int(right))


def test_a_distance_is_right_and_a_third_of_them_are_zero() -> None:
    rng, distances = random.Random(4), []
    for _ in range(50):
        _, response = (message["content"] for message in distance_drill(rng)["messages"])
        for item in response.rstrip(".\n").split(", "):
            value, wanted, distance = map(int, re.fullmatch(r"(\d+) to (\d+)=(\d+)", item).groups())  # type: ignore[union-attr]
            assert abs(value - wanted) == distance
            distances.append(distance)
    assert len(distances) == 50 * ITEMS
    assert 0.25 < distances.count(0) / len(distances) < 0.45


def test_the_same_seed_gives_the_same_drill() -> None:
    assert drill(random.Random(1)) == drill(random.Random(1)) != drill(random.Random(2))
