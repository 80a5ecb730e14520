"""The runtimes for GPUs, resolved by SGLang itself under pretended cards, and what a started one says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from programs import sprint_program
from sprint_sgl.runtime.launcher import launch
from sprint_sgl.runtime.resolved_args import changed_arguments, ignores_seeds, lacks_prefix_cache
from sprint_sgl.runtime.server import runtime_config, server_arguments

ROOT = Path(__file__).parents[2]
SEVEN_B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 131072,
}
# Each runtime on the cards that it is for, and the attention backend that is meant.
MEANT = [
    ("a100", "a100_40gb", "triton"),
    ("a100", "a100_80gb", "triton"),
    ("a100_seeded", "a100_40gb", "triton"),
    ("a100x2", "a100_80gb", "triton"),
    ("h100", "h100", "fa3"),
    ("l40s", "l40s", "triton"),
    ("rtx4090", "rtx4090", "triton"),
]
# Of warnings, those that change nothing: the last comes whatever was asked.
MEANS_NOTHING = ("deprecated", "torchcodec", "not supported on current platform", "Sampling backend is set to pytorch")


@pytest.fixture(scope="module")
def resolutions(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """By runtime and card. One process imports SGLang for all of them."""
    model = tmp_path_factory.mktemp("seven")
    (model / "config.json").write_text(json.dumps(SEVEN_B))
    cases = [(card, server_arguments(runtime_config(name), str(model), "127.0.0.1", 30000)) for name, card, _ in MEANT]
    flawed = server_arguments(runtime_config("a100_seeded"), str(model), "127.0.0.1", 30000)
    flawed[flawed.index("--attention-backend") + 1] = "flashinfer"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.pretended_gpu"],
        input=json.dumps([*cases, ("a100_40gb", flawed)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    keys = [(name, card) for name, card, _ in MEANT]
    return dict(zip([*keys, ("flawed", "a100_40gb")], found, strict=True))


@pytest.mark.runtime
@pytest.mark.parametrize(("name", "card", "backend"), MEANT)
def test_a_gpu_runtime_is_what_it_is_meant_to_be(
    resolutions: dict[tuple[str, str], dict[str, Any]], name: str, card: str, backend: str
) -> None:
    found = resolutions[name, card]
    assert "refused" not in found, found
    assert found["disable_radix_cache"] is False
    assert found["attention_backend"] == backend
    assert found["disable_overlap_schedule"] is False
    assert found["graphs_up_to"] >= found["max_running_requests"] > 0
    assert 0.6 < found["mem_fraction_static"] < 0.95
    assert [said for said in found["warnings"] if not any(word in said for word in MEANS_NOTHING)] == []


@pytest.mark.runtime
def test_a_runtime_that_loses_its_radix_cache_would_be_found(
    resolutions: dict[tuple[str, str], dict[str, Any]],
) -> None:
    found = resolutions["flawed", "a100_40gb"]
    assert found["disable_radix_cache"] is True
    assert any("radix cache is not compatible" in said for said in found["warnings"])


def test_arguments_that_sglang_has_changed_are_named() -> None:
    info = {"chunked_prefill_size": 4096, "watchdog_timeout": 3600.0, "attention_backend": "triton"}
    asked = {"chunked-prefill-size": 8192, "watchdog-timeout": 3600, "attention-backend": "triton", "api-key": "k"}
    assert changed_arguments(asked, info) == ["asked for chunked-prefill-size=8192, SGLang has made it 4096"]
    assert changed_arguments({}, {"disable_radix_cache": True}) == ["SGLang keeps no radix cache"]
    assert not changed_arguments({"disable-radix-cache": True}, {"disable_radix_cache": True})
    assert not changed_arguments({"enable-metrics": "true", "sizes": [1]}, {"enable_metrics": True, "sizes": ["1"]})
    assert lacks_prefix_cache({"disable_radix_cache": True})
    assert not lacks_prefix_cache({})


def test_a_runtime_without_deterministic_inference_ignores_seeds() -> None:
    assert ignores_seeds({"enable_deterministic_inference": False})
    assert not ignores_seeds({"enable_deterministic_inference": True})
    assert not ignores_seeds({})  # a gateway does not say


@pytest.mark.runtime
def test_a_runtime_without_a_radix_cache_is_named_once_by_a_program_that_forks(
    sglang_imported: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with launch(disable_radix_cache=True):
        assert "SGLang keeps" not in capfd.readouterr().err
        for _ in range(2):
            sprint_program.run("Use 3, 7, and 12 to make 22", temperature=0, max_new_tokens=64)
    assert capfd.readouterr().err.count("runs without a radix cache: every fork computes its whole context again") == 1
