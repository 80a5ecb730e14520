"""One SGLang server as a process: its settings, its start, its log, and its end."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, LaunchFailed
from sprint_sgl.runtime import preloaded
from sprint_sgl.runtime.resolved_args import changed_arguments
from sprint_sgl.runtime.supervisor import supervise
from sprint_sgl.storage.checkpoints import may_be_on_hub, refuse_adapters, weights_folder
from sprint_sgl.storage.package_files import CONF, conf_names, model_names

DEFAULT_MODEL = "countdown-mini-sprint"
LOG_LINES = 25
STARTUP_LIMIT = 300.0  # seconds
WARNINGS = ("WARNING", "Warning:", "warnings.warn(", "warn(")  # lines of a log that are not a cause
INFO_LIMIT = 10.0  # seconds that a runtime may take to report its arguments
STOP_LIMIT = 15.0  # seconds until a server that was told to end is killed
# SGLang ends a runtime when one of its processes dies, but would first sleep for 65 s, on a CPU too, for GPU dumps.
END_AT_ONCE = dict.fromkeys(("SGLANG_PYSPY_DUMP_BEFORE_CRASH", "SGLANG_CUDA_COREDUMP_BEFORE_CRASH"), "0")


@dataclass
class RuntimeConfig:
    """How a runtime is started, or where one runs. Without args, url and workers: this machine's GPU, else its CPU.

    args        SGLang's server arguments, by their own names
    env         environment variables of the server
    preloaded   fork it from a process that has imported SGLang (cpu_server.py); on CPU cores and Linux only
    url         a server that runs already
    workers     for a gateway: how many copies of the runtime `base` it has
    base        for a gateway: the name of its workers' runtime; by default that of this machine
    policy      for a gateway: how it chooses a worker (gateway.py)
    startup_limit   seconds until the runtime must answer, 300 by default
    """

    args: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    preloaded: bool = False
    url: str | None = None
    workers: int | None = None
    base: str | None = None
    policy: str = "cache_aware"
    startup_limit: float | None = None


def runtime_config(name: str) -> RuntimeConfig:
    """Return the settings of conf/runtime/NAME.yaml. Raises BadInput with the known names."""
    from omegaconf import OmegaConf

    if name not in (names := conf_names("runtime")):
        raise BadInput(f"unknown runtime {name!r}; known: {', '.join(names)}")
    content = OmegaConf.to_container(OmegaConf.load(CONF / "runtime" / f"{name}.yaml"), resolve=True)
    return RuntimeConfig(**cast(dict[str, Any], content))


def default_runtime() -> str:
    """Return the name of this machine's own runtime: gpu, or cpu if it has no GPU."""
    return "gpu" if shutil.which("nvidia-smi") and Path("/dev/nvidia0").exists() else "cpu"


def has_accelerator() -> bool:
    """Return whether this machine shows a device that SGLang runs on beside CPU cores: NVIDIA, AMD, Intel, Ascend."""
    names = ("nvidia[0-9]*", "kfd", "dxg", "dri/render*", "davinci[0-9]*", "accel*")
    return any(any(Path("/dev").glob(name)) for name in names)


def resolve_model(model: str) -> str:
    """Return SGLang's model path for a shipped name, a folder, a run's folder (its best checkpoint), or a hub id.

    Raises BadInput if there is no such model.
    """
    folder = weights_folder(model)
    refuse_adapters(folder)
    if (folder / "config.json").is_file():
        return str(folder)
    if may_be_on_hub(model):
        return model
    raise BadInput(
        f"unknown model {model!r}: neither shipped ({', '.join(model_names()) or 'none'}), "
        "nor a folder with a config.json, nor a hub id such as org/name"
    )


def server_arguments(config: RuntimeConfig, model: str, host: str, port: int) -> list[str]:
    """Return the command-line arguments of an SGLang server with that configuration."""
    args = {"model-path": resolve_model(model), "host": host, "port": port, "log-level": "warning", **config.args}
    flags: list[str] = []
    for key, value in args.items():
        if value is not False:
            flags += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return flags


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raise LaunchFailed if this machine cannot listen there, BadInput for an empty host."""
    if not host:
        raise BadInput("the host is empty: give an address of this machine, or 0.0.0.0 for all of them")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchFailed(f"port {port} on {host} is taken: choose another or 0") from error
            raise LaunchFailed(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


@dataclass
class ServerProcess:
    """A started server: its address, its log, and the supervisor that ends it with us."""

    url: str
    log: Path
    supervisor: subprocess.Popen[bytes] | preloaded.PreloadedServer

    def exit_report(self, code: int) -> str:
        """Describe how the server ended, with the end of its log."""
        lost = f"exit {code}: the process it was forked from ended, or its supervisor was killed"
        how = lost if code == preloaded.LOST else f"exit {code}"
        return f"({how}); its log ends:\n{self.log_tail()}"

    def log_tail(self) -> str:
        """Return the last lines of the log that are not warnings."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([line for line in lines if not any(word in line for word in WARNINGS)][-LOG_LINES:])

    def stop(self) -> None:
        """End the server and everything that it started, and wait for their end."""
        if isinstance(self.supervisor, preloaded.PreloadedServer):
            self.supervisor.stop(STOP_LIMIT)
        else:
            if self.supervisor.stdin:
                self.supervisor.stdin.close()
            try:
                self.supervisor.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
        shutil.rmtree(self.log.parent, ignore_errors=True)


def start_server(
    config: RuntimeConfig,
    model: str = DEFAULT_MODEL,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> ServerProcess:
    """Start the server process and return at once; `wait_until_ready` follows."""
    if port:
        check_port(host, port)
    if config.args.get("device") != "cpu" and not has_accelerator():
        raise LaunchFailed("this runtime needs a GPU, and this machine has none: --runtime cpu, or a --url")
    port = port or free_port(host)
    arguments, url = server_arguments(config, model, host, port), f"http://{host}:{port}"
    if not config.preloaded or sys.platform != "linux":
        return start_command([sys.executable, "-m", "sglang.launch_server", *arguments], url, config.env)
    if (device := config.args.get("device")) != "cpu":
        raise BadInput(f"preloaded=true needs device=cpu, got {device!r}; set preloaded=false")
    if config.args.get("enable-torch-compile"):
        raise BadInput("enable-torch-compile needs preloaded=false: a preloaded runtime has no compiler")
    log = create_log()
    return ServerProcess(url, log, preloaded.fork_server(arguments, server_environment(config.env), log))


def start_command(command: Sequence[str], url: str, env: Mapping[str, str]) -> ServerProcess:
    """Start a server's command under a supervisor, with `env` added to our own environment."""
    log = create_log()
    with log.open("wb") as file:
        output = {"stdout": file, "stderr": subprocess.STDOUT}
        return ServerProcess(
            url, log, supervise(command, env=server_environment(env), start_new_session=True, **output)
        )


def create_log() -> Path:
    return Path(tempfile.mkdtemp(prefix="sprint-sgl-")) / "server.log"


def server_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return our own environment with these variables, for a server."""
    inherited = {key: value for key, value in os.environ.items() if key != "SGLANG_USE_CPU_ENGINE"}
    return {**END_AT_ONCE, **inherited, **env}


def wait_until_ready(server: ServerProcess, limit: float, path: str = "/health") -> None:
    """Return once the server answers at that path; 401, its request for a key, counts.

    Raises LaunchFailed, with the end of its log, if it dies or takes too long.
    """
    import httpx

    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if (code := server.supervisor.poll()) is not None:
            raise LaunchFailed(f"the runtime ended while it was loading {server.exit_report(code)}")
        try:
            if httpx.get(f"{server.url}{path}", timeout=2.0).status_code in (200, 401):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise LaunchFailed(
        f"the runtime was still loading after {limit:g} s: raise --startup-limit (bench: runtime.startup_limit)"
        + (f"; its log ends:\n{tail}" if (tail := server.log_tail()) else "")
    )


def warn_changed_arguments(server: ServerProcess, asked: Mapping[str, Any], api_key: str | None) -> None:
    """Say on the terminal which arguments SGLang has changed, and whether it keeps no radix cache."""
    import httpx

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        info = httpx.get(f"{server.url}/server_info", headers=headers, timeout=INFO_LIMIT).json()
    except (httpx.HTTPError, ValueError):
        return  # the next request raises the reason
    for line in changed_arguments(asked, info) if isinstance(info, dict) else ():
        say(f"runtime at {server.url}: {line}", "yellow")


def ready_path(config: RuntimeConfig) -> str:
    """Return the path that tells whether a server is up: /health generates a token first, which takes a second."""
    return "/model_info" if config.args.get("skip-server-warmup") else "/health"
