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
# The script runs in a network namespace of its own where this user may make one; sockets are refused in any case.
_PRELUDE = """
import ctypes, resource, socket, sys
try:
    ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)
except (OSError, AttributeError):
    pass
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))
def _no_network(*args, **kwargs):
    raise OSError("this process has no network")
socket.socket = socket.create_connection = socket.getaddrinfo = _no_network
sys.argv = ["script"]
exec(compile(sys.stdin.buffer.read().decode(), "script", "exec"), {{"__name__": "__main__"}})
"""


@tool(time_limit=SECONDS + 5, parallel=4)
async def python(code: str) -> str:
    """Run a Python script and return what it prints; 10 seconds, 512 MB, no network. Errors come back as text."""
    with tempfile.TemporaryDirectory(prefix="sprint-python-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _PRELUDE.format(memory=MEMORY, seconds=int(SECONDS))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, cut = await _talk(process, code.encode())
        except TimeoutError:
            raise ToolError(f"the script took longer than {SECONDS:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the script and all that it has started
            await process.wait()
    if process.returncode and not cut:
        raise ToolError(output or f"the script ended with status {process.returncode}")
    return output


async def _talk(process: asyncio.subprocess.Process, code: bytes) -> tuple[str, bool]:
    """Hand the script over; return what it prints, until it has ended or printed too much, and whether that was cut."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(code)
    with suppress(ConnectionError):
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    while len(output) <= OUTPUT and (piece := await process.stdout.read(8192)):
        output += piece
    if len(output) > OUTPUT:
        return f"{output[:OUTPUT].decode(errors='replace')}\n[the script was stopped at {OUTPUT:,} bytes]", True
    await process.wait()
    return output.decode(errors="replace").strip(), False
