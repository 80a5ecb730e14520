"""The measurements, each a function from the setting to figures by name. benchmarks/gpu/run.py runs them."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench_fork import fork_seconds
from benchmarks.bench_gateway import figures
from benchmarks.bench_prefix import measured as recorded_requests
from benchmarks.bench_realised import Ask, Pass, one_pass, replaying
from benchmarks.gpu import load
from benchmarks.gpu.dummy_model import make_dummy_model
from benchmarks.ideal_cache import ideal_uncached
from programs import sprint_program
from programs.benchmark.replay import Shape
from sprint_sgl.console import say
from sprint_sgl.endpoint import Endpoint
from sprint_sgl.errors import LaunchFailed
from sprint_sgl.profile import Profile, mean, profile
from sprint_sgl.runtime import launch, runtime_config

Figures = dict[str, Any]
TOLD = (
    *("attention_backend", "sampling_backend", "disable_radix_cache", "disable_overlap_schedule"),
    *("chunked_prefill_size", "mem_fraction_static", "max_running_requests", "max_total_num_tokens"),
    *("enable_deterministic_inference", "cuda_graph_max_bs_decode"),
)
ASKED = 4  # questions at least, however few at a time


@dataclass(frozen=True)
class Setting:
    """What is measured: a runtime of conf/runtime, a model's shape, and how long everything is."""

    runtime: str
    shape: str
    out: Path
    trajectories: Path | None
    levels: tuple[int, ...]
    rounds: int
    scale: float

    @property
    def model(self) -> str:
        return str(make_dummy_model(self.out / f"model-{self.shape}", self.shape))

    def shapes(self, count: int) -> list[Shape]:
        if self.trajectories:
            return load.recorded_shapes(self.trajectories, count, self.scale)
        return load.drawn_shapes(count, self.scale)

    def asks(self, endpoint: Endpoint, count: int) -> list[Ask]:
        return [replaying(endpoint, shape, number) for number, shape in enumerate(self.shapes(count))]

    @contextmanager
    def served(self, **args: Any) -> Iterator[Endpoint]:
        """The model of that shape, with its weights made by SGLang."""
        begun = time.monotonic()
        with launch(self.model, runtime=runtime_config(self.runtime), load_format="dummy", **args) as endpoint:
            say(f"up after {time.monotonic() - begun:.0f} s")
            (shape,) = load.drawn_shapes(1, self.scale, seed=1)
            replaying(endpoint, shape, 1)(sprint_program)  # what either side sets up late
            yield endpoint


def check(setting: Setting) -> Figures:
    """Versions and cards; what the shipped model answers to a question; what both runtimes say that they run with."""
    asked = "name,memory.total,driver_version"
    cards = _output("nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader")
    found: Figures = {"python": platform.python_version(), "cards": cards}
    found |= {name: version(name) for name in ("sglang", "torch", "transformers")}
    begun = time.monotonic()
    with launch(runtime=runtime_config(setting.runtime)) as endpoint:
        run = sprint_program.run("Use 3, 7 and 12 to make 22", temperature=0)
        found["shipped"] = {
            "seconds_to_answer": time.monotonic() - begun,
            "answer": run.trajectory.final_answer,
            "repairs": len(run.trajectory.repairs),
            **_told(endpoint),
        }
    with setting.served() as endpoint:
        found[setting.shape] = _told(endpoint)
    return found


def replay(setting: Setting, **args: Any) -> Figures:
    """Realised over promised speed-up of both ways to launch, by questions at a time, and where the seconds go."""
    found: Figures = {}
    with setting.served(**args) as endpoint:
        for level in setting.levels:
            asks = setting.asks(endpoint, max(level, ASKED))
            passes: dict[str, list[Pass]] = {name: [] for name in load.METHODS}
            for _ in range(setting.rounds):
                for name, program in load.METHODS.items():
                    passes[name].append(one_pass(endpoint, program, asks, level))
            found[f"{level} at a time"] = compared(passes)
            say(f"{level} at a time: {found[f'{level} at a time']['eager']}")
    return found


def compared(passes: Mapping[str, Sequence[Pass]]) -> Figures:
    """Of each method against the sequential one, medians of rounds that were run in turns."""
    found: Figures = {}
    for name, own in passes.items():
        pairs = list(zip(passes["sequential"], own, strict=True))
        realised = [theirs.seconds / ours.seconds for theirs, ours in pairs]
        promised = [theirs.sequential_tokens / ours.sequential_tokens for theirs, ours in pairs]
        shares = [real / promise for real, promise in zip(realised, promised, strict=True)]
        found[name] = {
            "realised": statistics.median(realised),
            "promised": statistics.median(promised),
            "share": [min(shares), statistics.median(shares), max(shares)],
            "tokens_per_second": statistics.median(each.tokens_per_second for each in own),
            "profile": asdict(mean(profiles)) if (profiles := _profiles(own)) else None,
        }
    return found


def _profiles(passes: Sequence[Pass]) -> list[Profile]:
    """Where the seconds of each run went, by the runtime's stamps."""
    return [found for each in passes for run in each.trajectories if (found := profile(run))]


def prefix(setting: Setting) -> Figures:
    """Milliseconds of a fork over cached prefixes; prompt tokens computed over those of an ideal cache."""
    found: Figures = {}
    shapes = setting.shapes(ASKED)
    asks = [lambda e, shape=s, k=k: replaying(e, shape, k)(sprint_program) for k, s in enumerate(shapes)]
    with setting.served() as endpoint:
        for tokens in (500, 2000, 8000):
            seconds = fork_seconds(endpoint.url, [5 + (k * k) % 60 for k in range(tokens)], 20)
            found[f"fork over {tokens} tokens, ms"] = 1e3 * statistics.median(seconds)
        requests, _ = recorded_requests(endpoint.url, True, asks, 2)
        ideal = ideal_uncached(requests)
        found["token ids / ideal"] = sum(request.uncached for request in requests) / ideal
        requests, _ = recorded_requests(endpoint.url, False, asks, 2)
        found["text / ideal"] = sum(request.uncached for request in requests) / ideal
    return found


def seeds(setting: Setting) -> Figures:
    """Whether a seed is honoured alone and in a batch, and what deterministic inference costs in tokens a second."""

    def measure(endpoint: Endpoint) -> Figures:
        lost = endpoint.get_server_info().get("disable_radix_cache")
        return _speed(setting, endpoint) | {"disable_radix_cache": lost} | _seeded(endpoint.url)

    tried = {"plain": {}, "deterministic": {"enable_deterministic_inference": True}}
    return {name: _tried(setting, args, measure) for name, args in tried.items()}


def _tried(setting: Setting, args: Mapping[str, Any], measure: Callable[[Endpoint], Figures]) -> Figures:
    """What is measured under these arguments, or why no runtime starts with them."""
    try:
        with setting.served(**args) as endpoint:
            found = measure(endpoint)
    except LaunchFailed as error:
        found = {"does not start": str(error).splitlines()[-1]}
    say(f"{args or 'as configured'}: {found}")
    return found


def _speed(setting: Setting, endpoint: Endpoint) -> Figures:
    """SPRINT's, 16 questions at a time: medians of the rounds."""
    asks = setting.asks(endpoint, 16)
    rounds = [one_pass(endpoint, sprint_program, asks, 16) for _ in range(setting.rounds)]
    return {
        "seconds": statistics.median(each.seconds for each in rounds),
        "tokens_per_second": statistics.median(each.tokens_per_second for each in rounds),
    }


def _seeded(url: str) -> Figures:
    ids = [5 + (7 * k) % 40 for k in range(200)]

    def written(seed: int) -> list[int]:
        params = {"max_new_tokens": 64, "temperature": 1.0, "ignore_eos": True, "sampling_seed": seed}
        answer = httpx.post(f"{url}/generate", json={"input_ids": ids, "sampling_params": params}, timeout=120)
        return list(answer.raise_for_status().json()["output_ids"])

    first, again, other = written(1), written(1), written(2)
    with ThreadPoolExecutor(16) as pool:
        batch = list(pool.map(written, [1, *range(100, 115)]))
    return {"same_seed": first == again, "other_seed_differs": first != other, "same_in_a_batch": batch[0] == first}


# What may pay, one at a time.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "as configured": {},
    "schedule-policy lpm": {"schedule_policy": "lpm"},
    "chunks of 2,048": {"chunked_prefill_size": 2048},
    "chunks of 16,384": {"chunked_prefill_size": 16384},
    "2 decode steps": {"num_continuous_decode_steps": 2},
    "4 decode steps": {"num_continuous_decode_steps": 4},
    "2 tokenizers": {"tokenizer_worker_num": 2},
}


def options(setting: Setting) -> Figures:
    """Seconds and tokens a second of the same questions under options that may pay."""
    return {name: _tried(setting, args, partial(_speed, setting)) for name, args in OPTIONS.items()}


def constants(setting: Setting) -> Figures:
    """What conf/worker names of one runtime, for `sprint-sgl fleet`."""
    with setting.served() as endpoint:
        info = endpoint.get_server_info()
        found = figures([endpoint.url], tokens=128, batch=32, context=4000, prompt=4000)
    return found | {"kv_tokens": info.get("max_total_num_tokens"), "max_running": info.get("max_running_requests")}


# In the order in which they run: what matters most comes first.
PARTS: Mapping[str, Callable[[Setting], Figures]] = {
    "check": check,
    "replay": replay,
    "prefix": prefix,
    "constants": constants,
    "seeds": seeds,
    "options": options,
}


def _told(endpoint: Endpoint) -> Figures:
    info = endpoint.get_server_info()
    return {name: info.get(name) for name in TOLD}


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
    except OSError:
        return "none"
