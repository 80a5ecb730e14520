"""SGLang's server on CPU cores, started by forking a process that has imported it once.

    python -m sprint_sgl.runtime.cpu_server      # sprint_sgl/runtime/preloaded.py starts it and speaks to it

SGLang starts its scheduler and its detokenizer as new interpreters, each of which imports all of SGLang again: with the
server itself three times ten core-seconds and a gigabyte. On a CPU, where no GPU context forbids it, they can be
forked. This process imports what a server needs, without what only GPUs need, and then forks a server for every request
that comes over its standard input, a socket. A server is a supervisor (supervisor.py) and SGLang's three processes.

Nothing outlives this process: Linux ends the supervisors with it, and each supervisor ends its server. So runtimes
that share it end together if it is killed; `preloaded: false` in the runtime's settings is SGLang's own start.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sprint_sgl.runtime.supervisor import ForkedProcess, end_with_parent, supervise_until_exit
from sprint_sgl.runtime.trimmed_imports import compile_nothing, leave_out

SERVER = "-m sglang.launch_server"
MADV_DONTNEED = 4
MESSAGE_LIMIT = 1 << 20  # bytes of a request to start a server
# Imported by SGLang and its dependencies where installed: kernels and compilers for GPUs, sound, video, tables.
ABSENT = (
    *("flashinfer", "cutlass", "cuda", "tilelang", "torchao", "triton_kernels", "deepspeed", "peft", "accelerate"),
    *("sklearn", "scipy", "pandas", "boto3", "mistral_common", "chardet", "torchaudio", "torchcodec"),
)
# Always imported, but unused by a server on a CPU: pictures, speech, sharded tensors, SGLang's notebook output.
PLACEHOLDERS = (
    *("IPython", "torchvision", "sglang.srt.entrypoints.openai.transcription_adapters.qwen3_asr"),
    *("torch.distributed.tensor", "torch.distributed.fsdp", "torch.distributed._composable", "torch.nn.attention"),
)
# What SGLang's processes import once they run: imported here, they share it.
LATER = (
    *("sglang.srt.managers.scheduler", "sglang.srt.managers.detokenizer_manager", "sglang.srt.managers.tp_worker"),
    *("sglang.srt.model_executor.model_runner", "sglang.srt.models.registry", "sglang.srt.arg_groups.resolution_hooks"),
    *("sglang.srt.constrained.xgrammar_backend", "sglang.srt.entrypoints.openai.serving_responses"),
    *("numpy.random", "uvicorn.protocols.http.auto", "sprint_sgl.runtime.plugins.cpu_attention"),
)


def import_server() -> Any:
    """Import SGLang's server without what it does not need here. Returns its module `launch_server`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _import_server()


def _import_server() -> Any:
    gc.disable()  # collections while thousands of modules load cost a fifth of the time
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # SGLang would take GPUs, of whose packages some are left out
    importlib.import_module("torch")
    compile_nothing()
    leave_out(absent=(*ABSENT, "torchvision"))
    os.environ.setdefault(
        "SGLANG_EXTERNAL_MODEL_PACKAGE", "sprint_sgl.runtime.plugins.cpu_models"
    )  # not all of SGLang's models
    listed, importlib.metadata.packages_distributions = importlib.metadata.packages_distributions, dict
    importlib.import_module("transformers")  # would read the metadata of every installed package
    importlib.metadata.packages_distributions = listed
    del sys.modules["torchvision"]  # which transformers does without, and SGLang does not
    leave_out(placeholders=PLACEHOLDERS)
    server = importlib.import_module("sglang.launch_server")
    http_server = importlib.import_module("sglang.srt.entrypoints.http_server")
    # SGLang freezes by a request to itself, which without a warm-up comes before it listens and fills the log.
    http_server._freeze_gc_after_server_warmup = lambda server_args: None  # type: ignore[attr-defined]
    for name in LATER:
        importlib.import_module(name)
    server.load_plugins()
    gc.enable()
    gc.freeze()  # no collection shall write to what the processes share
    unmap_clean_pages()
    return server


def unmap_clean_pages() -> None:
    """Unmap library pages that were read while the libraries loaded: 300 MB, most of CUDA's. Pages in use come back.

    Only mappings without a modified page are touched, so that nothing is lost.
    """
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in clean_mappings(Path("/proc/self/smaps").read_text()):
        advise(start, end - start, MADV_DONTNEED)


def clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield the addresses of private read-only mappings of files that hold no modified page."""
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +/", block)
        if mapping and re.search(r"^Anonymous: +0 kB$", block, re.MULTILINE):
            yield int(mapping[1], 16), int(mapping[2], 16)


def fork_from_now_on() -> None:
    """Make multiprocessing fork in this process, although SGLang asks for `spawn`."""
    multiprocessing.set_start_method("fork", force=True)
    for module in (multiprocessing, importlib.import_module("torch.multiprocessing")):
        module.set_start_method = lambda *args, **kwargs: None  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ForkRequest:
    """A request for a server: its arguments and environment, and files of the process that asks.

    lifeline  the server ends when this file closes
    status    takes the supervisor's process id, then its exit code, a line each
    log       takes what the server prints
    """

    arguments: list[str]
    env: dict[str, str]
    lifeline: int
    status: int
    log: int

    @staticmethod
    def read(requests: socket.socket) -> ForkRequest | None:
        """Return the next request; None once the other side has closed the socket."""
        message, files, _, _ = socket.recv_fds(requests, MESSAGE_LIMIT, 3)
        return ForkRequest(*json.loads(message), *files) if message else None

    def close(self) -> None:
        for file in (self.lifeline, self.status, self.log):
            os.close(file)


def serve_forks(requests: socket.socket) -> None:
    """Fork a server for each request until the other side closes the socket; then wait for their supervisors to end.

    Raises what the import raises, with its traceback in the log of every runtime that waits for it.
    """
    before = dict(os.environ)
    try:
        server = import_server()
        if threading.active_count() > 1:
            raise RuntimeError("something that was imported has started a thread, with which no process may fork")
    except BaseException:
        log_failure(requests, traceback.format_exc())
        raise
    imported = {name: value for name, value in os.environ.items() if before.get(name) != value}
    fork_from_now_on()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors one by one
    while request := ForkRequest.read(requests):
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError as error:  # the other runtimes go on
            os.write(request.log, f"no process could be forked: {error}\n".encode())
            child = -1
        if child == 0:
            end_with_parent(parent)
            requests.close()
            supervise_server(server, request, imported)
        request.close()
    with suppress(ChildProcessError):
        while True:
            os.wait()


def log_failure(requests: socket.socket, reason: str) -> None:
    """Write the reason into the log of every waiting request."""
    requests.setblocking(False)
    with suppress(BlockingIOError):
        while request := ForkRequest.read(requests):
            os.write(request.log, reason.encode())
            request.close()


def supervise_server(server: Any, request: ForkRequest, imported: dict[str, str]) -> NoReturn:
    """In a fork: run a server until it ends or its lifeline closes, and report on it.

    `imported` are variables that the import has set, such as folders of caches.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    set_title("supervisor.py", SERVER, *request.arguments)
    os.environ.clear()
    os.environ.update(request.env | imported)
    os.write(request.status, b"%d\n" % os.getpid())
    for stream in (1, 2):
        os.dup2(request.log, stream)
    os.close(request.log)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(request.lifeline)
        os.close(request.status)
        end_with_parent(supervisor)
        run_server(server, request.arguments)
    code = supervise_until_exit(
        ForkedProcess(child), request.lifeline, lambda code: os.write(request.status, b"%d\n" % code)
    )
    os._exit(code)


def run_server(server: Any, arguments: list[str]) -> NoReturn:
    """In a fork of its own: run SGLang's server until it ends."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        set_title(SERVER, *arguments)
        server.run_server(server.prepare_server_args(arguments))
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with suppress(Exception):
            server.kill_process_tree(os.getpid(), include_parent=False)
        os._exit(code)


def set_title(*words: str) -> None:
    """Show this process in the list of processes as the command that starts SGLang itself."""
    import setproctitle

    setproctitle.setproctitle(" ".join((sys.executable, *words)))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as requests, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        serve_forks(requests)


if __name__ == "__main__":
    main()
