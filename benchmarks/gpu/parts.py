"""The measurements. Each is a function that takes the setting and yields (name, figure) as soon as one is measured.

benchmarks/gpu/run.py runs them: those in SHARED on one runtime, then the others on runtimes of their own.
"""

from __future__ import annotations

import platform
import shutil
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
from benchmarks.bench_gateway import worker_figures
from benchmarks.bench_prefix import measure as recorded_requests
from benchmarks.bench_realised import Ask, Pass, replay_shape, run_pass
from benchmarks.gpu import load
from benchmarks.gpu.dummy_model import make_dummy_model
from benchmarks.ideal_cache import ideal_uncached
from programs import sprint_program
from sprint_sgl.bench.profile import Profile, mean_profile, profile
from sprint_sgl.bench.replay import TrajectoryShape
from sprint_sgl.console import say
from sprint_sgl.errors import LaunchFailed
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import connect, launch, running_server
from sprint_sgl.runtime.server import ServerProcess, runtime_config
from sprint_sgl.trajectory import Trajectory

Figures = dict[str, Any]
Measured = Iterator[tuple[str, Any]]
SERVER_FIELDS = (
    *("attention_backend", "sampling_backend", "disable_radix_cache", "disable_overlap_schedule"),
    *("chunked_prefill_size", "mem_fraction_static", "max_running_requests", "max_total_num_tokens"),
    *("enable_deterministic_inference", "cuda_graph_max_bs_decode"),
)
MIN_QUESTIONS = 4  # at any concurrency


@dataclass(frozen=True)
class Setting:
    """What is measured: a runtime of conf/runtime, a model's shape, and the size of the load.

    `url` is the address of the shared runtime, once it runs.
    """

    runtime: str
    shape: str
    out: Path
    trajectories: Path | None
    levels: tuple[int, ...]
    rounds: int
    scale: float
    url: str | None = None

    @property
    def model(self) -> str:
        return str(make_dummy_model(self.out / f"model-{self.shape}", self.shape))

    def shapes(self, count: int) -> list[TrajectoryShape]:
        if self.trajectories:
            return load.recorded_shapes(self.trajectories, count, self.scale)
        return load.random_shapes(count, self.scale)

    def asks(self, endpoint: Endpoint, count: int) -> list[Ask]:
        return [replay_shape(endpoint, shape, number) for number, shape in enumerate(self.shapes(count))]

    @contextmanager
    def server(self, name: str, startup_limit: float = 300.0, **args: Any) -> Iterator[ServerProcess]:
        """Start a runtime on the model with random weights; its log is kept as OUT/NAME-server.log."""
        begun, config = time.monotonic(), runtime_config(self.runtime)
        with running_server(
            self.model, runtime=config, startup_limit=startup_limit, load_format="dummy", **args
        ) as server:
            say(f"up after {time.monotonic() - begun:.0f} s")
            try:
                yield server
            finally:
                shutil.copy(server.log, self.out / f"{name}-server.log")

    @contextmanager
    def served(self) -> Iterator[Endpoint]:
        """Yield the endpoint of the shared runtime."""
        assert self.url, "run.py starts one"
        with connect(self.url) as endpoint:
            yield endpoint


def warm_up_programs(endpoint: Endpoint) -> None:
    """Run every method once on short questions, so that lazy set-up is done."""
    asks = [
        replay_shape(endpoint, shape, number)
        for number, shape in enumerate(load.random_shapes(MIN_QUESTIONS, 0.05, seed=1))
    ]
    for program in load.METHODS.values():
        run_pass(endpoint, program, asks, MIN_QUESTIONS)


def check(setting: Setting) -> Measured:
    """Versions and GPUs; the arguments that the runtime reports."""
    asked = "name,memory.total,driver_version"
    yield "python", platform.python_version()
    yield "cards", _output("nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader")
    yield from ((name, version(name)) for name in ("sglang", "torch", "transformers"))
    with setting.served() as endpoint:
        yield setting.shape, _server_fields(endpoint)


def shipped(setting: Setting) -> Measured:
    """The shipped model's answer to a question; the arguments that its runtime reports."""
    begun = time.monotonic()
    with launch(runtime=runtime_config(setting.runtime)) as endpoint:
        run = sprint_program.run("Use 3, 7 and 12 to make 22", temperature=0)
        yield "seconds_to_answer", time.monotonic() - begun
        yield "answer", run.trajectory.final_answer
        yield "repairs", len(run.trajectory.repairs)
        yield "runs_with", _server_fields(endpoint)


def replay(setting: Setting) -> Measured:
    """Realised and promised speed-up of both launch modes, by questions at a time, and where the seconds go."""
    with setting.served() as endpoint:
        warm_up_programs(endpoint)
        for level in setting.levels:
            asks = setting.asks(endpoint, max(level, MIN_QUESTIONS))
            passes: dict[str, list[Pass]] = {name: [] for name in load.METHODS}
            for _ in range(setting.rounds):
                for name, program in load.METHODS.items():
                    passes[name].append(run_pass(endpoint, program, asks, level))
                yield f"{level} at a time", compare_methods(passes)


def compare_methods(passes: Mapping[str, Sequence[Pass]]) -> Figures:
    """Return medians of each method against the sequential one, over rounds that ran in turns."""
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
            "seconds": [each.seconds for each in own],
            "tokens_per_second": statistics.median(each.tokens_per_second for each in own),
            "profile": asdict(mean_profile(profiles)) if (profiles := _profiles(own)) else None,
        }
    return found


def _profiles(passes: Sequence[Pass]) -> list[Profile]:
    """Return where the seconds of each run went, from the runtime's timestamps."""
    return [found for each in passes for run in each.trajectories if (found := profile(run))]


def prefix(setting: Setting) -> Measured:
    """Milliseconds of a fork over cached prefixes; prompt tokens computed, divided by those of an ideal cache."""
    asks: list[Callable[[Endpoint], Trajectory]]
    asks = [partial(_by_sprint, shape, number) for number, shape in enumerate(setting.shapes(MIN_QUESTIONS))]
    with setting.served() as endpoint:
        for tokens in (500, 2000, 8000):
            seconds = fork_seconds(endpoint.url, [5 + (k * k) % 60 for k in range(tokens)], 20)
            yield f"fork over {tokens} tokens, ms", 1e3 * statistics.median(seconds)
        requests, _ = recorded_requests(endpoint.url, True, asks, MIN_QUESTIONS)
        ideal = ideal_uncached(requests)
        yield "token ids / ideal", sum(request.uncached for request in requests) / ideal
        requests, _ = recorded_requests(endpoint.url, False, asks, MIN_QUESTIONS)
        yield "text / ideal", sum(request.uncached for request in requests) / ideal


def _by_sprint(shape: TrajectoryShape, number: int, endpoint: Endpoint) -> Trajectory:
    return replay_shape(endpoint, shape, number)(sprint_program)


def seeds(setting: Setting) -> Measured:
    """Whether a seed is honoured alone and in a batch, and tokens per second, with the runtime as configured."""
    with setting.served() as endpoint:
        warm_up_programs(endpoint)
        yield from _measure_speed(setting, endpoint).items()
        yield from _check_seeds(endpoint.url).items()


def deterministic(setting: Setting) -> Measured:
    """The same under deterministic inference, and whether the radix cache stays on."""

    def measure(endpoint: Endpoint) -> Figures:
        lost = endpoint.get_server_info().get("disable_radix_cache")
        return {"disable_radix_cache": lost} | _check_seeds(endpoint.url) | _measure_speed(setting, endpoint)

    yield from _measure_with(setting, "deterministic", {"enable_deterministic_inference": True}, measure).items()


def _measure_with(
    setting: Setting, name: str, args: Mapping[str, Any], measure: Callable[[Endpoint], Figures]
) -> Figures:
    """Return what is measured under these arguments, or why no runtime starts with them."""
    try:
        with setting.server(name, **args) as server, connect(server.url) as endpoint:
            warm_up_programs(endpoint)
            return measure(endpoint)
    except LaunchFailed as error:
        return {"does not start": str(error).splitlines()[-1]}


def _measure_speed(setting: Setting, endpoint: Endpoint) -> Figures:
    """Return seconds and tokens per second of SPRINT, 16 questions at a time: medians of the rounds."""
    asks = setting.asks(endpoint, 16)
    rounds = [run_pass(endpoint, sprint_program, asks, 16) for _ in range(setting.rounds)]
    return {
        "seconds": statistics.median(each.seconds for each in rounds),
        "tokens_per_second": statistics.median(each.tokens_per_second for each in rounds),
    }


def _check_seeds(url: str) -> Figures:
    """Return whether one seed repeats a text, another seed changes it, and a batch does not change it."""
    ids = [5 + (7 * k) % 40 for k in range(200)]

    def written(seed: int) -> list[int]:
        params = {"max_new_tokens": 64, "temperature": 1.0, "ignore_eos": True, "sampling_seed": seed}
        answer = httpx.post(f"{url}/generate", json={"input_ids": ids, "sampling_params": params}, timeout=120)
        return list(answer.raise_for_status().json()["output_ids"])

    first, again, other = written(1), written(1), written(2)
    with ThreadPoolExecutor(16) as pool:
        batch = list(pool.map(written, [1, *range(100, 115)]))
    return {"same_seed": first == again, "other_seed_differs": first != other, "same_in_a_batch": batch[0] == first}


# Options that may be faster, tried one at a time; `seeds` measures the same questions without them.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "schedule-policy-lpm": {"schedule_policy": "lpm"},
    "chunks-of-2048": {"chunked_prefill_size": 2048},
    "chunks-of-16384": {"chunked_prefill_size": 16384},
    "2-decode-steps": {"num_continuous_decode_steps": 2},
    "4-decode-steps": {"num_continuous_decode_steps": 4},
    "2-tokenizers": {"tokenizer_worker_num": 2},
}


def options(setting: Setting) -> Measured:
    """Seconds and tokens per second of the same questions under options that may be faster."""
    for name, args in OPTIONS.items():
        yield name, _measure_with(setting, name, args, partial(_measure_speed, setting))


def constants(setting: Setting) -> Measured:
    """The constants of conf/worker for one runtime, for `sprint-sgl fleet`."""
    with setting.served() as endpoint:
        info = endpoint.get_server_info()
        yield from worker_figures([endpoint.url], tokens=128, batch=32, context=4000, prompt=4000).items()
        yield "kv_tokens", info.get("max_total_num_tokens")
        yield "max_running", info.get("max_running_requests")


def trees(setting: Setting) -> Measured:
    """Training steps on a tree of 10,000 tokens by attention, in the shape of a Qwen2 of 1.5B: tokens/s and memory."""
    from benchmarks.bench_tree_attention import model_config, random_tree, time_steps

    config = model_config(2, 64, 4, 2) if setting.shape == "tiny" else model_config(28, 1536, 12, 2)
    tree = random_tree(round(10_000 * setting.scale), 20, config.vocab_size)
    for impl in ("tree_sdpa", "tree_flex") if torch_has_gpu() else ("tree_sdpa", "tree_paths"):
        yield impl, asdict(time_steps(impl, config, tree, setting.rounds + 1))


def torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# In the order in which they run, the most important first.
SHARED: Mapping[str, Callable[[Setting], Measured]] = {
    "check": check,
    "replay": replay,
    "prefix": prefix,
    "constants": constants,
    "seeds": seeds,
}
PARTS: Mapping[str, Callable[[Setting], Measured]] = {
    **SHARED,
    "deterministic": deterministic,
    "trees": trees,
    "shipped": shipped,
    "options": options,
}


def _server_fields(endpoint: Endpoint) -> Figures:
    info = endpoint.get_server_info()
    return {name: info.get(name) for name in SERVER_FIELDS}


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
    except OSError:
        return "none"
