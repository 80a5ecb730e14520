"""The python tool: a script in a process of its own, with limits of time and memory and without a network.

No sandbox for hostile code. The limits stop accidents: a loop without end, a list that fills the machine. The script
runs as this user and may read and write this user's files. Give it to a model only in a container of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress

from sprint_sgl.tools.tool import ToolError, tool

SECONDS = 10.0
MEMORY = 512 * 2**20  # bytes of address space
OUTPUT = 6_000  # bytes that are read
DRAIN = 0.2  # seconds to read what an ended script has printed
# Where this user may make namespaces, the script has no network, and is process 1 of its own: what it has started ends
# with it. Elsewhere sockets to other machines are refused, and a process that leaves the script's group goes on.
_PRELUDE = """
import ctypes, os, resource, socket, sys
try:
    own = ctypes.CDLL(None).unshare(0x10000000 | 0x40000000 | 0x20000000) == 0
except (OSError, AttributeError):
    own = False
if own and (child := os.fork()):
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))
class _Local(socket.socket):
    def __init__(self, family=-1, *args, **kwargs):
        if family not in (socket.AF_UNIX,):
            raise OSError("this process has no network")
        super().__init__(family, *args, **kwargs)
def _no_network(*args, **kwargs):
    raise OSError("this process has no network")
socket.socket, socket.getaddrinfo = _Local, _no_network
sys.argv = ["script"]
exec(compile(sys.stdin.buffer.read().decode(), "script", "exec"), {{"__name__": "__main__"}})
"""


@tool(time_limit=SECONDS + 5, parallel=4)
async def python(code: str) -> str:
    """Run a Python script and return what it prints; 10 seconds, 512 MB, no network. Errors come back as text."""
    with tempfile.TemporaryDirectory(prefix="sprint-python-") as folder:
        # To cancel asyncio while it creates a process may hang (CPython 3.11): wait until the process is there.
        creating = asyncio.ensure_future(_start(folder))
        try:
            process = await asyncio.shield(creating)
        except asyncio.CancelledError:
            await _kill(await creating)
            raise
        try:
            async with asyncio.timeout(SECONDS):
                output, cut = await _talk(process, code.encode())
        except TimeoutError:
            raise ToolError(f"the script took longer than {SECONDS:g} s") from None
        finally:
            await _kill(process)
    if process.returncode and not cut:
        raise ToolError(output or f"the script ended with status {process.returncode}")
    return output


async def _start(folder: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", _PRELUDE.format(memory=MEMORY, seconds=int(SECONDS))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the script and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _talk(process: asyncio.subprocess.Process, code: bytes) -> tuple[str, bool]:
    """Hand the script over; return what it prints, until it has ended or printed too much, and whether that was cut."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(code)
    with suppress(ConnectionError):
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    ended = asyncio.ensure_future(process.wait())
    while len(output) <= OUTPUT:
        reading = asyncio.ensure_future(process.stdout.read(8192))
        await asyncio.wait([reading, ended], return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():  # a process that the script has left behind may hold the pipe open
            await asyncio.wait([reading], timeout=DRAIN)
        if not reading.done():
            reading.cancel()
            break
        if not (piece := reading.result()):
            break
        output += piece
    if len(output) > OUTPUT:
        return f"{output[:OUTPUT].decode(errors='replace')}\n[the script was stopped at {OUTPUT:,} bytes]", True
    await ended
    return output.decode(errors="replace").strip(), False
