"""What one token after a cached prefix costs on CPU cores, with SGLang's attention backend and with ours.

.venv/bin/python benchmarks/bench_fork.py --tokens 2100
"""

from __future__ import annotations

import time

import httpx
import typer

from benchmarks.measuring import AtLeastOne, spread
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.runtime.launcher import running_server

BACKENDS = ("torch_native", "torch_prefix")


def fork_seconds(url: str, prompt: list[int], rounds: int) -> list[float]:
    """Return the seconds of requests for one token, after a first request that fills the cache."""
    body = {"input_ids": prompt, "sampling_params": {"max_new_tokens": 1, "ignore_eos": True}}
    found = []
    with httpx.Client(timeout=60.0) as client:
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            answer = client.post(f"{url}/generate", json=body).raise_for_status().json()
            found.append(time.perf_counter() - begun)
    assert answer["meta_info"]["cached_tokens"] == len(prompt) - 1
    return found[1:]


def main(tokens: AtLeastOne = 2100, rounds: AtLeastOne = 30) -> None:
    prompt = [5 + k * k % 300 for k in range(tokens)]
    seconds = {}
    for backend in BACKENDS:
        with running_server(runtime="cpu", attention_backend=backend) as server:
            seconds[backend] = fork_seconds(server.url, prompt, rounds)
        screen().print(f"{backend}: {spread([1e3 * each for each in seconds[backend]], '{:.1f}'.format)} ms")
    native, ours = (sorted(seconds[backend])[rounds // 2] for backend in BACKENDS)
    screen().print(f"ours / SGLang's: {ours / native:.3f}")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
