"""Arguments of programs, by their annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from sprint_sgl.errors import BadInput
from sprint_sgl.lang.arguments import Count, check_arguments

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]


def ours(
    samples: Count = 1, depth: Count | None = None, mode: Literal[1, 2] = 1, fast: bool = False, text: str = ""
) -> None: ...


def theirs(samples: Annotated[int, "how many"] = 1, other: Nothing = None) -> None: ...


def described(samples: Annotated[int, "how many"] = 1) -> None: ...


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"samples": 0}, "samples must be a whole number from 1"),
        ({"depth": "two"}, "depth must be a whole number from 1"),
        ({"mode": 3}, "mode must be one of 1, 2, got 3"),
        ({"fast": "yes"}, "fast must be true or false, got 'yes'"),
    ],
)
def test_a_value_that_an_annotation_rules_out_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_arguments(ours, values)


def test_what_an_annotation_allows_or_does_not_say_passes() -> None:
    check_arguments(ours, {"samples": 2, "depth": None, "mode": 2, "fast": True, "text": 5})
    check_arguments(described, {"samples": 0})
    check_arguments(theirs, {"samples": 0})  # its annotations cannot be resolved
