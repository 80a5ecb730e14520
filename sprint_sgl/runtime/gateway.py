"""Several runtimes on this machine behind `smg`, the Shepherd Model Gateway, which sends a prompt where its prefix is.

    with launch(runtime="gateway"):     # conf/runtime/gateway.yaml: how many workers, of which runtime, which policy
        ...

A worker that dies is restarted under its address, with the model that the other workers serve by then, and the gateway
finds it there. The gateway itself retries nothing: the endpoint does, and counts its retries.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import httpx

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, SprintError
from sprint_sgl.runtime.server import (
    RuntimeConfig,
    ServerProcess,
    check_port,
    default_runtime,
    free_port,
    ready_path,
    runtime_config,
    start_command,
    start_server,
    wait_until_ready,
    warn_changed_arguments,
)

POLICIES = ("cache_aware", "round_robin", "random", "power_of_two", "least_load", "prefix_hash")
RESTARTS = 3  # of each worker, without STEADY seconds between two of them
STEADY = 600.0  # seconds after which a worker's earlier restarts no longer count
POLL = 0.5  # seconds between two looks at the workers
POLL_LIMIT = 5.0  # seconds that a worker may take to say which model it serves
RESTART_LIMIT = 60.0  # the same before a restart with that model, on a machine that may be busy
HEALTH = {
    "health-check-interval-secs": 1,
    "health-check-timeout-secs": 5,
    "health-failure-threshold": 2,
    "health-success-threshold": 1,
}


def gateway_command(workers: Sequence[str], policy: str, host: str, port: int, api_key: str | None = None) -> list[str]:
    """Return the command that starts a gateway for these workers. Only this machine can read its metrics."""
    values = {"host": host, "port": port, "policy": policy, "log-level": "warn", **HEALTH}
    values |= {"prometheus-host": "127.0.0.1", "prometheus-port": free_port()}
    values |= {"api-key": api_key} if api_key else {}
    flags = [text for key, value in values.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "smg", "launch", "--worker-urls", *workers, *flags, "--disable-retries"]


def check_gateway(config: RuntimeConfig) -> None:
    """Raise BadInput for settings that no gateway can be started with."""
    if config.workers is not None and config.workers < 1:
        raise BadInput(f"workers must be at least 1, got {config.workers}")
    if config.policy not in POLICIES:
        raise BadInput(f"unknown policy {config.policy!r}; known: {', '.join(POLICIES)}")
    if importlib.util.find_spec("smg") is None:
        raise BadInput("runtime 'gateway' needs the package smg: pip install 'sprint-sgl[serve]'")


def worker_configs(config: RuntimeConfig, devices: Sequence[str]) -> list[RuntimeConfig]:
    """Return the base once for each worker, each with GPUs of its own if there are any. Raises BadInput for too few."""
    base = runtime_config(config.base or default_runtime())
    if base.url or base.workers is not None:
        raise BadInput(f"runtime {config.base!r} cannot be a gateway's base: name a runtime that is started here")
    one = replace(base, args={**base.args, **config.args}, env={**base.env, **config.env})
    count = config.workers or 1
    if one.args.get("device") == "cpu" or not devices:
        return [one] * count
    each = int(one.args.get("tensor-parallel-size", 1)) * int(one.args.get("data-parallel-size", 1))
    if each * count > len(devices):
        raise BadInput(f"{count} workers of {each} GPU each need {each * count}; this machine has {len(devices)}")
    groups = [",".join(devices[i * each : (i + 1) * each]) for i in range(count)]
    return [replace(one, env={**one.env, "CUDA_VISIBLE_DEVICES": group}) for group in groups]


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip()]
    if default_runtime() != "gpu":
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


@dataclass
class RuntimeWorker:
    """A runtime behind the gateway, and how often it has been restarted."""

    config: RuntimeConfig
    server: ServerProcess
    restarts: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> bool:
        return self.server.supervisor.poll() is not None


@dataclass
class WorkerGroup:
    """A gateway's workers, and the thread that restarts those that die; the gateway ends when none is left."""

    workers: list[RuntimeWorker]
    model: str
    gateway: ServerProcess | None = None
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _given_up: set[str] = field(default_factory=set)
    _client: httpx.Client = field(default_factory=httpx.Client)

    def supervise(self, gateway: ServerProcess) -> None:
        """Restart workers that die, from now on and in a thread, until `stop`."""
        self.gateway = gateway
        self._thread = threading.Thread(target=self._restart_dead_workers, name="workers of the gateway", daemon=True)
        self._thread.start()

    def _restart_dead_workers(self) -> None:
        while not self._stopping.wait(POLL):
            self.model = self._served_model(POLL_LIMIT)  # all workers may die at once, after their weights were changed
            for worker in self.workers:
                if worker.ended and worker.server.url not in self._given_up:
                    self._restart(worker)

    def _restart(self, worker: RuntimeWorker) -> None:
        url, code = worker.server.url, worker.server.supervisor.poll()
        if time.monotonic() - worker.begun > STEADY:
            worker.restarts = 0
        if worker.restarts == RESTARTS:
            self._given_up.add(url)
            say(f"worker {url} has died {RESTARTS + 1} times and stays away: {worker.server.log_tail()}", style="red")
            if len(self._given_up) == len(self.workers) and self.gateway and self.gateway.supervisor.stdin:
                self.gateway.supervisor.stdin.close()
            return
        worker.restarts, worker.begun = worker.restarts + 1, time.monotonic()
        say(f"worker {url} ended (exit {code}): restart {worker.restarts} of {RESTARTS}", style="yellow")
        worker.server.stop()
        self.model = self._served_model(RESTART_LIMIT)
        try:
            worker.server = start_server(worker.config, self.model, port=int(url.rpartition(":")[2]))
        except (
            SprintError
        ) as error:  # its port is taken, or the model is gone: the next poll tries again, RESTARTS times
            say(f"worker {url} cannot be started: {error}", style="red")

    def _served_model(self, limit: float) -> str:
        """Return the model of the first worker that answers: weights may have been changed since the start."""
        key = self.workers[0].config.args.get("api-key")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for worker in self.workers:
            try:
                answer = self._client.get(f"{worker.server.url}/model_info", headers=headers, timeout=limit)
                return str(answer.json()["model_path"])
            except (httpx.HTTPError, ValueError, KeyError):
                continue
        return self.model

    def stop(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()
        self._client.close()
        servers = [worker.server for worker in self.workers] + ([self.gateway] if self.gateway else [])
        with ThreadPoolExecutor(max(1, len(servers))) as pool:
            list(pool.map(ServerProcess.stop, servers))


@contextmanager
def running_gateway(
    config: RuntimeConfig,
    model: str,
    host: str,
    port: int,
    startup_limit: float,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[ServerProcess]:
    """Yield a gateway that is ready, with all its workers up; all of them end with the `with`.

    Raises BadInput for unusable settings, LaunchFailed if the port is taken or a process does not come up.
    """
    check_gateway(config)
    if port:
        check_port(host, port)
    group = WorkerGroup([], model)
    try:
        for each in worker_configs(config, visible_devices()):
            group.workers.append(RuntimeWorker(each, start_server(each, model)))
        if meanwhile:
            meanwhile()
        for worker in group.workers:
            wait_until_ready(worker.server, startup_limit, ready_path(worker.config))
            warn_changed_arguments(worker.server, worker.config.args, worker.config.args.get("api-key"))
        gateway = start_gateway([worker.server.url for worker in group.workers], config, host, port or free_port(host))
        group.supervise(gateway)
        wait_until_ready(gateway, startup_limit, "/readiness")
        yield gateway
    finally:
        group.stop()


def start_gateway(workers: Sequence[str], config: RuntimeConfig, host: str, port: int) -> ServerProcess:
    command = gateway_command(workers, config.policy, host, port, config.args.get("api-key"))
    return start_command(command, f"http://{host}:{port}", config.env)
