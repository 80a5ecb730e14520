"""Rows: the text of a trajectory, and of a trace in its own order."""

from itertools import islice

import pytest

from curation.countdown import write
from curation.pack import pack
from curation.reformat import RowFormat, rft_row, sprint_row
from curation.trace import Trace
from sprint_sgl import tags
from sprint_sgl.countdown import problems
from sprint_sgl.prompts import prompt_style
from sprint_sgl.rows import row_text

STYLE = prompt_style("mini")
TRACES = [trace for problem in islice(problems(4, 3), 12) if (trace := write(problem))]


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_both_formats_hold_the_rendered_trajectory_and_only_a_tree_is_marked(trace: Trace) -> None:
    trajectory = pack(trace).trajectory
    tree, transcript = (sprint_row(trajectory, STYLE, row_format) for row_format in RowFormat)
    assert row_text(tree) == row_text(transcript) == f"{STYLE.parallel}\n\n{tags.render(trajectory)}"
    assert tree.pop("channel") == "tree"
    assert tree == transcript


@pytest.mark.parametrize("trace", TRACES[:4], ids=lambda trace: trace.id)
def test_the_rft_row_is_the_trace_in_its_own_order(trace: Trace) -> None:
    context, response = (message["content"] for message in rft_row(trace, STYLE)["messages"])
    assert context == tags.sequential_opening(trace.question, STYLE)
    assert response == f"{trace.text}\n</think>\n\n{trace.answer}"
